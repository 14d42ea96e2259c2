"""Queries: running them into a bounded result, and describing what they would return."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from chassis.clock import Clock
from chassis.faults import Fault, InvalidArgument, ResourceExhausted
from chassis.identity import Principal
from table_service.datasets import find_dataset
from table_service.sandbox import Relation
from table_service.serialized_sql import TableName, fold
from table_service.store import Store
from table_service.store.datasets import Bound
from table_service.store.statements import (
    Names,
    ResultColumn,
    Statement,
    Statements,
    as_carriers,
    batches,
    bound,
    check_parameters,
    describe,
    reading,
)
from table_service.store.watch import Stop, Watch
from table_service.tables import (
    MAIN,
    Table,
    check_namespace,
    check_whole,
    full_name,
    table_not_found,
)
from table_service.types import SYSTEM_COLUMNS, Column, Kind, Type, quoted, sql_type

# Tried in turn for parameters whose values are not known: some functions refuse a null.
_STAND_IN_VALUES: tuple[object, ...] = (None, 1, "1", 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLimits:
    """How long a query may take, and how much of a result is kept at the most."""

    time_s: float
    result_rows: int
    result_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a caller asks: one SELECT, the values of its parameters, and datasets by the names it uses."""

    sql: str
    parameters: Mapping[str, object]
    datasets: Mapping[str, str]
    principal: Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A whole result: rows of carriers that have `columns`. `truncated`: there were more."""

    columns: tuple[Column, ...]
    rows: pa.Table
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a query would return, and what it reads: tables by full name, relations as they were named."""

    columns: tuple[Column, ...]
    tables: tuple[str, ...]
    relations: tuple[str, ...]


class Queries:
    """Runs people's SQL. Threads may share it; each brings its cursor."""

    def __init__(self, store: Store, watch: Watch, clock: Clock, limits: QueryLimits) -> None:
        self.limits = limits
        self._store = store
        self._clock = clock
        self._watch = watch
        self._statements = Statements()

    def run(
        self, cursor: duckdb.DuckDBPyConnection, stop: Stop, query: Query, row_count_max: int
    ) -> Result:
        """Return the result, cut after `row_count_max` rows, or after as many as the limits allow.

        Raises:
            InvalidArgument: SQL_INVALID, SQL_REFUSED or QUERY_FAILED.
            NotFound: TABLE_NOT_FOUND or DATASET_NOT_FOUND.
            ResourceExhausted: QUERY_LIMIT.
        """
        kept = min(row_count_max or self.limits.result_rows, self.limits.result_rows)
        with self._watch.over(cursor, stop, limit_s=self.limits.time_s), reading(cursor):
            statement, parameters, columns = self._prepare(cursor, query)
            sql = as_carriers(statement, columns, kept + 1)
            found: list[pa.RecordBatch] = []
            row_count = byte_count = 0
            for batch in batches(cursor, sql, parameters):
                found.append(batch)
                row_count += batch.num_rows
                byte_count += batch.nbytes
                if byte_count > self.limits.result_bytes:
                    raise _too_large(self.limits.result_bytes)
            rows = pa.Table.from_batches(found)
        return Result(
            columns=tuple(described.column for described in columns),
            rows=rows.slice(0, kept),
            truncated=row_count > kept,
        )

    def bind(self, cursor: duckdb.DuckDBPyConnection, stop: Stop, query: Query) -> Bound:
        """Return the query ready to run elsewhere, after it was bound where nothing can be written.

        Raises:
            InvalidArgument: SQL_INVALID or SQL_REFUSED.
            NotFound: TABLE_NOT_FOUND or DATASET_NOT_FOUND.
        """
        with self._watch.over(cursor, stop, limit_s=self.limits.time_s), reading(cursor):
            statement, parameters, columns = self._prepare(cursor, query)
        return Bound(statement=statement, parameters=parameters, columns=columns)

    def _prepare(
        self, cursor: duckdb.DuckDBPyConnection, query: Query
    ) -> tuple[Statement, dict[str, object], list[ResultColumn]]:
        resolve = self._resolver(query.principal, self._dataset_relations(query))
        statement = self._statements.prepare(cursor, query.sql, resolve)
        check_parameters(statement, query.parameters)
        parameters = bound(query.parameters)
        return statement, parameters, describe(cursor, statement, parameters)

    def describe(
        self,
        cursor: duckdb.DuckDBPyConnection,
        stop: Stop,
        query: Query,
        relations: Mapping[str, tuple[Column, ...]],
    ) -> Description:
        """Return what the query would return if each of `relations` existed with its columns.

        Only the names of `query.parameters` count.

        Raises:
            InvalidArgument: SQL_INVALID or SQL_REFUSED.
            NotFound: TABLE_NOT_FOUND.
        """
        with self._watch.over(cursor, stop, limit_s=self.limits.time_s), reading(cursor):
            stand_ins = _create_stand_ins(cursor, relations)
            resolve = self._resolver(query.principal, stand_ins)
            statement = self._statements.prepare(cursor, query.sql, resolve)
            check_parameters(statement, query.parameters)
        # A statement that does not bind ends its transaction, so each try has its own.
        first: Fault | None = None
        for value in _STAND_IN_VALUES:
            try:
                with self._watch.over(cursor, stop, limit_s=self.limits.time_s), reading(cursor):
                    _create_stand_ins(cursor, relations)
                    columns = describe(cursor, statement, dict.fromkeys(query.parameters, value))
            except InvalidArgument as fault:
                first = first or fault
                if not query.parameters:
                    break
                continue
            return Description(
                columns=tuple(_of_unknown_type(described) for described in columns),
                tables=_tables_read(statement.names, relations),
                relations=_relations_read(statement.names, relations),
            )
        assert first is not None
        raise first

    def _resolver(
        self, principal: Principal, named: Mapping[str, Relation]
    ) -> Callable[[Names], Mapping[TableName, Relation]]:
        """Return what finds the relation behind each name: those in `named` before tables."""

        def resolve(names: Names) -> Mapping[TableName, Relation]:
            relations: dict[TableName, Relation] = {}
            for namespace, name in names.tables:
                given = None if namespace else named.get(fold(name))
                relations[namespace, name] = given or _table_relation(
                    self._table(namespace, name, principal),
                    system_columns=names.system_columns,
                )
            return relations

        return resolve

    def _dataset_relations(self, query: Query) -> dict[str, Relation]:
        relations: dict[str, Relation] = {}
        for name, id_ in query.datasets.items():
            dataset = find_dataset(self._store.datasets, id_, query.principal, self._clock.now())
            relations[name] = Relation(
                schema="datasets",
                table=dataset.id,
                columns=tuple((column.name, column.name) for column in dataset.columns),
            )
        return relations

    def _table(self, namespace: str, name: str, principal: Principal) -> Table:
        space, bare = fold(namespace) or MAIN, fold(name)
        check_namespace(space, principal, writes=False)
        table = self._store.writer.catalog.active.get((space, bare))
        if table is None:
            raise table_not_found(full_name(space, name))
        return table


def _table_relation(table: Table, *, system_columns: bool) -> Relation:
    """Return the table as statements see it.

    The server's own columns are there for a statement that names one, and else not: `SELECT *` should give
    what was put in, and NATURAL JOIN should not join by them.
    """
    columns = (*SYSTEM_COLUMNS, *table.columns) if system_columns else table.columns
    return Relation(
        schema=table.namespace,
        table=table.id,
        columns=tuple((column.name, column.name) for column in columns),
    )


def _create_stand_ins(
    cursor: duckdb.DuckDBPyConnection, relations: Mapping[str, tuple[Column, ...]]
) -> dict[str, Relation]:
    """Create an empty temporary view for each relation; the end of the transaction drops it.

    A column of unknown type stands in as a bare NULL, which DuckDB lets be whatever the query makes of it.

    Raises:
        InvalidArgument: SQL_INVALID if two relations have one name, or two columns of one, or a column has a
            type that is not whole.
    """
    found: dict[str, Relation] = {}
    for at, (name, columns) in enumerate(sorted(relations.items())):
        if fold(name) in found:
            raise InvalidArgument("SQL_INVALID", f"two relations are called {name!r}", name=name)
        check_whole(columns)
        table = f"stand_in_{at}"
        selected = ", ".join(f"{_nothing_of(c.type)} AS {quoted(c.name)}" for c in columns)
        cursor.execute(f"CREATE TEMPORARY VIEW {table} AS SELECT {selected} WHERE false")
        found[fold(name)] = Relation(
            schema="temp", table=table, columns=tuple((c.name, c.name) for c in columns)
        )
    return found


def _nothing_of(type_: Type) -> str:
    return "NULL" if type_.kind is Kind.UNKNOWN else f"CAST(NULL AS {sql_type(type_)})"


def _of_unknown_type(described: ResultColumn) -> Column:
    """Return the column; DuckDB says "NULL" where the type is that of a parameter bound to null."""
    if described.written != '"NULL"':
        return described.column
    return replace(described.column, type=Type(kind=Kind.UNKNOWN))


def _tables_read(names: Names, relations: Collection[str]) -> tuple[str, ...]:
    given = {fold(name) for name in relations}
    return tuple(
        sorted(
            {
                full_name(fold(namespace) or MAIN, fold(name))
                for namespace, name in names.tables
                if namespace or fold(name) not in given
            }
        )
    )


def _relations_read(names: Names, relations: Collection[str]) -> tuple[str, ...]:
    read = {fold(name) for namespace, name in names.tables if not namespace}
    return tuple(sorted(name for name in relations if fold(name) in read))


def _too_large(limit: int) -> ResourceExhausted:
    return ResourceExhausted("QUERY_LIMIT", f"the result is larger than {limit} bytes", bytes=limit)
