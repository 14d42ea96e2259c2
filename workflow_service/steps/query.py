"""SQL steps: the result stays in the store as a dataset, and only a preview comes here."""

from __future__ import annotations

import re
from datetime import timedelta

from chassis.client import Peer
from chassis.values import from_value, to_value
from flux.table.v1 import query_service_pb2, query_service_pb2_grpc
from workflow_service.definition import QuerySql, TransformSql
from workflow_service.events import DatasetMade
from workflow_service.steps.effect import Effect, derived_key, evaluated
from workflow_service.steps.previews import ROWS_MAX, preview

_WORD = re.compile(r"[a-z_][a-z0-9_]*")


class DatasetMaker:
    """Runs SQL for people and keeps its results for `lifetime`."""

    def __init__(self, *, peer: Peer, lifetime: timedelta) -> None:
        self._peer = peer
        self._create = query_service_pb2_grpc.QueryServiceStub(peer.channel).CreateDataset
        self._lifetime = lifetime

    async def make(self, kind: QuerySql | TransformSql, effect: Effect, token: str) -> DatasetMade:
        """Make the dataset, or find the one that an earlier attempt made.

        An attempt after a restart with other settings asks for something else, so under another id: a dataset
        too many does no harm and lives its time.

        Raises:
            StepRefused: If a parameter has no value.
            Fault: What table_service raised.
        """
        # Only those that the SQL can mean: a request names a hundred at the most.
        words = set(_WORD.findall(kind.sql.lower()))
        request = query_service_pb2.CreateDatasetRequest(
            sql=kind.sql,
            parameters={
                name: to_value(evaluated(expression, effect.context, f"parameter {name!r}"))
                for name, expression in kind.parameters.items()
            },
            datasets={step: id_ for step, id_ in effect.datasets.items() if step in words},
            preview_row_count=ROWS_MAX,
            request_id=derived_key(effect.key, f"{self._lifetime}/{ROWS_MAX}"),
        )
        request.ttl.FromTimedelta(self._lifetime)
        answer = await self._peer.call(
            self._create, request, token=token, timeout_s=effect.timeout_s
        )
        typed = answer.preview.typed
        rows = ([from_value(value) for value in row.values] for row in typed.rows)
        return DatasetMade(
            dataset_id=answer.dataset.id,
            row_count=answer.dataset.row_count,
            rows=preview(tuple(typed.columns), rows),
        )
