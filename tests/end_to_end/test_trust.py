"""Who holds the file, and whom a service believes when it is called past the gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.processes import Processes
from examples.client import Client
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from flux.table.v1 import table_service_pb2, table_service_pb2_grpc
from flux.workflow.v1 import run_service_pb2, run_service_pb2_grpc
from tests.support.tokens import TestKeys

pytestmark = pytest.mark.xdist_group("trust")

Call = Callable[[grpc.Channel, Any], Any]
CALLS: dict[str, Call] = {
    "auth": lambda channel, metadata: auth_service_pb2_grpc.AuthServiceStub(channel).GetCurrentUser(
        auth_service_pb2.GetCurrentUserRequest(), metadata=metadata
    ),
    "table": lambda channel, metadata: table_service_pb2_grpc.TableServiceStub(channel).ListTables(
        table_service_pb2.ListTablesRequest(), metadata=metadata
    ),
    "workflow": lambda channel, metadata: run_service_pb2_grpc.RunServiceStub(channel).ListRuns(
        run_service_pb2.ListRunsRequest(), metadata=metadata
    ),
}
CALLS["gateway"] = CALLS["table"]


def test_only_table_service_has_the_file_open(stack: Processes, client: Client) -> None:
    client.query("SELECT 1")
    data = (stack.folder / "data").resolve()
    holders = {
        service
        for service, process in stack.running.items()
        for file in psutil.Process(process.pid).open_files()
        if file.path.startswith(str(data))
    }
    assert holders == {"table"}


@pytest.fixture(params=CALLS)
def target(request: pytest.FixtureRequest, stack: Processes) -> Iterator[tuple[Call, grpc.Channel]]:
    with grpc.insecure_channel(stack.address(request.param)) as channel:
        yield CALLS[request.param], channel


def test_good_token_is_believed(target: tuple[Call, grpc.Channel], client: Client) -> None:
    call, channel = target
    call(channel, client.metadata)


KEYS = TestKeys()
PUBLIC_KEY = KEYS.private_key.public_key().public_bytes(
    serialization.Encoding.Raw, serialization.PublicFormat.Raw
)


def published_kid(client: Client) -> str:
    stub = auth_service_pb2_grpc.AuthServiceStub(client.channel)
    return stub.GetJwks(auth_service_pb2.GetJwksRequest()).keys[0].kid


FORGERIES: dict[str, Callable[[str], str]] = {
    "nonsense": lambda _kid: "nonsense",
    "unsigned": lambda kid: KEYS.sign(key="", algorithm="none", kid=kid),
    "foreign key under a published id": lambda kid: KEYS.sign(kid=kid),
    "foreign key under the bootstrap id": lambda _kid: KEYS.sign(
        KEYS.claims(sub="auth", kind="service", roles=[]), kid="bootstrap"
    ),
    "HMAC with a public key": lambda kid: KEYS.sign(key=PUBLIC_KEY, algorithm="HS256", kid=kid),
    "wrongly typed": lambda kid: KEYS.sign(typ="JWT", kid=kid),
    "expired and foreign": lambda kid: KEYS.sign(
        KEYS.claims(exp=1), key=Ed25519PrivateKey.generate(), kid=kid
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_token_is_refused_everywhere(
    target: tuple[Call, grpc.Channel], client: Client, name: str
) -> None:
    call, channel = target
    token = FORGERIES[name](published_kid(client))
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, (("authorization", f"Bearer {token}"),))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.details() == "the token is not valid"


def test_good_token_that_was_changed_is_refused(
    target: tuple[Call, grpc.Channel], client: Client
) -> None:
    call, channel = target
    head, _, tail = client.access_token.rpartition(".")
    flipped = tail[:-5] + ("A" if tail[-5] != "A" else "B") + tail[-4:]
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, (("authorization", f"Bearer {head}.{flipped}"),))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_no_token_is_refused_everywhere(target: tuple[Call, grpc.Channel]) -> None:
    call, channel = target
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, ())
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
