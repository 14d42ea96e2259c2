"""workflow_service running beside real neighbours, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from chassis.client import Peer
from chassis.server import RunningServer
from chassis.values import from_value
from flux.table.v1 import (
    query_service_pb2,
    query_service_pb2_grpc,
    rows_pb2,
    table_pb2,
    table_service_pb2,
    table_service_pb2_grpc,
)
from flux.workflow.v1 import (
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    workflow_pb2,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)
from tests.support.harness import Stack, wait_until_serving
from workflow_service.__main__ import open_service
from workflow_service.config import Settings

State = run_pb2.Run.State


@asynccontextmanager
async def open_workflow(stack: Stack, **settings: Any) -> AsyncIterator[RunningServer]:
    """Run a workflow_service beside the stack's services and wait until it serves."""
    values = {
        "listen": "127.0.0.1:0",
        "auth_address": stack.auth.address,
        "table_address": stack.table.address,
        "client_secret_file": stack.secrets.workflow,
        "drain_timeout_s": 0.2,
        "http_allow_hosts": ("127.0.0.1",),
        **settings,
    }
    async with open_service(Settings(**values)) as running:
        await wait_until_serving(running.address)
        yield running


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Calls workflow_service, and table_service, as one person."""

    workflow: Peer
    table: Peer

    @property
    def _runs(self) -> run_service_pb2_grpc.RunServiceAsyncStub:
        return run_service_pb2_grpc.RunServiceStub(self.workflow.channel)

    async def create(self, name: str, source: dict[str, Any]) -> None:
        """Create a workflow."""
        definition = json_format.ParseDict({"name": name, **source}, workflow_pb2.Definition())
        stub = workflow_service_pb2_grpc.WorkflowServiceStub(self.workflow.channel)
        request = workflow_service_pb2.CreateWorkflowRequest(definition=definition)
        await self.workflow.call(stub.CreateWorkflow, request)

    async def start(
        self,
        workflow: str,
        given: dict[str, Any] | None = None,
        *,
        request_id: str = "",
        wait_s: int | None = 20,
    ) -> run_pb2.Run:
        """Start a run and wait for its end, or not at all."""
        request = run_service_pb2.StartRunRequest(workflow=workflow, request_id=request_id)
        request.input.update(given or {})
        if wait_s is not None:
            request.wait.seconds = wait_s
        answer = await self.workflow.call(self._runs.StartRun, request)
        return answer.run

    async def start_many(
        self, workflow: str, inputs: list[dict[str, Any]], *, request_id: str = "", wait_s: int = 20
    ) -> list[run_pb2.Run]:
        """Start runs and wait for their end."""
        request = run_service_pb2.BatchStartRunsRequest(workflow=workflow, request_id=request_id)
        for given in inputs:
            request.inputs.add().update(given)
        request.wait.seconds = wait_s
        answer = await self.workflow.call(self._runs.BatchStartRuns, request)
        return list(answer.runs)

    async def get(self, run_id: str) -> run_pb2.Run:
        """Return a run with its steps."""
        request = run_service_pb2.GetRunRequest(run_id=run_id)
        return (await self.workflow.call(self._runs.GetRun, request)).run

    async def page(self, **fields: Any) -> run_service_pb2.ListRunsResponse:
        """Return a page of runs."""
        request = run_service_pb2.ListRunsRequest(**fields)
        return await self.workflow.call(self._runs.ListRuns, request)

    async def cancel(self, run_id: str) -> run_pb2.Run:
        """Cancel a run."""
        request = run_service_pb2.CancelRunRequest(run_id=run_id)
        return (await self.workflow.call(self._runs.CancelRun, request)).run

    async def watch(
        self, run_id: str, cursor: str = ""
    ) -> AsyncGenerator[run_service_pb2.WatchRunResponse, None]:
        """Yield what happens in a run."""
        request = run_service_pb2.WatchRunRequest(run_id=run_id, cursor=cursor)
        async for message in self.workflow.stream(self._runs.WatchRun, request, timeout_s=30):
            yield message

    async def kinds(self, run_id: str) -> list[str]:
        """Return the kinds of a run's events, which has to end."""
        return [
            run_pb2.RunEvent.Kind.Name(message.event.kind).removeprefix("KIND_")
            async for message in self.watch(run_id)
            if message.HasField("event")
        ]

    async def ended(self, run_id: str) -> run_pb2.Run:
        """Return a run when it has ended."""
        async for message in self.watch(run_id):
            if message.HasField("run"):
                return await self.get(run_id)
        raise AssertionError("the watch ended before the run")

    async def create_table(self, name: str, columns: dict[str, str], key: str = "") -> None:
        """Create a table; `columns` maps names to kinds such as "INT64"."""
        table = table_pb2.Table(
            name=name,
            columns=[
                table_pb2.Column(
                    name=column, type=table_pb2.Type(kind=table_pb2.Type.Kind.Value(f"KIND_{kind}"))
                )
                for column, kind in columns.items()
            ],
            unique_keys=[table_pb2.UniqueKey(columns=[key])] if key else [],
        )
        stub = table_service_pb2_grpc.TableServiceStub(self.table.channel)
        await self.table.call(stub.CreateTable, table_service_pb2.CreateTableRequest(table=table))

    async def query(self, sql: str) -> list[list[object]]:
        """Return the rows of a query, every value as Python has it."""
        stub = query_service_pb2_grpc.QueryServiceStub(self.table.channel)
        request = query_service_pb2.QueryRequest(sql=sql, encoding=rows_pb2.Rows.ENCODING_TYPED)
        rows: list[list[object]] = []
        async for answer in self.table.stream(stub.Query, request):
            rows.extend(
                [from_value(value) for value in row.values] for row in answer.rows.typed.rows
            )
        return rows


async def connected(stack: Stack, workflow: RunningServer, token: str) -> Runs:
    """Return a client of `workflow` as the person whose token it is."""
    return Runs(workflow=stack.peer(workflow, token), table=stack.peer(stack.table, token))


PURE = {
    "inputs": {"n": {"type": "TYPE_INTEGER"}},
    "steps": [
        {"id": "double", "transform": {"expression": "input.n * 2"}},
        {
            "id": "size",
            "condition": {
                "cases": [{"name": "big", "when": "steps.double.value > 10", "steps": []}],
                "otherwise": {},
            },
        },
        {"id": "total", "transform": {"expression": "steps.double.value + 1"}},
    ],
    "output": {"total": "steps.total.value", "size": "steps.size.chosen"},
}
