"""What a table's columns can be: their names, types and defaults.

Pure. Each function returns everything that is wrong, by the path of the field in the request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from chassis.faults import FieldViolation
from table_service.cells import shown
from table_service.literals import check_default
from table_service.types import (
    DECIMAL_PRECISION_MAX,
    TYPE_DEPTH_MAX,
    Column,
    Kind,
    Type,
    precision,
)

LABELS_MAX = 1000
# Of a table: its columns, and the fields of their structs.
FIELDS_MAX = 10_000
# DuckDB can index these, and equal values are written alike.
KEY_KINDS = frozenset(
    {
        *(Kind.BOOL, Kind.INT16, Kind.INT32, Kind.INT64, Kind.INT128, Kind.DECIMAL, Kind.STRING),
        *(Kind.BYTES, Kind.UUID, Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP),
        Kind.ENUM,
    }
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def column_violations(columns: Sequence[Column], path: str) -> list[FieldViolation]:
    """Return what is wrong with columns, each by itself and by the others' names."""
    violations = _named_violations(columns, path, "column")
    for index, column in enumerate(columns):
        at = f"{path}[{index}]"
        wrong = type_violations(column.type, f"{at}.type")
        if not wrong and column.default is not None:
            wrong = default_violations(column, f"{at}.default")
        violations += wrong
    count = sum(1 + _field_count(column.type) for column in columns)
    if count > FIELDS_MAX:
        why = f"a table has at most {FIELDS_MAX} columns and fields, not {count}"
        violations.append(FieldViolation(field=path, description=why))
    return violations


def name_violations(name: str, path: str, what: str = "column") -> list[FieldViolation]:
    """Return what is wrong with the name of a column or of a struct's field."""
    if not name:
        why = f"a {what} has a name"
    elif name.startswith("_"):
        why = f"{what} {name!r}: names that begin with '_' are the server's"
    elif _CONTROL.search(name):
        why = f"{what} {name!r}: a name has no control characters"
    else:
        return []
    return [FieldViolation(field=path, description=why)]


def default_violations(column: Column, path: str) -> list[FieldViolation]:
    """Return what is wrong with the default of a column whose type is right."""
    default = column.default
    assert default is not None
    member = "literal" if default.function is None else "function"
    try:
        check_default(default, column.type, not_null=column.not_null)
    except ValueError as error:
        why = f"column {column.name!r}: {error}"
        return [FieldViolation(field=f"{path}.{member}", description=why)]
    return []


def type_violations(type_: Type, path: str, depth: int = 0) -> list[FieldViolation]:
    """Return what is wrong with a type, which stands in `depth` lists and structs."""
    if depth > TYPE_DEPTH_MAX:
        why = f"lists and structs nest at most {TYPE_DEPTH_MAX} deep"
        return [FieldViolation(field=path, description=why)]
    check = _CHECKS.get(type_.kind)
    return check(type_, path, depth) if check else []


def _decimal_violations(type_: Type, path: str, _depth: int) -> list[FieldViolation]:
    if type_.precision > DECIMAL_PRECISION_MAX:
        why = f"a decimal has at most {DECIMAL_PRECISION_MAX} digits"
    elif type_.scale > precision(type_):
        why = f"scale {type_.scale} is more than precision {precision(type_)}"
    else:
        return []
    return [FieldViolation(field=path, description=why)]


def _list_violations(type_: Type, path: str, depth: int) -> list[FieldViolation]:
    if type_.element is None:
        return [FieldViolation(field=path, description="a list needs an element")]
    return type_violations(type_.element, f"{path}.element", depth + 1)


def _struct_violations(type_: Type, path: str, depth: int) -> list[FieldViolation]:
    if not type_.fields:
        return [FieldViolation(field=path, description="a struct has at least one field")]
    violations = _named_violations(type_.fields, f"{path}.fields", "field")
    for index, field in enumerate(type_.fields):
        at = f"{path}.fields[{index}]"
        if field.not_null:
            why = f"field {field.name!r}: a struct's fields take null"
            violations.append(FieldViolation(field=f"{at}.not_null", description=why))
        if field.default is not None:
            why = f"field {field.name!r}: a struct's fields have no defaults"
            violations.append(FieldViolation(field=f"{at}.default", description=why))
        violations += type_violations(field.type, f"{at}.type", depth + 1)
    return violations


def _enum_violations(type_: Type, path: str, _depth: int) -> list[FieldViolation]:
    count, violations = len(type_.labels), []
    if not 1 <= count <= LABELS_MAX:
        why = f"an enum has 1 to {LABELS_MAX} labels, not {count}"
        violations.append(FieldViolation(field=f"{path}.labels", description=why))
    seen: set[str] = set()
    for index, label in enumerate(type_.labels):
        why = ""
        if not label or _CONTROL.search(label):
            why = f"label {shown(label)}: a label has characters, none of them control characters"
        elif label in seen:
            why = f"label {shown(label)} comes twice"
        if why:
            violations.append(FieldViolation(field=f"{path}.labels[{index}]", description=why))
        seen.add(label)
    return violations


def _map_violations(_type: Type, path: str, _depth: int) -> list[FieldViolation]:
    why = "MAP is a type of results only; a column can be a struct, a list of structs or JSON"
    return [FieldViolation(field=path, description=why)]


def _unknown_violations(_type: Type, path: str, _depth: int) -> list[FieldViolation]:
    return [FieldViolation(field=path, description="a table's column has a type that is known")]


_CHECKS: dict[Kind, Callable[[Type, str, int], list[FieldViolation]]] = {
    Kind.DECIMAL: _decimal_violations,
    Kind.LIST: _list_violations,
    Kind.STRUCT: _struct_violations,
    Kind.ENUM: _enum_violations,
    Kind.MAP: _map_violations,
    Kind.UNKNOWN: _unknown_violations,
}


def _named_violations(columns: Sequence[Column], path: str, what: str) -> list[FieldViolation]:
    """Return what is wrong with names; DuckDB does not tell the case of letters apart."""
    violations: list[FieldViolation] = []
    first: dict[str, str] = {}
    for index, column in enumerate(columns):
        at, folded = f"{path}[{index}].name", column.name.lower()
        if folded in first:
            same = f"{what} {column.name!r} has the name of {first[folded]!r}"
            violations.append(FieldViolation(field=at, description=same))
        first.setdefault(folded, column.name)
        violations += name_violations(column.name, at, what)
    return violations


def _field_count(type_: Type) -> int:
    inner = _field_count(type_.element) if type_.element else 0
    return inner + sum(1 + _field_count(field.type) for field in type_.fields)
