"""People's SQL on its way to DuckDB: checked, rewritten, bound and described, on a cursor of the store.

Preparing costs milliseconds and is remembered, by the text and by what its names stand for: whoever may see
other tables, or the same ones with other columns, has another entry.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

import duckdb
import pyarrow as pa

from chassis.faults import Fault, InvalidArgument, NotFound
from chassis.values import Json, Span
from table_service import sandbox
from table_service import serialized_sql as tree_sql
from table_service.sandbox import Relation
from table_service.sandbox_rules import DEPTH_MAX
from table_service.serialized_sql import JsonObject, TableName
from table_service.store.errors import read_fault
from table_service.store.transaction import roll_back
from table_service.types import ROW_ID, VERSION, Column, outgoing, type_from_sql

REMEMBERED_MAX = 512
# Longer statements are prepared each time, so that what is remembered has a bound in bytes.
REMEMBERED_CHARACTERS_MAX = 8_192
BATCH_ROWS = 8_192
COLUMN_NAME_CHARACTERS_MAX = 128
_DECIMAL_DIGITS_MAX = 38
# The store's own names of tables and datasets: nothing a caller wrote looks like these.
_OWN_NAMES = re.compile(r"\b(?:tbl|ds)_[0-9A-HJKMNP-TV-Z]{26}\b")
# Reading more than this as JSON would hold every other thread up for long.
_SERIALISED_CHARACTERS_MAX = 8 * 1024 * 1024
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*""")
_BRACKETS = re.compile(r"[()\[\]{}]")
_RAISED_IN_ARROW = (
    ("Out of Memory", duckdb.OutOfMemoryException),
    ("INTERRUPT", duckdb.InterruptException),
)
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
class Statement:
    """SQL that reads nothing but what its caller may see."""

    sql: str
    names: Names


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultColumn:
    """A column of a result, and DuckDB's name for its type, which tables may not have."""

    column: Column
    written: str


Resolve = Callable[[Names], Mapping[TableName, Relation]]
Key = TypeVar("Key", bound=Hashable)
Kept = TypeVar("Kept")


class Statements:
    """Prepares statements and remembers them. Threads may share it."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, Names] = OrderedDict()
        self._safe: OrderedDict[tuple[str, frozenset[tuple[TableName, Relation]]], str] = (
            OrderedDict()
        )
        self._lock = threading.Lock()

    def prepare(self, cursor: duckdb.DuckDBPyConnection, sql: str, resolve: Resolve) -> Statement:
        """Return the statement over the relations that `resolve` finds for its names.

        Names are resolved, and so rights are checked, every time.

        Raises:
            InvalidArgument: SQL_INVALID or SQL_REFUSED.
            Fault: Whatever `resolve` raises.
        """
        names, tree = self._recall(self._names, sql), None
        if names is None:
            tree = _checked_tree(cursor, sql)
            names = _names(tree)
            self._remember(self._names, sql, names, sql)
        relations = resolve(names)
        key = (sql, frozenset(relations.items()))
        safe = self._recall(self._safe, key)
        if safe is None:
            safe = _rewritten(cursor, tree or _checked_tree(cursor, sql), relations)
            self._remember(self._safe, key, safe, sql)
        return Statement(sql=safe, names=names)

    def _recall(self, kept: OrderedDict[Key, Kept], key: Key) -> Kept | None:
        with self._lock:
            found = kept.get(key)
            if found is not None:
                kept.move_to_end(key)
            return found

    def _remember(self, kept: OrderedDict[Key, Kept], key: Key, value: Kept, sql: str) -> None:
        if len(sql) > REMEMBERED_CHARACTERS_MAX:
            return
        with self._lock:
            kept[key] = value
            if len(kept) > REMEMBERED_MAX:
                kept.popitem(last=False)


@contextmanager
def reading(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Read from one snapshot, and be able to write nothing but temporary tables, which do not stay.

    Raises:
        Fault: What an error of DuckDB's means to the caller; it tells nothing of physical tables.
    """
    cursor.execute("BEGIN TRANSACTION READ ONLY")
    try:
        with told_to_caller():
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
        if isinstance(error, duckdb.CatalogException) and _OWN_NAMES.search(str(error)):
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
) -> Iterator[pa.RecordBatch]:
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


def serialised(cursor: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return a caller's statement as DuckDB's JSON, for the sandbox to read.

    Raises:
        InvalidArgument: SQL_REFUSED if it is too deep or too large to be read.
    """
    _refuse_deep_brackets(sql)
    return _serialised(cursor, sql)


def _checked_tree(cursor: duckdb.DuckDBPyConnection, sql: str) -> JsonObject:
    tree = sandbox.parse(serialised(cursor, sql))
    sandbox.check_statement(tree)
    return tree


def _serialised(cursor: duckdb.DuckDBPyConnection, sql: str) -> str:
    [[serialised]] = cursor.execute("SELECT json_serialize_sql($1::VARCHAR)", [sql]).fetchall()
    if len(serialised) > _SERIALISED_CHARACTERS_MAX:
        raise InvalidArgument("SQL_REFUSED", "the statement has too many parts")
    return str(serialised)


def _refuse_deep_brackets(sql: str) -> None:
    """Refuse what the sandbox would refuse later, before it costs half a gigabyte to parse (2.0)."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_QUOTED.sub("", sql)):
        depth += 1 if bracket in "([{" else -1
        deepest = max(deepest, depth)
    if deepest > DEPTH_MAX:
        raise InvalidArgument("SQL_REFUSED", f"the statement is nested more than {DEPTH_MAX} deep")


def _rewritten(
    cursor: duckdb.DuckDBPyConnection, tree: JsonObject, relations: Mapping[TableName, Relation]
) -> str:
    rewritten = json.dumps(sandbox.rewrite(tree, relations))
    [[safe]] = cursor.execute("SELECT json_deserialize_sql($1::JSON)", [rewritten]).fetchall()
    sandbox.check_rewritten(sandbox.parse(_serialised(cursor, safe)), relations)
    return str(safe).rstrip().removesuffix(";")


def _names(tree: JsonObject) -> Names:
    columns = (
        tree_sql.items(node, "column_names")
        for node in tree_sql.nodes(tree)
        if node.get("class") == "COLUMN_REF"
    )
    return Names(
        tables=frozenset(sandbox.base_tables(tree)),
        parameters=frozenset(name.lower() for name in sandbox.parameters(tree)),
        system_columns=any(
            isinstance(name, str) and name.lower() in (ROW_ID, VERSION)
            for names in columns
            for name in names
        ),
    )


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
