"""flux.table.v1.QueryService: parse, call, wrap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from dataclasses import dataclass

import grpc
import pyarrow as pa

from chassis.clock import Clock
from chassis.faults import ResourceExhausted
from chassis.identity import current_principal
from chassis.ids import IdMaker
from chassis.values import from_value
from flux.table.v1 import dataset_pb2, query_service_pb2_grpc, rows_pb2
from flux.table.v1 import query_service_pb2 as messages
from flux.type.v1 import value_pb2
from table_service import wire
from table_service.datasets import TTL_DEFAULT, find_dataset
from table_service.result_stream import first_rows, in_messages
from table_service.store import Store
from table_service.store.catalog import Dataset
from table_service.store.datasets import NewDataset, create_dataset, drop_datasets, watched
from table_service.store.heavy import Heavy
from table_service.store.queries import Query
from table_service.store.transaction import Transaction
from table_service.store.watch import Stop

Context = grpc.aio.ServicerContext[object, object]


@dataclass(slots=True, kw_only=True)
class _Held:
    """How many bytes of results wait for their readers, and how many may."""

    bytes_max: int
    bytes: int = 0

    def take(self, size: int) -> None:
        """Count a result.

        Raises:
            ResourceExhausted: QUEUE_FULL.
        """
        if self.bytes and self.bytes + size > self.bytes_max:
            raise ResourceExhausted(
                "QUEUE_FULL",
                f"{self.bytes_max} bytes of results wait for their readers",
                limit=self.bytes_max,
            )
        self.bytes += size


class QueryServicer(query_service_pb2_grpc.QueryServiceServicer):
    """SQL over tables and datasets."""

    def __init__(self, store: Store, heavy: Heavy, *, ids: IdMaker, clock: Clock) -> None:
        self._store = store
        self._jobs = heavy.query_jobs
        self._queries = heavy.queries
        self._watch = heavy.watch
        self._held = _Held(bytes_max=heavy.limits.results_held_bytes)
        self._ids = ids
        self._clock = clock

    async def Query(
        self, request: messages.QueryRequest, context: Context
    ) -> AsyncIterator[messages.QueryResponse]:
        """Run a query. The result is whole before its first row is sent: a slow reader holds no snapshot."""
        started = self._clock.monotonic()
        query = _query(request.sql, request.parameters, request.datasets)
        result = await self._jobs.run(
            lambda cursor, stop: self._queries.run(cursor, stop, query, request.row_count_max)
        )
        took_s = self._clock.monotonic() - started
        size = result.rows.nbytes
        self._held.take(size)
        try:
            header = messages.QueryHeader(columns=wire.to_columns(result.columns))
            yield messages.QueryResponse(header=header)
            encoded = in_messages(result.rows, result.columns, request.encoding)
            # Ends with the rows.
            while (rows := await asyncio.to_thread(next, encoded, None)) is not None:
                yield messages.QueryResponse(rows=rows)
        finally:
            self._held.bytes -= size
        summary = messages.QuerySummary(row_count=result.rows.num_rows, truncated=result.truncated)
        summary.duration.FromNanoseconds(int(took_s * 1e9))
        yield messages.QueryResponse(summary=summary)

    async def DescribeQuery(
        self, request: messages.DescribeQueryRequest, context: Context
    ) -> messages.DescribeQueryResponse:
        """Say which columns a query would have."""
        query = Query(
            sql=request.sql,
            parameters=dict.fromkeys(request.parameter_names),
            datasets={},
            principal=current_principal(),
        )
        relations = {
            name: wire.from_columns(relation.columns)
            for name, relation in request.relations.items()
        }
        found = await self._jobs.run(
            lambda cursor, stop: self._queries.describe(cursor, stop, query, relations)
        )
        return messages.DescribeQueryResponse(
            columns=wire.to_columns(found.columns), tables=found.tables, relations=found.relations
        )

    async def CreateDataset(
        self, request: messages.CreateDatasetRequest, context: Context
    ) -> messages.CreateDatasetResponse:
        """Run a query and keep its result, beside the writer, in one commit with the receipt."""
        query = _query(request.sql, request.parameters, request.datasets)
        ttl = request.ttl.ToTimedelta() if request.HasField("ttl") else TTL_DEFAULT
        preview_rows = request.preview_row_count
        receipt = wire.receipt_key(query.principal, request)
        new = NewDataset(
            id=self._ids.new_id("ds"),
            owner=query.principal.subject,
            expire_time=self._clock.now() + ttl,
            preview_rows=preview_rows,
        )
        stop = Stop()

        def apply(transaction: Transaction) -> bytes:
            # Only now, after the receipt was looked up: a retry gets its answer though a source has gone.
            with closing(self._store.database.cursor()) as cursor:
                bound = self._queries.bind(cursor, stop, query)
            dataset, preview = create_dataset(transaction, new, bound, self._store.datasets)
            return _created(dataset, preview).SerializeToString()

        work = watched(self._watch, stop, self._queries.limits.time_s, self._store.spool, apply)
        try:
            answer = await self._store.bulk.run(work, receipt)
        except asyncio.CancelledError:
            stop.ask()
            raise
        return messages.CreateDatasetResponse.FromString(answer)

    async def GetDataset(
        self, request: messages.GetDatasetRequest, context: Context
    ) -> messages.GetDatasetResponse:
        """Return one dataset."""
        dataset = find_dataset(
            self._store.datasets, request.dataset_id, current_principal(), self._clock.now()
        )
        return messages.GetDatasetResponse(dataset=_to_dataset(dataset))

    async def DeleteDataset(
        self, request: messages.DeleteDatasetRequest, context: Context
    ) -> messages.DeleteDatasetResponse:
        """Delete a dataset; another's is left alone and answered like one that is gone."""
        dataset = self._store.datasets.get(request.dataset_id)
        if dataset is not None and dataset.owner == current_principal().subject:
            await drop_datasets(self._store.writer, self._store.datasets, [dataset.id])
        return messages.DeleteDatasetResponse()


def _query(
    sql: str, parameters: Mapping[str, value_pb2.Value], datasets: Mapping[str, str]
) -> Query:
    return Query(
        sql=sql,
        parameters={name: from_value(value) for name, value in parameters.items()},
        datasets=dict(datasets),
        principal=current_principal(),
    )


def _created(dataset: Dataset, preview: pa.Table) -> messages.CreateDatasetResponse:
    rows, _ = first_rows(preview, dataset.columns, rows_pb2.Rows.ENCODING_TYPED)
    return messages.CreateDatasetResponse(dataset=_to_dataset(dataset), preview=rows)


def _to_dataset(dataset: Dataset) -> dataset_pb2.Dataset:
    message = dataset_pb2.Dataset(
        id=dataset.id,
        columns=wire.to_columns(dataset.columns),
        row_count=dataset.row_count,
        owner=dataset.owner,
    )
    message.create_time.FromDatetime(dataset.create_time)
    message.expire_time.FromDatetime(dataset.expire_time)
    return message
