"""Queries: running them into a bounded result, and saying what they would return, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import duckdb
import pyarrow as pa

from chassis.clock import Clock
from chassis.faults import Fault, InvalidArgument, ResourceExhausted
from chassis.identity import Principal
from table_service.datasets import find_dataset
from table_service.plans import plan_text
from table_service.sandbox import Relation
from table_service.store import Store
from table_service.store.datasets import Bound
from table_service.store.preparation import PreparedStatements
from table_service.store.relations import Relations
from table_service.store.stand_ins import (
    STAND_IN_VALUES,
    create_stand_ins,
    of_unknown_type,
    relations_read,
    tables_read,
)
from table_service.store.statements import (
    SMALL_BYTES_MAX,
    SMALL_ROWS_MAX,
    as_carriers,
    batches,
    bound,
    check_parameters,
    describe,
    described,
    few_batches,
    reading,
)
from table_service.store.watch import Stop, Watch
from table_service.types import Column

Answer = TypeVar("Answer")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How a query is carried out, as text; the tables it reads; how long it took, if it was run."""

    plan: str
    tables: tuple[str, ...]
    seconds: float


class Queries:
    """Runs people's SQL. Threads may share it; each brings its cursor."""

    def __init__(self, store: Store, watch: Watch, clock: Clock, limits: QueryLimits) -> None:
        self.limits = limits
        self._store = store
        self._clock = clock
        self._watch = watch
        self._statements = PreparedStatements()

    def run(
        self,
        cursor: duckdb.DuckDBPyConnection,
        stop: Stop,
        query: Query,
        row_count_max: int,
        hold: Callable[[int], None] = lambda byte_count: None,
    ) -> Result:
        """Return the result, cut after `row_count_max` rows, or after as many as the limits allow.

        `hold` is told of bytes as they come, and may refuse them.

        Raises:
            InvalidArgument: SQL_INVALID, SQL_REFUSED or QUERY_FAILED.
            NotFound: TABLE_NOT_FOUND or DATASET_NOT_FOUND.
            PermissionDenied: NAMESPACE_CLOSED or RIGHT_REQUIRED.
            ResourceExhausted: QUERY_LIMIT.
            Aborted: TABLE_CHANGED.
        """
        kept = min(row_count_max or self.limits.result_rows, self.limits.result_rows)

        def once(prepared: Bound) -> Result:
            found = _all_rows(cursor, prepared, kept + 1, self.limits.result_bytes, hold)
            return Result(
                columns=tuple(column.column for column in prepared.columns),
                rows=found.slice(0, kept),
                truncated=found.num_rows > kept,
            )

        return self._read(cursor, stop, query, once)

    def bind(self, cursor: duckdb.DuckDBPyConnection, stop: Stop, query: Query) -> Bound:
        """Return the query ready to run elsewhere, after it was bound where nothing can be written.

        Raises:
            Fault: As `run`.
        """
        return self._read(cursor, stop, query, lambda prepared: prepared)

    def explain(
        self, cursor: duckdb.DuckDBPyConnection, stop: Stop, query: Query, *, analyze: bool
    ) -> Explanation:
        """Return how the query would be carried out; with `analyze` it is, and its result let go.

        Raises:
            Fault: As `run`.
        """
        what = "ANALYZE, FORMAT json" if analyze else "FORMAT json"

        def once(prepared: Bound) -> Explanation:
            started = self._clock.monotonic()
            # As a subquery, like everything that runs: what writes does not bind.
            rows = cursor.execute(
                f"EXPLAIN ({what}) SELECT * FROM ({prepared.statement.sql}) AS q",
                dict(prepared.parameters) or None,
            ).fetchall()
            seconds = self._clock.monotonic() - started
            return Explanation(
                plan=plan_text(str(rows[-1][1]), prepared.names, analyzed=analyze),
                tables=tables_read(prepared.statement.names, query.datasets),
                seconds=seconds,
            )

        return self._read(cursor, stop, query, once)

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
        with reading(cursor), self._watch.over(cursor, stop, limit_s=self.limits.time_s):
            stand_ins = self._relations(query, create_stand_ins(cursor, relations))
            statement = self._statements.prepare(cursor, query.sql, stand_ins.find)
            check_parameters(statement, query.parameters)
        # A statement that does not bind ends its transaction, so each try has its own.
        first: Fault | None = None
        for value in STAND_IN_VALUES:
            try:
                with reading(cursor), self._watch.over(cursor, stop, limit_s=self.limits.time_s):
                    create_stand_ins(cursor, relations)
                    columns = describe(cursor, statement, dict.fromkeys(query.parameters, value))
            except InvalidArgument as fault:
                first = first or fault
                if not query.parameters:
                    break
                continue
            return Description(
                columns=tuple(of_unknown_type(column) for column in columns),
                tables=tables_read(statement.names, relations),
                relations=relations_read(statement.names, relations),
            )
        assert first is not None
        raise first

    def _read(
        self,
        cursor: duckdb.DuckDBPyConnection,
        stop: Stop,
        query: Query,
        once: Callable[[Bound], Answer],
    ) -> Answer:
        """Return what `once` makes of the query where nothing can be written."""
        with reading(cursor), self._watch.over(cursor, stop, limit_s=self.limits.time_s):
            return once(self._prepare(cursor, query))

    def _prepare(self, cursor: duckdb.DuckDBPyConnection, query: Query) -> Bound:
        relations = self._relations(query, self._dataset_relations(query))
        statement = self._statements.prepare(cursor, query.sql, relations.find)
        check_parameters(statement, query.parameters)
        parameters = bound(query.parameters)
        return Bound(
            statement=statement,
            parameters=parameters,
            columns=described(cursor, statement, parameters),
            names=relations.names(),
        )

    def _relations(self, query: Query, named: Mapping[str, Relation]) -> Relations:
        return Relations(self._store.writer, query.principal, named)

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


def _all_rows(
    cursor: duckdb.DuckDBPyConnection,
    prepared: Bound,
    row_count_max: int,
    byte_count_max: int,
    hold: Callable[[int], None],
) -> pa.Table:
    """Return at most so many rows of the result, as carriers.

    Raises:
        ResourceExhausted: QUERY_LIMIT if they are larger than `byte_count_max`, or what `hold` raises.
    """
    learnt = prepared.statement.learnt
    if learnt.small:
        row_count = min(row_count_max, SMALL_ROWS_MAX + 1)
        sql = as_carriers(prepared.statement, prepared.columns, row_count)
        few = few_batches(cursor, prepared.statement, sql, prepared.parameters)
        found = _held(few, byte_count_max, hold)
        if found.num_rows <= SMALL_ROWS_MAX:
            return found
    sql = as_carriers(prepared.statement, prepared.columns, row_count_max)
    # Closed whatever happens: DuckDB ends no transaction while a result is open.
    with closing(batches(cursor, sql, prepared.parameters)) as pieces:
        found = _held(pieces, byte_count_max, hold)
    learnt.small = found.num_rows <= SMALL_ROWS_MAX and found.nbytes <= SMALL_BYTES_MAX
    return found


def _held(
    pieces: Iterable[pa.RecordBatch], byte_count_max: int, hold: Callable[[int], None]
) -> pa.Table:
    found: list[pa.RecordBatch] = []
    byte_count = 0
    for piece in pieces:
        found.append(piece)
        byte_count += piece.nbytes
        if byte_count > byte_count_max:
            raise _too_large(byte_count_max)
        hold(piece.nbytes)
    return pa.Table.from_batches(found)


def _too_large(limit: int) -> ResourceExhausted:
    return ResourceExhausted("QUERY_LIMIT", f"the result is larger than {limit} bytes", bytes=limit)
