"""A service's own tables: declared here, kept by table_service, read and written through its contract."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

import structlog

from chassis.client import Peer
from chassis.faults import AlreadyExists, Fault
from chassis.values import from_value, to_value
from flux.table.v1 import (
    row_service_pb2,
    row_service_pb2_grpc,
    rows_pb2,
    table_pb2,
    table_service_pb2,
    table_service_pb2_grpc,
)

log = structlog.get_logger()

ColumnKind = table_pb2.Type.Kind
_PAGE_SIZE = 1000
_RETRY_FIRST_S = 0.1
_RETRY_MOST_S = 2.0
# What a retry cannot mend while this service starts: anything else is waited for.
_FINAL_CODES = frozenset({"INVALID_ARGUMENT", "PERMISSION_DENIED", "UNIMPLEMENTED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSpec:
    """One column: its name, the kind of its type, and whether it may be null."""

    name: str
    kind: table_pb2.Type.Kind.ValueType
    nullable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """One table of a service, by its bare name."""

    name: str
    description: str
    columns: tuple[ColumnSpec, ...]
    unique_keys: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """One row as it stands in the store; `values` by column, without the server's own columns."""

    row_id: int
    version: int
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert:
    """New rows, each with as many values as there are columns."""

    table: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """New rows, or new values for those with the same key."""

    table: str
    key_columns: tuple[str, ...]
    columns: tuple[str, ...]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """New values for some columns of one row; `expected_version` of 0 checks nothing."""

    table: str
    row_id: int
    values: Mapping[str, object]
    expected_version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """One row goes; `expected_version` of 0 checks nothing."""

    table: str
    row_id: int
    expected_version: int = 0


Mutation = Insert | Upsert | Update | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class RowVersion:
    """The precondition that a row has a version."""

    table: str
    row_id: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowAbsent:
    """The precondition that no row has these values."""

    table: str
    values: Mapping[str, object]


Precondition = RowVersion | RowAbsent


@dataclass(frozen=True, slots=True, kw_only=True)
class MutationResult:
    """What one mutation did: ids of inserted rows in order, counts, and an updated row's version."""

    row_ids: tuple[int, ...]
    inserted_count: int
    updated_count: int
    deleted_count: int
    version: int


class Tables:
    """The tables of one service, in the namespace of its name."""

    def __init__(self, peer: Peer, namespace: str) -> None:
        self._peer = peer
        self._namespace = namespace
        self._tables = table_service_pb2_grpc.TableServiceStub(peer.channel)
        self._rows = row_service_pb2_grpc.RowServiceStub(peer.channel)

    async def prepare(self, specs: Sequence[TableSpec]) -> None:
        """Create the tables that are missing, waiting for table_service as long as it takes.

        Raises:
            Fault: If table_service answers that it never will.
        """
        wait_s = _RETRY_FIRST_S
        for spec in specs:
            # Ends when table_service answers, or by cancellation when this service stops.
            while True:
                try:
                    await self._create(spec)
                    break
                except AlreadyExists:
                    break
                except Fault as fault:
                    if fault.code in _FINAL_CODES:
                        raise
                    log.info("tables.waiting", table=spec.name, error=fault.message)
                    await asyncio.sleep(wait_s)
                    wait_s = min(wait_s * 2, _RETRY_MOST_S)

    async def _create(self, spec: TableSpec) -> None:
        table = table_pb2.Table(
            name=spec.name,
            namespace=self._namespace,
            description=spec.description,
            columns=[
                table_pb2.Column(
                    name=column.name,
                    type=table_pb2.Type(kind=column.kind),
                    not_null=not column.nullable,
                )
                for column in spec.columns
            ],
            unique_keys=[table_pb2.UniqueKey(columns=key) for key in spec.unique_keys],
        )
        request = table_service_pb2.CreateTableRequest(table=table)
        await self._peer.call(self._tables.CreateTable, request)

    async def list_rows(
        self,
        table: str,
        *,
        filter: str = "",  # noqa: A002  # the contract's word
        parameters: Mapping[str, object] | None = None,
        columns: Sequence[str] = (),
        limit: int | None = None,
    ) -> list[StoredRow]:
        """Return the rows that `filter` holds for, by row id; every page, or the first `limit` rows."""
        request = row_service_pb2.ListRowsRequest(
            table=self._qualified(table),
            filter=filter,
            parameters={name: to_value(value) for name, value in (parameters or {}).items()},
            columns=columns,
            encoding=rows_pb2.Rows.ENCODING_TYPED,
            page_size=min(limit or _PAGE_SIZE, _PAGE_SIZE),
        )
        found: list[StoredRow] = []
        # Ends with the last page.
        while True:
            answer = await self._peer.call(self._rows.ListRows, request)
            found.extend(stored_rows(answer.rows.typed))
            if not answer.next_page_token or (limit is not None and len(found) >= limit):
                return found[:limit]
            request.page_token = answer.next_page_token

    async def transact(
        self,
        *mutations: Mutation,
        preconditions: Sequence[Precondition] = (),
        request_id: str = "",
    ) -> list[MutationResult]:
        """Apply the mutations in one commit and return what each did.

        Safe to retry with the same `request_id`. A short absence of table_service is bridged by the
        channel's own retries, under the `request_id` given or one made here.

        Raises:
            FailedPrecondition: PRECONDITION_FAILED; nothing has changed.
            Aborted: ETAG_MISMATCH; nothing has changed.
            AlreadyExists: DUPLICATE_KEY; nothing has changed.
            Unavailable: If it is not known whether it happened.
        """
        request = row_service_pb2.TransactRequest(
            preconditions=[self._precondition(precondition) for precondition in preconditions],
            mutations=[self._mutation(mutation) for mutation in mutations],
            request_id=request_id or str(uuid4()),
        )
        answer = await self._peer.call(self._rows.Transact, request)
        return [
            MutationResult(
                row_ids=tuple(result.row_ids),
                inserted_count=result.inserted_count,
                updated_count=result.updated_count,
                deleted_count=result.deleted_count,
                version=result.version,
            )
            for result in answer.results
        ]

    def _qualified(self, table: str) -> str:
        return f"{self._namespace}.{table}"

    def _precondition(self, precondition: Precondition) -> row_service_pb2.Precondition:
        table = self._qualified(precondition.table)
        match precondition:
            case RowVersion():
                return row_service_pb2.Precondition(
                    row_version=row_service_pb2.Precondition.RowVersion(
                        table=table, row_id=precondition.row_id, version=precondition.version
                    )
                )
            case RowAbsent():
                return row_service_pb2.Precondition(
                    row_absent=row_service_pb2.Precondition.RowAbsent(
                        table=table, key=one_row(precondition.values)
                    )
                )

    def _mutation(self, mutation: Mutation) -> row_service_pb2.Mutation:
        table = self._qualified(mutation.table)
        kinds = row_service_pb2.Mutation
        match mutation:
            case Insert():
                rows = typed_rows(mutation.columns, mutation.rows)
                return kinds(insert=kinds.Insert(table=table, rows=rows))
            case Upsert():
                rows = typed_rows(mutation.columns, mutation.rows)
                return kinds(
                    upsert=kinds.Upsert(table=table, key_columns=mutation.key_columns, rows=rows)
                )
            case Update():
                return kinds(
                    update=kinds.Update(
                        table=table,
                        row_id=mutation.row_id,
                        values=one_row(mutation.values),
                        expected_version=mutation.expected_version or None,
                    )
                )
            case Delete():
                return kinds(
                    delete=kinds.Delete(
                        table=table,
                        row_id=mutation.row_id,
                        expected_version=mutation.expected_version or None,
                    )
                )


def typed_rows(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> rows_pb2.Rows:
    """Return rows in the typed encoding."""
    return rows_pb2.Rows(
        typed=rows_pb2.TypedRows(
            columns=columns,
            rows=[rows_pb2.TypedRow(values=[to_value(value) for value in row]) for row in rows],
        )
    )


def one_row(values: Mapping[str, object]) -> rows_pb2.Rows:
    """Return one row by column name in the typed encoding."""
    return typed_rows(tuple(values), [tuple(values.values())])


def stored_rows(typed: rows_pb2.TypedRows) -> list[StoredRow]:
    """Return rows of an answer whose first two columns are _row_id and _version."""
    names = typed.columns[2:]
    return [
        StoredRow(
            row_id=row.values[0].int64,
            version=row.values[1].int64,
            values=dict(zip(names, map(from_value, row.values[2:]), strict=True)),
        )
        for row in typed.rows
    ]
