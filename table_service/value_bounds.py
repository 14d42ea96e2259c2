"""What DuckDB can hold and a table does not, as SQL: moments outside the years 1 to 9999, and the like.

Pure. For values that SQL computes; what comes from outside is checked before it reaches SQL.
"""

from __future__ import annotations

from table_service.types import Kind, Type

# What Arrow's nanoseconds hold, in whole hours.
_INTERVAL_HOURS_END = 2_562_047
_CONDITIONS = {
    Kind.DATE: "{0} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'",
    Kind.TIME: "{0} < TIME '24:00:00'",
    Kind.TIMESTAMP: "{0} BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00'"
    " AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'",
    Kind.LOCAL_TIMESTAMP: "{0} BETWEEN TIMESTAMP '0001-01-01 00:00:00'"
    " AND TIMESTAMP '9999-12-31 23:59:59.999999'",
    Kind.INTERVAL: f"abs(datepart('hour', {{0}})) < {_INTERVAL_HOURS_END}",
}


def within_bounds(expression: str, type_: Type) -> str:
    """Return SQL with the expression's value, which fails if a column of the type does not hold it."""
    condition = _condition("v0", type_, 1)
    if not condition:
        return expression
    why = f"error('a value that a column of type {type_.kind} does not hold')"
    # In a lambda, so that the expression is evaluated once and means the same in both places.
    checked = f"CASE WHEN coalesce({condition}, true) THEN v0 ELSE {why} END"
    return f"list_extract(list_transform([{expression}], lambda v0: {checked}), 1)"


def outside_bounds(expression: str, type_: Type) -> str:
    """Return a condition for values that a column of the type does not hold; empty if there are none."""
    condition = _condition(expression, type_, 0)
    return f"NOT coalesce({condition}, true)" if condition else ""


def _condition(value: str, type_: Type, depth: int) -> str:
    """Return a condition that a value within bounds fulfils, null if it is null; empty if all do."""
    match type_.kind:
        case Kind.LIST if type_.element is not None:
            inner = _condition(f"v{depth}", type_.element, depth + 1)
            each = f"list_transform({value}, lambda v{depth}: coalesce({inner}, true))"
            return f"list_bool_and({each})" if inner else ""
        case Kind.STRUCT:
            conditions = (
                _condition(f"struct_extract({value}, {_text(f.name)})", f.type, depth)
                for f in type_.fields
            )
            return " AND ".join(f"coalesce({c}, true)" for c in conditions if c)
        case kind:
            return _CONDITIONS.get(kind, "").format(value)


def _text(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
