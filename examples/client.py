"""A small client of FluxEngine through its gateway, as a service of your own would have one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import grpc

from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
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
    workflow_pb2,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)

_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_WATCH_AGAIN_AFTER_S = 0.2
_ABSENCE_MAX_S = 60.0


@dataclass(slots=True)
class Client:
    """Calls through one channel; after `login`, every call carries the access token."""

    channel: grpc.Channel
    metadata: tuple[tuple[str, str], ...] = field(default=())

    @classmethod
    def connect(cls, address: str) -> Client:
        """Return a client of the gateway at `address`."""
        options = [
            ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
            ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
        ]
        return cls(grpc.insecure_channel(address, options=options))

    @property
    def access_token(self) -> str:
        """Return the token that calls carry; empty before `login`."""
        return self.metadata[0][1].removeprefix("Bearer ") if self.metadata else ""

    def login(self, username: str, password: str) -> None:
        """Open a session."""
        answer = auth_service_pb2_grpc.AuthServiceStub(self.channel).Login(
            auth_service_pb2.LoginRequest(username=username, password=password)
        )
        self.metadata = (("authorization", f"Bearer {answer.tokens.access_token}"),)

    def create_table(self, table: table_pb2.Table) -> bool:
        """Create a table and return True; one of that name already there is left as it is (False)."""
        request = table_service_pb2.CreateTableRequest(table=table, request_id=str(uuid4()))
        try:
            table_service_pb2_grpc.TableServiceStub(self.channel).CreateTable(
                request, metadata=self.metadata
            )
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
            return False
        return True

    def count_rows(self, table: str) -> int:
        """Return how many rows a table has."""
        _, rows = self.query(f'SELECT count(*) FROM "{table}"')
        (count,) = rows[0]
        assert isinstance(count, int)
        return count

    def import_csv(self, table: str, pieces: Iterable[bytes], *, null_text: str = "") -> int:
        """Import a CSV file given in pieces and return how many rows it had."""

        def requests() -> Iterator[row_service_pb2.ImportRowsRequest]:
            header = row_service_pb2.ImportHeader(
                table=table,
                format=row_service_pb2.FILE_FORMAT_CSV,
                csv=row_service_pb2.CsvOptions(null_text=null_text),
                request_id=str(uuid4()),
            )
            yield row_service_pb2.ImportRowsRequest(header=header)
            for piece in pieces:
                yield row_service_pb2.ImportRowsRequest(chunk=piece)

        answers = row_service_pb2_grpc.RowServiceStub(self.channel).ImportRows(
            requests(), metadata=self.metadata, timeout=600
        )
        # The others say how far it is.
        *_, done = answers
        return done.row_count

    def create_workflow(self, source: str) -> workflow_pb2.Workflow:
        """Create a workflow from YAML and return it as stored."""
        answer = workflow_service_pb2_grpc.WorkflowServiceStub(self.channel).CreateWorkflow(
            workflow_service_pb2.CreateWorkflowRequest(source=source), metadata=self.metadata
        )
        return answer.workflow

    def start_run(self, workflow: str, **inputs: float | str | bool) -> run_pb2.Run:
        """Start a run of the latest version of a workflow."""
        request = run_service_pb2.StartRunRequest(workflow=workflow, request_id=str(uuid4()))
        request.input.update(inputs)
        answer = run_service_pb2_grpc.RunServiceStub(self.channel).StartRun(
            request, metadata=self.metadata
        )
        return answer.run

    def watch_run(self, run_id: str, on_event: Callable[[run_pb2.RunEvent], None]) -> run_pb2.Run:
        """Call `on_event` with everything that happens in a run, and return the run when it has ended.

        A watch that breaks off is taken up again just after the last event, for as long as the service comes
        back within a minute.
        """
        stub = run_service_pb2_grpc.RunServiceStub(self.channel)
        request = run_service_pb2.WatchRunRequest(run_id=run_id)
        heard_at = time.monotonic()
        # Ends with the run, or with an error that waiting does not mend.
        while True:
            try:
                for answer in stub.WatchRun(request, metadata=self.metadata, timeout=600):
                    heard_at = time.monotonic()
                    request.cursor = answer.cursor
                    if answer.HasField("event"):
                        on_event(answer.event)
                    if answer.HasField("run"):
                        return answer.run
            except grpc.RpcError as error:
                lasting = time.monotonic() - heard_at > _ABSENCE_MAX_S
                if error.code() is not grpc.StatusCode.UNAVAILABLE or lasting:
                    raise
            time.sleep(_WATCH_AGAIN_AFTER_S)

    def get_run(self, run_id: str) -> run_pb2.Run:
        """Return a run with its steps."""
        answer = run_service_pb2_grpc.RunServiceStub(self.channel).GetRun(
            run_service_pb2.GetRunRequest(run_id=run_id, view=run_pb2.RUN_VIEW_FULL),
            metadata=self.metadata,
        )
        return answer.run

    def query(self, sql: str) -> tuple[list[str], list[tuple[object, ...]]]:
        """Run a SELECT and return the names of its columns and its rows as plain values."""
        request = query_service_pb2.QueryRequest(sql=sql, encoding=rows_pb2.Rows.ENCODING_TYPED)
        names: list[str] = []
        rows: list[tuple[object, ...]] = []
        stub = query_service_pb2_grpc.QueryServiceStub(self.channel)
        for answer in stub.Query(request, metadata=self.metadata, timeout=300):
            if answer.HasField("header"):
                names = [column.name for column in answer.header.columns]
            rows.extend(
                tuple(_plain(value) for value in row.values) for row in answer.rows.typed.rows
            )
        return names, rows


def _plain(value: object) -> object:
    """Return the content of a flux.type.v1.Value; null is None."""
    kind = value.WhichOneof("kind")  # type: ignore[attr-defined]  # every message has it
    return None if kind in (None, "null") else getattr(value, kind)
