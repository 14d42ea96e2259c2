"""What columns a file seems to have, for a table that would hold it without a loss.

Names are made legal. Typed files say their types; of text files every value is looked at: what all values of
a column are, the column is. What is in doubt (leading zeros, more digits than a double has) stays text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from table_service.column_names import legal_names
from table_service.csv_dialect import Dialect
from table_service.store.file_bytes import TEXTS, Format
from table_service.store.files import Fields, File, fields_of, opened
from table_service.store.import_faults import damage_told
from table_service.types import Column, Kind, Type, sql_text, type_from_sql

# So many rows say first what is worth being asked of all.
_SAMPLE_ROWS = 10_000
# Aggregates in one statement; more make DuckDB slow to plan it.
_MEASURED_COLUMNS = 50
_FIXED_SCALE_MAX = 4
_DECIMAL_DIGITS = 18
_DIGITS_MAX = 38
_DOUBLE_DIGITS = 17

_WHOLE = "regexp_full_match({x}, '-?(0|[1-9][0-9]*)')"
_POINT = r"regexp_full_match({x}, '-?(0|[1-9][0-9]*)(\.[0-9]+)?')"
_REAL = (
    r"(regexp_full_match({x}, '-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]{{1,3}})?')"
    r" OR lower({x}) IN ('nan', 'inf', '-inf', 'infinity', '-infinity'))"
    f" AND length(regexp_replace({{x}}, '[eE].*|[^0-9]', '', 'g')) <= {_DOUBLE_DIGITS}"
)
_DAY = "[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}"
_CLOCK = r"[0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}(\.[0-9]{{1,6}})?)?"
_ZONE = "(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)"
_UUID = "[0-9a-fA-F]{{8}}(-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}}"


def _written(pattern: str, sql: str) -> str:
    return f"regexp_full_match({{x}}, '{pattern}') AND TRY_CAST({{x}} AS {sql}) IS NOT NULL"


# SQL over a text `{x}` that is true if it is a value of the kind, and nothing else is said by it.
_TEXT_TESTS = {
    Kind.BOOL: "lower({x}) IN ('true', 'false')",
    Kind.INT64: f"{_WHOLE} AND TRY_CAST({{x}} AS BIGINT) IS NOT NULL",
    Kind.INT128: f"{_WHOLE} AND TRY_CAST({{x}} AS HUGEINT) IS NOT NULL",
    Kind.DECIMAL: _POINT,
    Kind.DOUBLE: f"{_REAL} AND TRY_CAST({{x}} AS DOUBLE) IS NOT NULL",
    Kind.DATE: _written(_DAY, "DATE"),
    Kind.TIME: _written(_CLOCK, "TIME"),
    Kind.TIMESTAMP: _written(f"{_DAY}[T ]{_CLOCK} ?{_ZONE}", "TIMESTAMPTZ"),
    Kind.LOCAL_TIMESTAMP: _written(f"{_DAY}[T ]{_CLOCK}", "TIMESTAMP"),
    Kind.UUID: _written(_UUID, "UUID"),
    Kind.JSON: r"regexp_matches({x}, '^\s*[\[{{]') AND json_valid({x})",
    Kind.STRING: "true",
}
_IN_QUOTES = (Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP, Kind.UUID, Kind.STRING)
_SHORT_JSON = "{t} IN ('BIGINT', 'UBIGINT')"
# DuckDB calls a whole number that is longer a DOUBLE, and keeps its digits.
_WHOLE_JSON = f"{{t}} IN ('BIGINT', 'UBIGINT', 'DOUBLE') AND {_WHOLE}"
# The same for JSON's values, whose type is `{t}`: a number in quotes was meant to be text.
_JSON_TESTS = {
    Kind.BOOL: "{t} = 'BOOLEAN'",
    Kind.INT64: f"{_SHORT_JSON} AND TRY_CAST({{x}} AS BIGINT) IS NOT NULL",
    Kind.INT128: f"{_WHOLE_JSON} AND TRY_CAST({{x}} AS HUGEINT) IS NOT NULL",
    Kind.DOUBLE: f"(({{t}} = 'DOUBLE' AND NOT {_WHOLE})"
    f" OR ({_SHORT_JSON} AND length({{x}}) <= {_DOUBLE_DIGITS - 2}))",
    **{kind: f"{{t}} = 'VARCHAR' AND {_TEXT_TESTS[kind]}" for kind in _IN_QUOTES},
    Kind.JSON: "true",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What was counted of one column: values that are not null, and those that each kind could be.

    Of numbers with a point: the least and most digits after it, and the most before it.
    """

    count: int
    of_kind: dict[Kind, int]
    scale_min: int
    scale_max: int
    whole_digits: int


def inferred(cursor: duckdb.DuckDBPyConnection, file: File) -> tuple[Column, ...]:
    """Return columns for a table that would hold the file; rows that are none do not count.

    Raises:
        InvalidArgument: FILE_INVALID.
    """
    with damage_told(file):
        fields = fields_of(cursor, file)
        names = legal_names(fields.names)
        if file.format in TEXTS:
            types = _text_types(cursor, file, fields)
        else:
            types = [_table_type(type_from_sql(written)) for written in fields.written]
    return tuple(Column(name=name, type=type_) for name, type_ in zip(names, types, strict=True))


def _table_type(type_: Type) -> Type:
    """Return a type that a table's column can have and that holds the values of `type_`."""
    match type_.kind:
        case Kind.MAP | Kind.UNKNOWN:
            return Type(kind=Kind.JSON)
        case Kind.LIST if type_.element is not None:
            element = _table_type(type_.element)
            return Type(kind=Kind.LIST, element=element)
        case Kind.STRUCT:
            names = [field.name for field in type_.fields]
            if legal_names(names) != tuple(names):
                return Type(kind=Kind.JSON)
            return Type(
                kind=Kind.STRUCT,
                fields=tuple(
                    Column(name=field.name, type=_table_type(field.type)) for field in type_.fields
                ),
            )
        case Kind.ENUM:
            return Type(kind=Kind.STRING)
        case _:
            return type_


def _text_types(cursor: duckdb.DuckDBPyConnection, file: File, fields: Fields) -> list[Type]:
    tests = _JSON_TESTS if file.format is Format.JSON_LINES else _tests(file.dialect)
    everything = dict.fromkeys(range(len(fields.names)), tuple(tests))
    sampled = _measure(cursor, file, fields, tests, everything, _SAMPLE_ROWS)
    # What did not hold for the first rows cannot hold for all.
    open_ = {
        at: tuple(kind for kind in tests if measured.of_kind[kind] == measured.count)
        for at, measured in sampled.items()
    }
    whole = _measure(cursor, file, fields, tests, open_, None)
    return [_decided(whole[at]) for at in range(len(fields.names))]


def _tests(dialect: Dialect) -> dict[Kind, str]:
    tests = dict(_TEXT_TESTS)
    if dialect.date_format:
        tests[Kind.DATE] = f"try_strptime({{x}}, {_format(dialect.date_format)}) IS NOT NULL"
    if dialect.timestamp_format:
        zoned = "%z" in dialect.timestamp_format
        kind = Kind.TIMESTAMP if zoned else Kind.LOCAL_TIMESTAMP
        tests[kind] = f"try_strptime({{x}}, {_format(dialect.timestamp_format)}) IS NOT NULL"
    return tests


def _format(written: str) -> str:
    return sql_text(written).replace("{", "{{").replace("}", "}}")


def _measure(
    cursor: duckdb.DuckDBPyConnection,
    file: File,
    fields: Fields,
    tests: dict[Kind, str],
    wanted: dict[int, tuple[Kind, ...]],
    row_count_max: int | None,
) -> dict[int, _Measured]:
    """Count, of the first rows or of all, how many values of each column could be of each kind wanted."""
    found: dict[int, _Measured] = {}
    limit = "" if row_count_max is None else f" LIMIT {row_count_max}"
    columns = sorted(wanted)
    with opened(cursor, file, fields, skips=True) as relation:
        for first in range(0, len(columns), _MEASURED_COLUMNS):
            part = columns[first : first + _MEASURED_COLUMNS]
            selected = ", ".join(f"{relation.columns[at]} AS c{at}" for at in part)
            counted = [one for at in part for one in _counts(file, at, wanted[at], tests)]
            [values] = cursor.execute(
                f"SELECT {', '.join(counted)} FROM (SELECT {selected} FROM {relation.sql}{limit})"
            ).fetchall()
            taken = iter(values)
            for at in part:
                kinds = wanted[at]
                found[at] = _Measured(
                    count=next(taken),
                    of_kind=dict.fromkeys(tests, 0) | {kind: next(taken) for kind in kinds},
                    scale_min=next(taken),
                    scale_max=next(taken),
                    whole_digits=next(taken),
                )
    return found


def _counts(file: File, at: int, kinds: Sequence[Kind], tests: dict[Kind, str]) -> list[str]:
    """Return the aggregates of one column, in the order of `_Measured`."""
    is_json = file.format is Format.JSON_LINES
    x = f"json_extract_string(c{at}, '$')" if is_json else f"c{at}"
    counts = [f"count(c{at})"]
    for kind in kinds:
        test = tests[kind].format(x=x, t=f"json_type(c{at})")
        counts.append(f"count(*) FILTER (WHERE c{at} IS NOT NULL AND {test})")
    if Kind.DECIMAL not in kinds:
        return [*counts, "0", "0", "0"]
    scale = f"CASE contains({x}, '.') WHEN true THEN length({x}) - strpos({x}, '.') WHEN false THEN 0 END"
    digits = f"length(regexp_replace({x}, '-|[.].*', '', 'g'))"
    return [
        *counts,
        f"coalesce(min({scale}), 0)",
        f"coalesce(max({scale}), 0)",
        f"coalesce(max({digits}), 0)",
    ]


def _decided(measured: _Measured) -> Type:
    """Return the first type that every value has."""
    holds = [kind for kind, count in measured.of_kind.items() if count == measured.count > 0]
    scale = measured.scale_max
    for kind in holds:
        if kind is not Kind.DECIMAL:
            return Type(kind=kind)
        # The same number of digits everywhere is meant: money, say. Else it is a measurement.
        fixed = measured.scale_min == scale <= _FIXED_SCALE_MAX
        if fixed and measured.whole_digits <= _DECIMAL_DIGITS - _FIXED_SCALE_MAX:
            return Type(kind=Kind.DECIMAL, precision=_DECIMAL_DIGITS, scale=scale)
        if Kind.DOUBLE not in holds and measured.whole_digits + scale <= _DIGITS_MAX:
            return Type(kind=Kind.DECIMAL, precision=_DIGITS_MAX, scale=scale)
    return Type(kind=Kind.STRING)
