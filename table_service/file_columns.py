"""How each type is written in files, and read back, as SQL.

Pure. In CSV and JSON lines every doubtful value is read as text first, because DuckDB's own readers round
"1.5" to 2 and (2.0) take anything for JSON. Bytes are base64 there; lists and structs are JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

from table_service.csv_dialect import Dialect
from table_service.json_documents import is_loose
from table_service.types import Kind, Type, quoted, sql_text, sql_type, type_from_sql
from table_service.value_bounds import outside_bounds

_WHOLE = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.INT128})
_NUMBERS = _WHOLE | {Kind.DECIMAL}
_FLOATS = frozenset({Kind.FLOAT, Kind.DOUBLE})
_MOMENTS = frozenset({Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP})
_NESTED = frozenset({Kind.LIST, Kind.STRUCT, Kind.MAP})
# Their text loses nothing.
_WRITTEN_PLAINLY = _NUMBERS | _FLOATS | _MOMENTS | {Kind.BOOL, Kind.UUID, Kind.ENUM, Kind.INTERVAL}
# Read by DuckDB's CSV reader as what they are: it refuses what does not fit.
_EXACT_IN_CSV = frozenset(
    {
        *(Kind.STRING, Kind.BOOL, Kind.FLOAT, Kind.DOUBLE, Kind.UUID, Kind.DATE, Kind.TIME),
        *(Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP, Kind.INTERVAL),
    }
)
# Parquet has no such type, or a poorer one.
_TEXT_IN_PARQUET = frozenset({Kind.INT128, Kind.INTERVAL})
_NAME = re.compile(r'(?:[a-z]\.)?(?:"(?:[^"]|"")*"|[a-z]\d+)')


def csv_type(type_: Type, dialect: Dialect, *, fractions: bool) -> str:
    """Return the type for read_csv to read a column as; `fractions` if a number may have one."""
    if _format_of(type_, dialect):
        return "VARCHAR"
    exact = type_.kind in _EXACT_IN_CSV or (type_.kind in _NUMBERS and not fractions)
    return sql_type(type_) if exact else "VARCHAR"


def from_csv(expression: str, type_: Type, dialect: Dialect) -> str:
    """Return SQL that makes a stored value of its text in a CSV file."""
    written = _format_of(type_, dialect)
    if not written:
        return from_text(expression, type_)
    return f"CAST(strptime({expression}, {sql_text(written)}) AS {sql_type(type_)})"


def _format_of(type_: Type, dialect: Dialect) -> str:
    match type_.kind:
        case Kind.DATE:
            return dialect.date_format
        case Kind.TIMESTAMP | Kind.LOCAL_TIMESTAMP:
            return dialect.timestamp_format
        case _:
            return ""


def holds_numbers(type_: Type) -> bool:
    """Return whether the column keeps every digit of a number."""
    return type_.kind in _NUMBERS


def json_type(type_: Type) -> str:
    """Return the type for read_json to read a column as."""
    return "JSON" if type_.kind in (Kind.JSON, Kind.LIST, Kind.STRUCT) else "VARCHAR"


def from_type(expression: str, written: str, type_: Type, depth: int = 0) -> str:
    """Return SQL that makes a stored value of one of DuckDB's type `written`, without losing anything.

    It fails for a value that does not fit.

    Raises:
        ValueError: With the reason, if no value of that type could fit.
    """
    target, source = sql_type(type_), type_from_sql(written)
    if written == target and type_.kind not in _NESTED | {Kind.JSON}:
        return expression
    if written in ("NULL", '"NULL"'):
        return f"CAST({expression} AS {target})"
    if source.kind in (Kind.STRING, Kind.ENUM) and written != "VARCHAR":
        expression = f"CAST({expression} AS VARCHAR)"
    if source.kind in (Kind.STRING, Kind.ENUM) or (
        source.kind is Kind.JSON and type_.kind is not Kind.STRING
    ):
        return from_text(expression, type_, depth)
    if type_.kind is Kind.JSON and source.kind is not Kind.BYTES:
        return f"CAST(to_json({expression}) AS JSON)"
    if type_.kind is Kind.STRING and source.kind in _WRITTEN_PLAINLY | {Kind.JSON}:
        return f"CAST({expression} AS VARCHAR)"
    if type_.kind is Kind.LIST and source.kind is Kind.LIST:
        assert type_.element is not None
        assert source.element is not None
        item = f"x{depth}"
        value = from_type(item, sql_type(source.element), type_.element, depth + 1)
        return (
            expression if value == item else f"list_transform({expression}, lambda {item}: {value})"
        )
    if type_.kind is Kind.STRUCT and source.kind is Kind.STRUCT:
        return _once(
            expression, depth, lambda whole, depth: _from_struct(whole, source, type_, depth)
        )
    return _from_plain(expression, written, source.kind, type_)


def _from_plain(expression: str, written: str, source: Kind, type_: Type) -> str:
    """Do the same for numbers and moments, which DuckDB would round or cut."""
    target = sql_type(type_)
    cast = f"CAST({expression} AS {target})"
    both = {source, type_.kind}
    if source in _WHOLE and type_.kind in _NUMBERS:
        # What does not fit fails; nothing is rounded.
        return cast
    if type_.kind in _FLOATS and source in _FLOATS | _NUMBERS:
        if not (type_.kind is Kind.DOUBLE and source in _WHOLE):
            return cast
    elif not (
        both <= _NUMBERS
        or (type_.kind in _NUMBERS and source in _FLOATS)
        or (both <= _MOMENTS and (Kind.TIME not in both or len(both) == 1))
    ):
        if source is type_.kind:
            return cast
        raise ValueError(f"{source} does not fit {type_.kind}")
    # No cast that can fail stands here twice: DuckDB would take it out of a TRY around the whole.
    tried = f"TRY_CAST({expression} AS {target})"
    lost = f"TRY_CAST({tried} AS {written}) IS DISTINCT FROM {expression}"
    failing = f"CAST('?' || CAST({expression} AS VARCHAR) AS {target})"
    return f"CASE WHEN {lost} THEN {failing} ELSE {tried} END"


def _from_struct(expression: str, source: Type, type_: Type, depth: int) -> str:
    came = {field.name: field.type for field in source.fields}
    unknown = sorted(came.keys() - {field.name for field in type_.fields})
    if unknown:
        raise ValueError(f"the struct has no field {unknown[0]!r}")
    fields: list[str] = []
    for field in type_.fields:
        value = "NULL"
        if field.name in came:
            part = f"struct_extract({expression}, {sql_text(field.name)})"
            value = from_type(part, sql_type(came[field.name]), field.type, depth)
        fields.append(f"{quoted(field.name)} := CAST({value} AS {sql_type(field.type)})")
    packed = f"struct_pack({', '.join(fields)})"
    return f"CASE WHEN {expression} IS NOT NULL THEN {packed} END"


def from_text(expression: str, type_: Type, depth: int = 0) -> str:
    """Return SQL that makes a stored value of its text, or of its JSON."""
    target = sql_type(type_)
    cast = f"CAST({expression} AS {target})"
    match type_.kind:
        case Kind.STRING:
            return f"CAST({expression} AS VARCHAR)"
        case Kind.BYTES:
            return f"from_base64({expression})"
        case Kind.JSON:
            text = f"CAST({expression} AS VARCHAR)"
            return _once(text, depth, lambda whole, _: _strict_json(whole))
        case Kind.LIST:
            assert type_.element is not None
            items = f"CAST(CAST({expression} AS JSON) AS {json_type(type_.element)}[])"
            item = f"x{depth}"
            value = from_text(item, type_.element, depth + 1)
            return f"list_transform({items}, lambda {item}: {value})"
        case Kind.STRUCT:
            document = f"CAST({expression} AS JSON)"
            return _once(
                document, depth, lambda whole, depth: _struct_from_json(whole, type_, depth)
            )
        case kind if kind in _NUMBERS:
            tried = f"TRY_CAST({expression} AS {target})"
            lost = f"TRY_CAST({expression} AS DOUBLE) <> CAST({tried} AS DOUBLE)"
            doubtful = _may_be_rounded(expression, type_)
            failing = f"CAST({expression} || '?' AS {target})"
            return f"CASE WHEN ({doubtful}) AND {lost} THEN {failing} ELSE {cast} END"
        case _:
            return cast


def _strict_json(text: str) -> str:
    return (
        f"CASE WHEN {is_loose(text)} THEN CAST({text} || '?' AS JSON) ELSE CAST({text} AS JSON) END"
    )


def _struct_from_json(document: str, type_: Type, depth: int) -> str:
    """Return SQL that makes a struct of a JSON object; a field that it lacks is null, others fail."""
    # All fields are taken out at once: one by one, each would keep the whole document in memory.
    shape = json.dumps({field.name: json_type(field.type) for field in type_.fields})
    taken = f"x{depth}"
    fields: list[str] = []
    for field in type_.fields:
        part = f"struct_extract({taken}, {sql_text(field.name)})"
        value = from_text(part, field.type, depth + 1)
        fields.append(f"{quoted(field.name)} := CAST({value} AS {sql_type(field.type)})")
    packed = f"struct_pack({', '.join(fields)})"
    made = (
        f"list_transform([from_json({document}, {sql_text(shape)})], lambda {taken}: {packed})[1]"
    )
    names = ", ".join(sql_text(field.name) for field in type_.fields)
    keys = f"json_keys({document})"
    unknown = f"len(list_filter({keys}, lambda x{depth}: x{depth} NOT IN ({names}))) > 0"
    failing = f"CAST('?' || CAST({document} AS VARCHAR) AS {sql_type(type_)})"
    return (
        f"CASE WHEN {document} IS NULL OR json_type({document}) = 'NULL' THEN NULL"
        f" WHEN json_type({document}) <> 'OBJECT' OR {unknown}"
        f" OR list_unique({keys}) < len({keys}) THEN {failing}"
        f" ELSE {made} END"
    )


def _once(expression: str, depth: int, use: Callable[[str, int], str]) -> str:
    """Return what `use` makes of the expression and the next depth, writing a long one only once.

    What is nested would double with every level otherwise.
    """
    if _NAME.fullmatch(expression):
        return use(expression, depth)
    name = f"x{depth}"
    return f"list_transform([{expression}], lambda {name}: {use(name, depth + 1)})[1]"


def bounded(expression: str, type_: Type) -> str:
    """Return SQL of a stored value that fails if a column of the type does not hold it.

    DuckDB knows dates after the year 9999, and infinite ones, for example.
    """
    if not outside_bounds("x", type_):
        return expression

    def checked(value: str, _: int) -> str:
        failing = f"CAST('?' || CAST({value} AS VARCHAR) AS {sql_type(type_)})"
        return f"CASE WHEN {outside_bounds(value, type_)} THEN {failing} ELSE {value} END"

    return _once(expression, 0, checked)


def _may_be_rounded(text: str, type_: Type) -> str:
    """Return SQL, quick to run, that holds for every number in text that its cast would round."""
    if type_.kind is Kind.DECIMAL:
        digits = f"length({text}) - strpos({text}, '.') > {type_.scale}"
        exponent = f"contains({text}, 'e-') OR contains({text}, 'E-')"
        return f"(contains({text}, '.') AND {digits}) OR {exponent}"
    # A minus that begins the number costs a look that finds nothing.
    return f"contains({text}, '.') OR contains({text}, '-')"


def to_csv(expression: str, type_: Type) -> str:
    """Return SQL that writes a value for CSV."""
    match type_.kind:
        case Kind.BYTES:
            return f"to_base64({expression})"
        case Kind.LIST | Kind.STRUCT | Kind.MAP:
            return f"CAST(to_json({to_json_lines(expression, type_)}) AS VARCHAR)"
        case Kind.JSON:
            return f"CAST({expression} AS VARCHAR)"
        case _:
            return expression


def to_parquet(expression: str, type_: Type) -> str:
    """Return SQL that writes a value for Parquet."""
    held = _in_parquet(type_)
    return expression if held == type_ else f"CAST({expression} AS {sql_type(held)})"


def _in_parquet(type_: Type) -> Type:
    if type_.kind in _TEXT_IN_PARQUET:
        return Type(kind=Kind.STRING)
    return replace(
        type_,
        element=_in_parquet(type_.element) if type_.element else None,
        fields=tuple(replace(field, type=_in_parquet(field.type)) for field in type_.fields),
    )


def to_json_lines(expression: str, type_: Type, depth: int = 0) -> str:
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
            value = to_json_lines(item, type_.element, depth + 1)
            if value == item:
                return expression
            return f"list_transform({expression}, lambda {item}: {value})"
        case Kind.STRUCT:
            return _once(
                expression, depth, lambda whole, depth: _struct_to_json(whole, type_, depth)
            )
        case _:
            return expression


def _struct_to_json(expression: str, type_: Type, depth: int) -> str:
    fields: list[str] = []
    for field in type_.fields:
        part = f"struct_extract({expression}, {sql_text(field.name)})"
        fields.append(f"{quoted(field.name)} := {to_json_lines(part, field.type, depth)}")
    return f"CASE WHEN {expression} IS NOT NULL THEN struct_pack({', '.join(fields)}) END"
