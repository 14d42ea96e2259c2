"""auth_service on a real table_service, each opened and closed as a test wants."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import auth_service.__main__
import auth_service.config
import table_service.__main__
import table_service.config
from auth_service.claims import Issue, service_claims
from auth_service.keys import BOOTSTRAP_KID, read_private_key, sign_token
from chassis.client import Peer, connect
from chassis.clock import Clock
from chassis.faults import Fault
from chassis.server import RunningServer
from chassis.tables import Tables
from flux.auth.v1 import auth_service_pb2 as messages
from flux.auth.v1 import auth_service_pb2_grpc
from flux.auth.v1.token_pb2 import TokenPair
from flux.auth.v1.user_pb2 import User
from tests.support.clock import ManualClock
from tests.support.fixed_token import FixedToken
from tests.support.harness import wait_until_serving
from tests.support.ports import free_ports
from tests.support.secret_files import ADMIN_PASSWORD, SecretFiles, make_secret_files

PASSWORD = "a password that is long enough"


class AuthClient:
    """Calls auth_service; a refused call raises the fault that the service raised."""

    def __init__(self, address: str, peer: Peer) -> None:
        self.address = address
        self._peer = peer
        self._stub = auth_service_pb2_grpc.AuthServiceStub(peer.channel)

    async def register(self, username: str, password: str = PASSWORD, email: str = "") -> User:
        request = messages.RegisterRequest(username=username, password=password, email=email)
        return (await self._peer.call(self._stub.Register, request)).user

    async def login(
        self, username: str = "admin", password: str = ADMIN_PASSWORD
    ) -> messages.LoginResponse:
        request = messages.LoginRequest(username=username, password=password)
        return await self._peer.call(self._stub.Login, request)

    async def refresh(self, refresh_token: str) -> TokenPair:
        request = messages.RefreshTokenRequest(refresh_token=refresh_token)
        return (await self._peer.call(self._stub.RefreshToken, request)).tokens

    async def logout(self, token: str) -> None:
        await self._peer.call(self._stub.Logout, messages.LogoutRequest(), token=token)

    async def current_user(self, token: str) -> User:
        request = messages.GetCurrentUserRequest()
        return (await self._peer.call(self._stub.GetCurrentUser, request, token=token)).user

    async def jwks(self) -> messages.GetJwksResponse:
        return await self._peer.call(self._stub.GetJwks, messages.GetJwksRequest())

    async def service_token(self, client_id: str, secret: str) -> str:
        request = messages.IssueServiceTokenRequest(client_id=client_id, client_secret=secret)
        return (await self._peer.call(self._stub.IssueServiceToken, request)).access_token

    async def exchange(self, user_id: str, token: str) -> str:
        request = messages.ExchangeTokenRequest(user_id=user_id)
        return (await self._peer.call(self._stub.ExchangeToken, request, token=token)).access_token

    def watch(self, token: str) -> AsyncIterator[messages.WatchRevocationsResponse]:
        return self._peer.stream(
            self._stub.WatchRevocations, messages.WatchRevocationsRequest(), token=token
        )


@dataclass(slots=True, kw_only=True)
class Installation:
    """One data folder, one set of secrets, one clock; services come and go."""

    folder: Path
    clock: ManualClock = field(default_factory=ManualClock)
    files: SecretFiles = field(init=False)
    auth_address: str = field(init=False)
    table_address: str = field(init=False)

    def __post_init__(self) -> None:
        self.files = make_secret_files(self.folder / "secrets")
        auth_port, table_port = free_ports(2)
        self.auth_address = f"127.0.0.1:{auth_port}"
        self.table_address = f"127.0.0.1:{table_port}"

    def secret(self, client_id: str) -> str:
        """Return the secret of a service account."""
        path: Path = getattr(self.files, client_id)
        return path.read_text(encoding="utf-8")

    def bootstrap_token(self) -> str:
        """Return a token as auth_service makes it for itself."""
        key = read_private_key(self.files.bootstrap_key.read_bytes())
        issue = Issue(issuer="flux", time=self.clock.now(), token_id="tok_test")
        return sign_token(service_claims(issue, "auth"), key, BOOTSTRAP_KID)

    @asynccontextmanager
    async def table(self, clock: Clock | None = None) -> AsyncIterator[RunningServer]:
        """Run table_service, by its own clock if it is not to be the installation's."""
        settings = table_service.config.Settings(
            listen=self.table_address,
            data_folder=self.folder / "data",
            auth_public_key_file=self.files.auth_public_key,
            auth_address=self.auth_address,
            client_secret_file=self.files.table,
            drain_timeout_s=1,
        )
        async with table_service.__main__.open_service(settings, clock or self.clock) as running:
            yield running

    @asynccontextmanager
    async def auth(self, *, wait: bool = True, **changes: Any) -> AsyncIterator[AuthClient]:
        """Run auth_service and yield a client of it once it serves, or at once."""
        known: dict[str, Any] = {
            "listen": self.auth_address,
            "table_address": self.table_address,
            "bootstrap_key_file": self.files.bootstrap_key,
            "table_secret_file": self.files.table,
            "workflow_secret_file": self.files.workflow,
            "gateway_secret_file": self.files.gateway,
            "admin_password_file": self.files.admin_password,
            "password_cost": 4,
            "drain_timeout_s": 1,
        }
        settings = auth_service.config.Settings(**(known | changes))
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context(
                auth_service.__main__.open_service(settings, self.clock)
            )
            if wait:
                await wait_until_serving(running.address)
            yield await stack.enter_async_context(self._client(running.address))

    @asynccontextmanager
    async def auth_process(self, script: str) -> AsyncIterator[tuple[AuthClient, Path]]:
        """Run `script`, which calls auth_service's main, as a process; yield a client and its output."""
        output = self.folder / "output.txt"
        with output.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", script),
                env=os.environ | self._environment(),
                stdout=file,
                stderr=file,
            )
        try:
            await wait_until_serving(self.auth_address)
            async with self._client(self.auth_address) as client:
                yield client, output
        finally:
            process.terminate()
            assert await process.wait() == 0

    def _environment(self) -> dict[str, str]:
        settings = {
            "LISTEN": self.auth_address,
            "TABLE_ADDRESS": self.table_address,
            "BOOTSTRAP_KEY_FILE": self.files.bootstrap_key,
            "TABLE_SECRET_FILE": self.files.table,
            "WORKFLOW_SECRET_FILE": self.files.workflow,
            "GATEWAY_SECRET_FILE": self.files.gateway,
            "ADMIN_PASSWORD_FILE": self.files.admin_password,
            "PASSWORD_COST": 4,
            "LOG_LEVEL": "DEBUG",
        }
        return {f"FLUX_AUTH_{name}": str(value) for name, value in settings.items()}

    @asynccontextmanager
    async def _client(self, address: str) -> AsyncIterator[AuthClient]:
        channel = connect(address, message_bytes_max=1 << 20)
        try:
            yield AuthClient(address, Peer(name="auth_service", channel=channel, tokens=None))
        finally:
            await channel.close()

    @asynccontextmanager
    async def auth_tables(self, token: str) -> AsyncIterator[Tables]:
        """Yield auth_service's own tables, for whoever has its token."""
        channel = connect(self.table_address, message_bytes_max=1 << 24)
        try:
            peer = Peer(name="table_service", channel=channel, tokens=FixedToken(token))
            yield Tables(peer, "auth")
        finally:
            await channel.close()


async def reason_of(call: Any) -> str:
    """Return the reason with which the awaited call is refused."""
    try:
        await call
    except Fault as fault:
        return fault.reason
    raise AssertionError("the call was not refused")
