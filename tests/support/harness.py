"""The real services in one process: real ports, real DuckDB, real tokens.

Each service is opened by its own composition root, as its process would, with `listen` on port 0.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import auth_service.__main__
import auth_service.config
import table_service.__main__
import table_service.config
from chassis.client import Peer, connect
from chassis.clock import Clock, SystemClock
from chassis.server import RunningServer
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from tests.support.fixed_token import FixedToken
from tests.support.ports import free_ports
from tests.support.secret_files import ADMIN_PASSWORD, SecretFiles, make_secret_files
from tests.support.waiting import eventually

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
# The cheapest bcrypt there is: what hashing costs is not what these tests ask.
PASSWORD_COST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The running services; those not asked for are None."""

    auth: RunningServer
    table: RunningServer
    workflow: RunningServer | None
    gateway: RunningServer | None
    secrets: SecretFiles
    data_folder: Path
    _stack: AsyncExitStack

    def peer(self, server: RunningServer | None, token: str = "") -> Peer:
        """Return a peer that calls `server` with `token`, on a channel of its own."""
        assert server is not None
        channel = connect(server.address, message_bytes_max=MESSAGE_BYTES_MAX)
        self._stack.push_async_callback(channel.close)
        return Peer(name="service", channel=channel, tokens=FixedToken(token))

    async def login(self, username: str = "admin", password: str = ADMIN_PASSWORD) -> str:
        """Return an access token of a person."""
        peer = self.peer(self.auth)
        stub = auth_service_pb2_grpc.AuthServiceStub(peer.channel)
        answer = await peer.call(
            stub.Login, auth_service_pb2.LoginRequest(username=username, password=password)
        )
        return answer.tokens.access_token

    async def register(self, username: str, password: str = ADMIN_PASSWORD) -> str:
        """Register a person with the configured role and return an access token of theirs."""
        peer = self.peer(self.auth)
        stub = auth_service_pb2_grpc.AuthServiceStub(peer.channel)
        await peer.call(
            stub.Register, auth_service_pb2.RegisterRequest(username=username, password=password)
        )
        return await self.login(username, password)


Changes = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """Where everything of one stack is."""

    folder: Path
    secrets: SecretFiles
    clock: Clock
    auth_address: str
    table_address: str

    def settings(self, listen: str, secret: Path, changes: Changes | None) -> Changes:
        """Return the settings of a service that calls auth and table, with some of them changed."""
        return {
            "listen": listen,
            "auth_address": self.auth_address,
            "table_address": self.table_address,
            "client_secret_file": secret,
            "drain_timeout_s": 1,
            **(changes or {}),
        }


@asynccontextmanager
async def open_stack(
    folder: Path,
    *,
    with_workflow: bool = False,
    with_gateway: bool = False,
    clock: Clock | None = None,
    auth_settings: Changes | None = None,
    table_settings: Changes | None = None,
    workflow_settings: Changes | None = None,
    gateway_settings: Changes | None = None,
) -> AsyncIterator[Stack]:
    """Run auth_service and table_service, and the others if asked for, and wait until they serve.

    The four `*_settings` replace single settings by name.
    """
    table_port, auth_port = free_ports(2)
    site = _Site(
        folder=folder,
        secrets=make_secret_files(folder / "secrets"),
        clock=clock or SystemClock(),
        auth_address=f"127.0.0.1:{auth_port}",
        table_address=f"127.0.0.1:{table_port}",
    )
    async with AsyncExitStack() as stack:
        table = await stack.enter_async_context(_open_table(site, table_settings))
        auth = await stack.enter_async_context(_open_auth(site, auth_settings))
        workflow = gate = None
        if with_workflow:
            workflow = await stack.enter_async_context(_open_workflow(site, workflow_settings))
        if with_gateway:
            address = workflow.address if workflow else "127.0.0.1:1"
            gate = await stack.enter_async_context(_open_gateway(site, address, gateway_settings))
        for server in (table, auth, workflow, gate):
            if server is not None:
                await wait_until_serving(server.address)
        yield Stack(
            auth=auth,
            table=table,
            workflow=workflow,
            gateway=gate,
            secrets=site.secrets,
            data_folder=folder / "data",
            _stack=stack,
        )


Opening = AbstractAsyncContextManager[RunningServer]


def _open_table(site: _Site, changes: Changes | None) -> Opening:
    settings = site.settings(site.table_address, site.secrets.table, changes)
    del settings["table_address"]
    settings = {
        "data_folder": site.folder / "data",
        "auth_public_key_file": site.secrets.auth_public_key,
        **settings,
    }
    return table_service.__main__.open_service(
        table_service.config.Settings(**settings), site.clock
    )


def _open_auth(site: _Site, changes: Changes | None) -> Opening:
    settings = {
        "listen": site.auth_address,
        "table_address": site.table_address,
        "bootstrap_key_file": site.secrets.bootstrap_key,
        "table_secret_file": site.secrets.table,
        "workflow_secret_file": site.secrets.workflow,
        "gateway_secret_file": site.secrets.gateway,
        "admin_password_file": site.secrets.admin_password,
        "register_role": "editor",
        "password_cost": PASSWORD_COST,
        "drain_timeout_s": 1,
        **(changes or {}),
    }
    return auth_service.__main__.open_service(auth_service.config.Settings(**settings), site.clock)


# A test of two services does not pay for importing the other two.


def _open_workflow(site: _Site, changes: Changes | None) -> Opening:
    import workflow_service.__main__  # noqa: PLC0415
    import workflow_service.config  # noqa: PLC0415

    settings = site.settings("127.0.0.1:0", site.secrets.workflow, changes)
    return workflow_service.__main__.open_service(
        workflow_service.config.Settings(**settings), site.clock
    )


def _open_gateway(site: _Site, workflow_address: str, changes: Changes | None) -> Opening:
    import gateway.__main__  # noqa: PLC0415
    import gateway.config  # noqa: PLC0415

    settings = site.settings("127.0.0.1:0", site.secrets.gateway, changes)
    settings = {"workflow_address": workflow_address, **settings}
    return gateway.__main__.open_service(gateway.config.Settings(**settings), site.clock)


async def wait_until_serving(address: str, *, within_s: float = 30.0) -> None:
    """Return when the service at `address` says SERVING."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def serving() -> bool:
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        await eventually(serving, within_s=within_s)
