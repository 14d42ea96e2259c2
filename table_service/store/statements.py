"""People's SQL in DuckDB: read as JSON, bound, described and run, on a cursor of the store."""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import duckdb
import pyarrow as pa

from chassis.faults import Fault, InvalidArgument, NotFound
from chassis.scalars import Json, Span
from table_service.sandbox_rules import DEPTH_MAX
from table_service.serialized_sql import TableName
from table_service.store.errors import read_fault, table_is_gone
from table_service.store.transaction import roll_back
from table_service.types import Column, outgoing, type_from_sql

BATCH_ROWS = 8_192
# A result of so many rows is no larger than one chunk of DuckDB's, which comes whole in any case.
SMALL_ROWS_MAX = 1_024
SMALL_BYTES_MAX = 1024 * 1024
COLUMN_NAME_CHARACTERS_MAX = 128
_DECIMAL_DIGITS_MAX = 38
# The store's own names of tables and datasets: nothing a caller wrote looks like these.
_OWN_NAMES = re.compile(r"\b(?:tbl|ds)_[0-9A-HJKMNP-TV-Z]{26}(?:_v\d+)?\b")
# Reading more than this as JSON would hold every other thread up for long.
_SERIALISED_CHARACTERS_MAX = 8 * 1024 * 1024
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*""")
_BRACKETS = re.compile(r"[()\[\]{}]")
_RAISED_IN_ARROW = (
    ("Out of Memory", duckdb.OutOfMemoryException),
    ("INTERRUPT", duckdb.InterruptException),
)
_PARAMETERS_REMEMBERED_MAX = 1_024
_PLAIN = frozenset({bool, int, float, str, date, type(None)})
_STREAMS_RELATIONS = int(duckdb.__version__.partition(".")[0]) >= 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a statement names: tables as written, parameters in lower case.

    `system_columns` is true if it mentions `_row_id` or `_version` anywhere.
    """

    tables: frozenset[TableName]
    parameters: frozenset[str]
    system_columns: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultColumn:
    """A column of a result, and DuckDB's name for its type, which tables may not have."""

    column: Column
    written: str


class Learnt:
    """What running a statement has taught, which makes the next time shorter and changes no answer.

    `columns` are those that it had with `parameters`, None until it was described. `small` says that its
    result was; `parsed` is SQL that was run and what it was parsed into.
    """

    __slots__ = ("_columns", "parsed", "small")

    def __init__(self) -> None:
        self._columns: tuple[object, list[ResultColumn]] | None = None
        self.parsed: tuple[str, duckdb.Statement] | None = None
        self.small = False

    def columns(self, parameters: Mapping[str, object]) -> list[ResultColumn] | None:
        """Return the columns that the statement had with the same parameters; None if that is not known."""
        known = self._columns
        return known[1] if known is not None and known[0] == _sameness(parameters) else None

    def remember(self, parameters: Mapping[str, object], columns: list[ResultColumn]) -> None:
        """Keep the columns that the statement has with these parameters, in place of others."""
        same = _sameness(parameters)
        self._columns = None if same is None else (same, columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """SQL that reads nothing but what its caller may see."""

    sql: str
    names: Names
    learnt: Learnt = field(default_factory=Learnt, compare=False, repr=False)


@contextmanager
def reading(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Read from one snapshot, and be able to write nothing but temporary tables, which do not stay.

    Raises:
        Fault: What an error of DuckDB's means to the caller; it tells nothing of physical tables.
    """
    try:
        with told_to_caller():
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            yield
    finally:
        roll_back(cursor)


@contextmanager
def told_to_caller() -> Iterator[None]:
    """Turn DuckDB's errors about a caller's statement into faults."""
    try:
        yield
    except duckdb.InterruptException:
        # The watch did it, and knows why.
        raise
    except duckdb.Error as error:
        if (
            isinstance(error, duckdb.CatalogException)
            and _OWN_NAMES.search(str(error))
            and not table_is_gone(error)
        ):
            raise NotFound(
                "DATASET_NOT_FOUND", "a dataset went while the query was prepared"
            ) from error
        fault = read_fault(error)
        if fault is None:
            raise
        raise _without_own_names(fault) from error


def bound(parameters: Mapping[str, object]) -> dict[str, object]:
    """Return parameters as DuckDB takes them.

    Raises:
        InvalidArgument: SQL_INVALID for a decimal that DuckDB would round in silence.
    """
    return {name: _bound(name, value) for name, value in parameters.items()}


def check_parameters(statement: Statement, given: Collection[str]) -> None:
    """Refuse parameters that are missing or too many; case means nothing.

    Raises:
        InvalidArgument: SQL_INVALID naming all of them.
    """
    names = {name.lower() for name in given}
    missing = sorted(statement.names.parameters - names)
    unused = sorted(names - statement.names.parameters)
    complaints = []
    if missing:
        complaints.append(f"no value for {_listed(missing)}")
    if unused:
        complaints.append(f"the SQL does not use {_listed(unused)}")
    if complaints:
        raise InvalidArgument(
            "SQL_INVALID",
            "; ".join(complaints),
            missing=", ".join(missing),
            unused=", ".join(unused),
        )


def describe(
    cursor: duckdb.DuckDBPyConnection, statement: Statement, parameters: Mapping[str, object]
) -> list[ResultColumn]:
    """Return the columns of the result, whose names are made unique as DuckDB makes them.

    Within `reading`, this is the second wall: as a subquery of a transaction that reads, the statement
    does not even bind if anything in it writes.
    """
    rows = cursor.execute(
        f"DESCRIBE SELECT * FROM ({statement.sql}) AS q", dict(parameters) or None
    ).fetchall()
    return [
        ResultColumn(
            column=Column(
                name=str(row[0])[:COLUMN_NAME_CHARACTERS_MAX], type=type_from_sql(row[1])
            ),
            written=str(row[1]),
        )
        for row in rows
    ]


def described(
    cursor: duckdb.DuckDBPyConnection, statement: Statement, parameters: Mapping[str, object]
) -> list[ResultColumn]:
    """Return the columns as `describe` does, or as it did for the same statement over the same tables.

    The wall stands all the same: what runs has the statement as a subquery too, and was parsed from the same
    text. It is bound before any of it runs.
    """
    columns = statement.learnt.columns(parameters)
    if columns is None:
        columns = describe(cursor, statement, parameters)
        statement.learnt.remember(parameters, columns)
    return columns


def as_carriers(statement: Statement, columns: list[ResultColumn], row_count_max: int) -> str:
    """Return SQL whose result crosses into Arrow without loss."""
    selected = ", ".join(
        outgoing(f"q.c{at}", described.column, described.written)
        for at, described in enumerate(columns)
    )
    return f"SELECT {selected} FROM {numbered(statement, columns)} LIMIT {row_count_max}"


def numbered(statement: Statement, columns: list[ResultColumn]) -> str:
    """Return the statement as the relation `q` whose columns are c0, c1, …"""
    names = ", ".join(f"c{at}" for at in range(len(columns)))
    return f"({statement.sql}) AS q({names})"


def batches(
    cursor: duckdb.DuckDBPyConnection,
    sql: str,
    parameters: Mapping[str, object],
    *,
    batch_rows: int = BATCH_ROWS,
) -> Generator[pa.RecordBatch]:
    """Run the SQL and yield its rows as they come, without DuckDB keeping them all."""
    bindings = dict(parameters) or None
    # 2.0 streams a relation and copies what `execute` gives; with parameters, 1.5 does the opposite.
    if _STREAMS_RELATIONS:
        reader = cursor.sql(sql, params=bindings).to_arrow_reader(batch_rows)
    else:
        reader = cursor.execute(sql, bindings).to_arrow_reader(batch_rows)
    try:
        yield pa.RecordBatch.from_pylist([], schema=reader.schema)
        yield from reader
    except (pa.ArrowException, OSError) as error:
        # What DuckDB raises inside Arrow's reader comes out as Arrow's own error.
        sentence = str(error)
        for words, raised in _RAISED_IN_ARROW:
            if words in sentence:
                raise raised(sentence) from error
        raise duckdb.InvalidInputException(sentence) from error


def few_batches(
    cursor: duckdb.DuckDBPyConnection,
    statement: Statement,
    sql: str,
    parameters: Mapping[str, object],
) -> list[pa.RecordBatch]:
    """Run SQL that gives at most some `SMALL_ROWS_MAX` rows, made of `statement`; return all its rows.

    Shorter by half a millisecond than `batches`: DuckDB binds it once, and it was parsed before. It keeps the
    whole result.
    """
    known = statement.learnt.parsed
    if known is None or known[0] != sql:
        [parsed] = cursor.extract_statements(sql)
        known = statement.learnt.parsed = (sql, parsed)
    reader = cursor.execute(known[1], dict(parameters) or None).to_arrow_reader(BATCH_ROWS)
    assert reader is not None
    return [pa.RecordBatch.from_pylist([], schema=reader.schema), *reader]


def serialised(cursor: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return a caller's statement as DuckDB's JSON, for the sandbox to read.

    Raises:
        InvalidArgument: SQL_REFUSED if it is too deep or too large to be read.
    """
    _refuse_deep_brackets(sql)
    return as_json(cursor, sql)


def as_json(cursor: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return any statement as DuckDB's JSON.

    Raises:
        InvalidArgument: SQL_REFUSED if it is too large to be read.
    """
    [[serialised]] = cursor.execute("SELECT json_serialize_sql($1::VARCHAR)", [sql]).fetchall()
    if len(serialised) > _SERIALISED_CHARACTERS_MAX:
        raise InvalidArgument("SQL_REFUSED", "the statement has too many parts")
    return str(serialised)


def as_sql(cursor: duckdb.DuckDBPyConnection, serialised_: str) -> str:
    """Return what DuckDB makes of the JSON of a statement: SQL."""
    [[sql]] = cursor.execute("SELECT json_deserialize_sql($1::JSON)", [serialised_]).fetchall()
    return str(sql)


def _refuse_deep_brackets(sql: str) -> None:
    """Refuse what the sandbox would refuse later, before it costs half a gigabyte to parse (2.0)."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_QUOTED.sub("", sql)):
        depth += 1 if bracket in "([{" else -1
        deepest = max(deepest, depth)
    if deepest > DEPTH_MAX:
        raise InvalidArgument("SQL_REFUSED", f"the statement is nested more than {DEPTH_MAX} deep")


def _sameness(parameters: Mapping[str, object]) -> object:
    """Return what is equal for parameters with which DuckDB binds a statement alike; None if in doubt.

    DuckDB binds with the values and not only with their types: a number can be a part of a type.
    """
    if not all(type(value) in _PLAIN for value in parameters.values()):
        return None
    shown = frozenset((name, type(value), repr(value)) for name, value in parameters.items())
    return shown if sum(len(text) for *_, text in shown) <= _PARAMETERS_REMEMBERED_MAX else None


def _bound(name: str, value: object) -> object:
    match value:
        case Span():
            return duckdb.Value(_span_text(value), duckdb.sqltype("INTERVAL"))
        case Json():
            return duckdb.Value(value.text, duckdb.sqltype("JSON"))
        case Decimal():
            return _bound_decimal(name, value)
        case list():
            return [_bound(name, item) for item in value]
        case dict():
            return {key: _bound(name, item) for key, item in value.items()}
        case _:
            return value


def _bound_decimal(name: str, value: Decimal) -> Decimal:
    """Return the number without an exponent, which 1.5 misreads."""
    digits, exponent = value.as_tuple().digits, value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise InvalidArgument(
            "SQL_INVALID", f"parameter ${name}: {value} is no decimal number", parameter=name
        )
    if max(len(digits) + max(exponent, 0), -exponent) > _DECIMAL_DIGITS_MAX:
        raise InvalidArgument(
            "SQL_INVALID",
            f"parameter ${name}: a decimal has at most {_DECIMAL_DIGITS_MAX} digits",
            parameter=name,
        )
    return Decimal(format(value, "f"))


def _span_text(span: Span) -> str:
    return f"{span.months} months {span.days} days {span.microseconds} microseconds"


def _without_own_names(fault: Fault) -> Fault:
    message = _OWN_NAMES.sub("…", fault.message)
    return fault if message == fault.message else type(fault)(fault.reason, message)


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"${name}" for name in names)
