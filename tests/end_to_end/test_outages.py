"""A service whose neighbour is down says so, says when to come back, and recovers by itself."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from deploy.processes import Processes
from examples.client import Client
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from flux.workflow.v1 import workflow_service_pb2, workflow_service_pb2_grpc
from tests.support.waiting import eventually_true

pytestmark = pytest.mark.xdist_group("outages")


def query(client: Client) -> None:
    client.query("SELECT 1")


def login(client: Client) -> None:
    auth_service_pb2_grpc.AuthServiceStub(client.channel).Login(
        auth_service_pb2.LoginRequest(username="nobody", password="no password at all"), timeout=20
    )


def get_workflow(client: Client) -> None:
    workflow_service_pb2_grpc.WorkflowServiceStub(client.channel).GetWorkflow(
        workflow_service_pb2.GetWorkflowRequest(name="nope"), metadata=client.metadata, timeout=20
    )


CALLS: list[tuple[str, Callable[[Client], None], grpc.StatusCode]] = [
    ("table", query, grpc.StatusCode.OK),
    ("table", login, grpc.StatusCode.UNAUTHENTICATED),
    ("table", get_workflow, grpc.StatusCode.NOT_FOUND),
    ("auth", login, grpc.StatusCode.UNAUTHENTICATED),
    ("workflow", get_workflow, grpc.StatusCode.NOT_FOUND),
]


def code_of(call: Callable[[Client], None], client: Client) -> tuple[grpc.StatusCode, bool]:
    """Return the status of a call, and whether RetryInfo came with it."""
    try:
        call(client)
    except grpc.RpcError as error:
        status = status_pb2.Status()
        trailing = {item.key: item.value for item in error.trailing_metadata() or ()}
        status.ParseFromString(trailing.get("grpc-status-details-bin", b""))
        retry = error_details_pb2.RetryInfo.DESCRIPTOR
        return error.code(), any(detail.Is(retry) for detail in status.details)
    return grpc.StatusCode.OK, False


@pytest.mark.parametrize(("service", "call", "usual"), CALLS)
async def test_neighbour_that_is_down_is_named_and_its_return_is_noticed(
    stack: Processes,
    client: Client,
    service: str,
    call: Callable[[Client], None],
    usual: grpc.StatusCode,
) -> None:
    stack.kill(service)
    assert code_of(call, client) == (grpc.StatusCode.UNAVAILABLE, True)
    stack.start(service)
    for name in ("table", "auth", "workflow", "gateway"):
        stack.wait_until_serving(name)
    # Channels try again a while after they have failed.
    await eventually_true(lambda: code_of(call, client)[0] is usual)
