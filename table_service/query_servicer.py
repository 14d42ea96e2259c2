"""flux.table.v1.QueryService: parse, call, wrap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing
from typing import TypeVar

import grpc
import pyarrow as pa

from chassis.clock import Clock
from chassis.identity import Principal, current_principal
from chassis.ids import IdMaker
from chassis.values import from_value
from flux.table.v1 import dataset_pb2, query_service_pb2_grpc, rows_pb2
from flux.table.v1 import query_service_pb2 as messages
from flux.type.v1 import value_pb2
from table_service import wire
from table_service.datasets import TTL_DEFAULT, check_quota, find_dataset
from table_service.fresh_tables import with_fresh_table
from table_service.result_stream import first_rows, in_messages
from table_service.store import Store
from table_service.store.catalog import Dataset
from table_service.store.datasets import NewDataset, create_dataset, drop_datasets, watched
from table_service.store.heavy import Heavy
from table_service.store.jobs import Cursor
from table_service.store.queries import Query
from table_service.store.transaction import Transaction
from table_service.store.watch import Stop

Context = grpc.aio.ServicerContext[object, object]
Answer = TypeVar("Answer")


class QueryServicer(query_service_pb2_grpc.QueryServiceServicer):
    """SQL over tables and datasets."""

    def __init__(self, store: Store, heavy: Heavy, *, ids: IdMaker, clock: Clock) -> None:
        self._store = store
        self._jobs = heavy.query_jobs
        self._turns = heavy.query_turns
        self._holdings = heavy.holdings
        self._queries = heavy.queries
        self._watch = heavy.watch
        self._quota = heavy.limits.datasets
        self._ids = ids
        self._clock = clock

    async def Query(
        self, request: messages.QueryRequest, context: Context
    ) -> AsyncIterator[messages.QueryResponse]:
        """Run a query. The result is whole before its first row is sent: a slow reader holds no snapshot."""
        started = self._clock.monotonic()
        query = _query(request.sql, request.parameters, request.datasets)
        with self._holdings.of(query.principal.subject) as hold:
            result = await self._run(
                query.principal,
                lambda cursor, stop: self._queries.run(
                    cursor, stop, query, request.row_count_max, hold
                ),
            )
            took_s = self._clock.monotonic() - started
            header = messages.QueryHeader(columns=wire.to_columns(result.columns))
            yield messages.QueryResponse(header=header)
            encoded = in_messages(result.rows, result.columns, request.encoding)
            few = (
                result.rows.num_rows <= wire.INLINE_ROWS_MAX
                and result.rows.nbytes <= wire.INLINE_ARROW_BYTES_MAX
            )
            # Ends with the rows.
            while True:
                rows = next(encoded, None) if few else await asyncio.to_thread(next, encoded, None)
                if rows is None:
                    break
                yield messages.QueryResponse(rows=rows)
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
        found = await self._run(
            query.principal,
            lambda cursor, stop: self._queries.describe(cursor, stop, query, relations),
            line="describe",
        )
        return messages.DescribeQueryResponse(
            columns=wire.to_columns(found.columns), tables=found.tables, relations=found.relations
        )

    async def ExplainQuery(
        self, request: messages.ExplainQueryRequest, context: Context
    ) -> messages.ExplainQueryResponse:
        """Say how a query would be carried out."""
        query = _query(request.sql, request.parameters, request.datasets)
        found = await self._run(
            query.principal,
            lambda cursor, stop: self._queries.explain(
                cursor, stop, query, analyze=request.analyze
            ),
        )
        answer = messages.ExplainQueryResponse(plan=found.plan, tables=found.tables)
        if request.analyze:
            answer.duration.FromNanoseconds(int(found.seconds * 1e9))
        return answer

    async def CreateDataset(
        self, request: messages.CreateDatasetRequest, context: Context
    ) -> messages.CreateDatasetResponse:
        """Run a query and keep its result, beside the writer, in one commit with the receipt."""
        query = _query(request.sql, request.parameters, request.datasets)
        ttl = request.ttl.ToTimedelta() if request.HasField("ttl") else TTL_DEFAULT
        preview_rows = request.preview_row_count
        receipt = wire.receipt_key(query.principal, request)
        if (first := await self._store.first_answer(receipt)) is not None:
            return messages.CreateDatasetResponse.FromString(first)
        new = NewDataset(
            id=self._ids.new_id("ds"),
            owner=query.principal.subject,
            expire_time=self._clock.now() + ttl,
            preview_rows=preview_rows,
        )
        datasets = self._store.datasets

        async def create() -> bytes:
            stop, end_turn = Stop(), await self._turns.take(("query", new.owner))

            def apply(transaction: Transaction) -> bytes:
                # Only now, after the receipt was looked up: a retry gets its answer though a source has gone.
                check_quota(datasets, new.owner, self._quota)
                with closing(self._store.database.cursor()) as cursor:
                    bound = self._queries.bind(cursor, stop, query)
                dataset, preview = create_dataset(transaction, new, bound, datasets)
                check_quota(datasets, new.owner, self._quota, dataset.byte_count)
                return _created(dataset, preview).SerializeToString()

            work = watched(self._watch, stop, self._queries.limits.time_s, self._store.spool, apply)
            # A task of its own, which ends with the thread and not with the caller.
            working = asyncio.ensure_future(self._store.bulk.run(work, receipt))
            working.add_done_callback(lambda ended: (end_turn(), ended.exception()))
            try:
                return await asyncio.shield(working)
            except asyncio.CancelledError:
                stop.ask()
                raise

        answer = await with_fresh_table(create)
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

    async def _run(
        self,
        principal: Principal,
        work: Callable[[Cursor, Stop], Answer],
        *,
        line: str = "query",
    ) -> Answer:
        """Return what `work` returns, in the caller's turn; each line of a caller's has its own."""

        async def once() -> Answer:
            return await self._jobs.run(work, await self._turns.take((line, principal.subject)))

        return await with_fresh_table(once)


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
        byte_count=dataset.byte_count,
        owner=dataset.owner,
    )
    message.create_time.FromDatetime(dataset.create_time)
    message.expire_time.FromDatetime(dataset.expire_time)
    return message
