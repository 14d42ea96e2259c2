"""How each type is written in files, and read back, as SQL.

Pure. In CSV and JSON lines every doubtful value is read as text first, because DuckDB's own readers round
"1.5" to 2 and (2.0) take anything for JSON. Bytes are base64 there; lists are JSON arrays.
"""

from __future__ import annotations

from table_service.types import Kind, Type, quoted, sql_type, type_from_sql

_NUMBERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.INT128, Kind.DECIMAL})
_FLOATS = frozenset({Kind.FLOAT, Kind.DOUBLE})
# Read by DuckDB's CSV reader as what they are: it refuses what does not fit.
_EXACT_IN_CSV = frozenset(
    {
        *(Kind.STRING, Kind.BOOL, Kind.FLOAT, Kind.DOUBLE, Kind.UUID, Kind.DATE, Kind.TIME),
        *(Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP, Kind.INTERVAL),
    }
)
# Parquet has no such type, or a poorer one.
_TEXT_IN_PARQUET = frozenset({Kind.INT128, Kind.INTERVAL})


def csv_type(type_: Type, *, fractions: bool) -> str:
    """Return the type for read_csv to read a column as; `fractions` if a number may have one."""
    exact = type_.kind in _EXACT_IN_CSV or (type_.kind in _NUMBERS and not fractions)
    return sql_type(type_) if exact else "VARCHAR"


def json_type(type_: Type) -> str:
    """Return the type for read_json to read a column as."""
    return "JSON" if type_.kind in (Kind.JSON, Kind.LIST) else "VARCHAR"


def from_type(expression: str, written: str, type_: Type) -> str:
    """Return SQL that makes a stored value of one of DuckDB's type `written`, without losing anything.

    It fails for a value that does not fit, and does not bind if none could.
    """
    target, source = sql_type(type_), type_from_sql(written)
    if written == target:
        return expression
    if source.kind is Kind.STRING and written != "VARCHAR":
        expression = f"CAST({expression} AS VARCHAR)"
    if source.kind in (Kind.STRING, Kind.JSON):
        return from_text(expression, type_)
    cast = f"CAST({expression} AS {target})"
    if type_.kind in _NUMBERS and source.kind in _NUMBERS | _FLOATS:
        lost = f"TRY_CAST({cast} AS {written}) IS DISTINCT FROM {expression}"
        failing = f"CAST(CAST({expression} AS VARCHAR) || '?' AS {target})"
        return f"CASE WHEN {lost} THEN {failing} ELSE {cast} END"
    return cast


def from_text(expression: str, type_: Type, depth: int = 0) -> str:
    """Return SQL that makes a stored value of its text, or of its JSON."""
    target = sql_type(type_)
    cast = f"CAST({expression} AS {target})"
    match type_.kind:
        case Kind.STRING:
            return f"CAST({expression} AS VARCHAR)"
        case Kind.BYTES:
            return f"from_base64({expression})"
        case Kind.LIST:
            assert type_.element is not None
            items = f"CAST(CAST({expression} AS JSON) AS {json_type(type_.element)}[])"
            item = f"x{depth}"
            value = from_text(item, type_.element, depth + 1)
            return f"list_transform({items}, lambda {item}: {value})"
        case kind if kind in _NUMBERS:
            lost = f"CAST({expression} AS DOUBLE) <> CAST({cast} AS DOUBLE)"
            doubtful = _may_be_rounded(expression, type_)
            failing = f"CAST({expression} || '?' AS {target})"
            return f"CASE WHEN ({doubtful}) AND {lost} THEN {failing} ELSE {cast} END"
        case _:
            return cast


def _may_be_rounded(text: str, type_: Type) -> str:
    """Return SQL, quick to run, that holds for every number in text that its cast would round."""
    if type_.kind is Kind.DECIMAL:
        digits = f"length({text}) - strpos({text}, '.') > {type_.scale}"
        exponent = f"contains({text}, 'e-') OR contains({text}, 'E-')"
        return f"(contains({text}, '.') AND {digits}) OR {exponent}"
    # A minus that begins the number costs a look that finds nothing.
    return f"contains({text}, '.') OR contains({text}, '-')"


def to_csv(name: str, type_: Type) -> str:
    """Return SQL that writes a column for CSV."""
    match type_.kind:
        case Kind.BYTES:
            return f"to_base64({quoted(name)})"
        case Kind.LIST:
            return f"CAST(to_json({_json_value(quoted(name), type_)}) AS VARCHAR)"
        case Kind.JSON:
            return f"CAST({quoted(name)} AS VARCHAR)"
        case _:
            return quoted(name)


def to_json_lines(name: str, type_: Type) -> str:
    """Return SQL that writes a column for JSON lines."""
    return _json_value(quoted(name), type_)


def to_parquet(name: str, type_: Type) -> str:
    """Return SQL that writes a column for Parquet."""
    element = type_
    lists = ""
    while element.element is not None:
        element, lists = element.element, f"{lists}[]"
    if element.kind in _TEXT_IN_PARQUET:
        return f"CAST({quoted(name)} AS VARCHAR{lists})"
    return quoted(name)


def _json_value(expression: str, type_: Type, depth: int = 0) -> str:
    """Return SQL for what stands for a value in JSON, which has no bytes, NaN or infinities."""
    match type_.kind:
        case Kind.BYTES:
            return f"to_base64({expression})"
        case Kind.FLOAT | Kind.DOUBLE:
            as_text = f"to_json(CAST({expression} AS VARCHAR))"
            return f"CASE WHEN isfinite({expression}) THEN to_json({expression}) ELSE {as_text} END"
        case Kind.INT128 | Kind.DECIMAL:
            return f"CAST({expression} AS VARCHAR)"
        case Kind.LIST:
            assert type_.element is not None
            item = f"x{depth}"
            value = _json_value(item, type_.element, depth + 1)
            if value == item:
                return expression
            return f"list_transform({expression}, lambda {item}: {value})"
        case _:
            return expression
