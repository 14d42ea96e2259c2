"""table_service and workflow_service as an editor uses them: tables, workflows, runs and rows."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.client import Peer
from chassis.values import from_struct, from_value, to_struct
from flux.table.v1 import (
    query_service_pb2,
    query_service_pb2_grpc,
    row_service_pb2,
    row_service_pb2_grpc,
    rows_pb2,
    table_pb2,
    table_service_pb2,
    table_service_pb2_grpc,
)
from flux.workflow.v1 import (
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Editor:
    """table_service and workflow_service as one editor calls them."""

    table: Peer
    workflow: Peer

    async def create_table(self, table: table_pb2.Table, rows: rows_pb2.Rows | None = None) -> None:
        tables = table_service_pb2_grpc.TableServiceStub(self.table.channel)
        await self.table.call(tables.CreateTable, table_service_pb2.CreateTableRequest(table=table))
        if rows is not None:
            stub = row_service_pb2_grpc.RowServiceStub(self.table.channel)
            request = row_service_pb2.InsertRowsRequest(table=table.name, rows=rows)
            await self.table.call(stub.InsertRows, request)

    async def create_workflow(self, source: str) -> None:
        stub = workflow_service_pb2_grpc.WorkflowServiceStub(self.workflow.channel)
        request = workflow_service_pb2.CreateWorkflowRequest(source=source)
        await self.workflow.call(stub.CreateWorkflow, request)

    async def run(self, name: str, **inputs: object) -> dict[str, object]:
        """Run a workflow to its end and return its output."""
        request = run_service_pb2.StartRunRequest(workflow=name, input=to_struct(inputs))
        request.wait.FromSeconds(30)
        stub = run_service_pb2_grpc.RunServiceStub(self.workflow.channel)
        run = (await self.workflow.call(stub.StartRun, request, timeout_s=60)).run
        assert run.state == run_pb2.Run.STATE_SUCCEEDED, run.failure
        return from_struct(run.output)

    async def rows(self, sql: str) -> list[tuple[object, ...]]:
        stub = query_service_pb2_grpc.QueryServiceStub(self.table.channel)
        request = query_service_pb2.QueryRequest(sql=sql, encoding=rows_pb2.Rows.ENCODING_TYPED)
        return [
            tuple(from_value(value) for value in row.values)
            async for answer in self.table.stream(stub.Query, request)
            for row in answer.rows.typed.rows
        ]
