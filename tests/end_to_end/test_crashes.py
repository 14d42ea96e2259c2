"""kill -9 of each service in the middle of a run: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar
from uuid import uuid4

import grpc
import pytest

from deploy.processes import SERVICES, Processes
from examples import flights
from examples.client import Client
from flux.workflow.v1 import run_pb2, run_service_pb2, run_service_pb2_grpc

pytestmark = [pytest.mark.xdist_group("crashes"), pytest.mark.timeout(300)]

RUNS_PER_KILL = 12
GATED = """
name: gated
inputs:
  url: {type: TYPE_STRING}
  label: {type: TYPE_STRING}
steps:
  - id: chosen
    query:
      sql: SELECT carrier, name FROM airlines WHERE carrier < 'C'
  - id: before
    action:
      httpCall: {method: METHOD_POST, url: input.url + '/before', body: run.id}
  - id: labelled
    transform:
      sql: SELECT $label AS label, carrier FROM chosen
      parameters: {label: input.label}
  - id: store
    action:
      insertRows: {table: written, fromStep: labelled}
  - id: after
    action:
      httpCall: {method: METHOD_POST, url: input.url + '/after', body: run.id}
output:
  rows: steps.store.row_count
"""
SHORT = """
name: short
inputs:
  label: {type: TYPE_STRING}
steps:
  - id: text
    transform: {expression: input.label + '!'}
  - id: store
    action:
      insertRows:
        table: written
        values: {rows: [{values: {label: steps.text.value, carrier: "'XX'"}}]}
"""


class Gate:
    """An HTTP server that holds every call until it is opened, and remembers each."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.calls: list[tuple[str, str]] = []
        self.called = threading.Condition()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                with gate.called:
                    gate.calls.append((self.path, self.headers["Idempotency-Key"]))
                    gate.called.notify_all()
                gate.opened.wait(60)
                try:
                    self.send_response(200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    # The caller was killed while it waited.
                    return

            def log_message(self, *_arguments: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait_for(self, path: str, count: int = 1) -> None:
        """Return when `path` was called so often."""
        with self.called:
            assert self.called.wait_for(
                lambda: sum(called == path for called, _ in self.calls) >= count, 30
            ), f"{path} was not called: {self.calls}"


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()
    gate.server.shutdown()
    gate.server.server_close()


@pytest.fixture(scope="module", autouse=True)
def _prepared(client: Client) -> None:
    client.create_table(flights.table("airlines", flights.AIRLINES, description=""))
    client.create_table(flights.table("written", "label:text carrier:text", description=""))
    client.import_csv("airlines", flights.read_file("airlines"))
    client.create_workflow(GATED)
    client.create_workflow(SHORT)


Answer = TypeVar("Answer")


def patiently(call: Callable[[], Answer], *, within_s: float = 60) -> Answer:
    """Return what `call` returns, calling again while a service is down, as a client should."""
    end = time.monotonic() + within_s
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                raise
            time.sleep(0.05)


def start_patiently(client: Client, workflow: str, inputs: dict[str, str]) -> run_pb2.Run:
    """Start a run, retrying with one request_id until it is acknowledged."""
    request = run_service_pb2.StartRunRequest(workflow=workflow, request_id=str(uuid4()))
    request.input.update(inputs)
    stub = run_service_pb2_grpc.RunServiceStub(client.channel)
    answer = patiently(lambda: stub.StartRun(request, metadata=client.metadata, timeout=10))
    return answer.run


def kill_and_restart(stack: Processes, service: str) -> None:
    stack.kill(service)
    stack.start(service)


def written(client: Client, label: str) -> list[str]:
    sql = f"SELECT carrier FROM written WHERE label = '{label}' ORDER BY carrier"
    _, rows = patiently(lambda: client.query(sql))
    return [str(row[0]) for row in rows]


def wait_until_all_serve(stack: Processes) -> None:
    for service in SERVICES:
        stack.wait_until_serving(service)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_run_survives_the_kill_of_a_service(
    stack: Processes, client: Client, gate: Gate, service: str, moment: str
) -> None:
    label = f"{service}-{moment}"
    run = start_patiently(client, "gated", {"url": gate.url, "label": label})
    if moment == "after":
        # Let the first call through, then hold the run just after its write.
        gate.wait_for("/before")
        gate.opened.set()
        gate.wait_for("/after")
        gate.opened.clear()
    else:
        gate.wait_for("/before")
    kill_and_restart(stack, service)
    gate.opened.set()
    ended = patiently(lambda: client.watch_run(run.id, lambda _event: None))
    assert ended.state == run_pb2.Run.STATE_SUCCEEDED, ended.failure
    assert written(client, label) == ["9E", "AA", "AS", "B6"]
    # Outward calls may repeat, but always under one key a step.
    assert len({key for path, key in gate.calls if path == "/before"}) == 1
    wait_until_all_serve(stack)


@pytest.mark.parametrize("service", SERVICES)
def test_every_acknowledged_run_writes_once_whenever_a_service_dies(
    stack: Processes, client: Client, service: str
) -> None:
    labels = [f"{service}-storm-{number}" for number in range(RUNS_PER_KILL)]
    with ThreadPoolExecutor(4) as pool:
        started = [
            pool.submit(start_patiently, client, "short", {"label": label}) for label in labels
        ]
        started[RUNS_PER_KILL // 3].result()
        kill_and_restart(stack, service)
        runs = [future.result() for future in started]
    for run, label in zip(runs, labels, strict=True):
        ended = patiently(partial(client.watch_run, run.id, lambda _event: None))
        assert ended.state == run_pb2.Run.STATE_SUCCEEDED, ended.failure
        assert written(client, f"{label}!") == ["XX"]
    wait_until_all_serve(stack)
