"""Actions that write rows of a table: exactly once, however often they are attempted."""

from __future__ import annotations

import base64
from datetime import timedelta

from chassis.client import Peer
from chassis.values import to_struct
from flux.table.v1 import row_service_pb2, row_service_pb2_grpc, rows_pb2
from workflow_service.definition import FromStep, InsertRows, RowExpressions, UpsertRows
from workflow_service.events import RowsWritten
from workflow_service.failures import permanent
from workflow_service.steps.effect import Effect, StepRefused, evaluated

_MICROSECOND = timedelta(microseconds=1)


class RowWriter:
    """Writes rows for people, each step under its own request id."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._transact = row_service_pb2_grpc.RowServiceStub(peer.channel).Transact

    async def write(self, kind: InsertRows | UpsertRows, effect: Effect, token: str) -> RowsWritten:
        """Write the rows, or learn that an earlier attempt did.

        Raises:
            StepRefused: If a value has none, or the step named has made no dataset.
            Fault: What table_service raised.
        """
        request = row_service_pb2.TransactRequest(
            mutations=[_mutation(kind, effect)], request_id=effect.key
        )
        answer = await self._peer.call(
            self._transact, request, token=token, timeout_s=effect.timeout_s
        )
        [result] = answer.results
        return RowsWritten(row_count=result.inserted_count + result.updated_count)


def _mutation(kind: InsertRows | UpsertRows, effect: Effect) -> row_service_pb2.Mutation:
    mutation = row_service_pb2.Mutation()
    target = mutation.insert if isinstance(kind, InsertRows) else mutation.upsert
    target.table = kind.table
    if isinstance(kind, UpsertRows):
        mutation.upsert.key_columns.extend(kind.key_columns)
    match kind.source:
        case FromStep():
            target.dataset_id = _dataset(kind.source.step, effect)
        case RowExpressions():
            target.rows.CopyFrom(_rows(kind.source, effect))
    return mutation


def _dataset(step: str, effect: Effect) -> str:
    dataset_id = effect.datasets.get(step)
    if dataset_id is None:
        raise StepRefused(
            permanent("DATASET_NOT_FOUND", f"step {step!r} has made no dataset in this run")
        )
    return dataset_id


def _rows(source: RowExpressions, effect: Effect) -> rows_pb2.Rows:
    """Return the rows; a column that a row does not name is null in it.

    As JSON, which the type of each column decides how to read: CEL has no dates, decimals or UUIDs, and
    writes them as text.
    """
    rows = [
        {
            column: _plain(
                evaluated(expression, effect.context, f"row {number}, column {column!r}")
            )
            for column, expression in row.items()
        }
        for number, row in enumerate(source.rows, start=1)
    ]
    return rows_pb2.Rows(json=rows_pb2.JsonRows(rows=map(to_struct, rows)))


def _plain(value: object) -> object:
    """Return a value with what JSON has no type for as JSON rows write it."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case timedelta():
            microseconds = value // _MICROSECOND
            seconds, fraction = divmod(abs(microseconds), 1_000_000)
            return f"PT{'-' if microseconds < 0 else ''}{seconds}.{fraction:06}S"
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return value
