"""table_service as a process of its own: forked, observed, killed, and started again."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.faults import Plan, serve_with_faults
from tests.support.harness import wait_until_serving
from tests.support.published_auth import published_auth
from tests.support.secret_files import SecretFiles, make_secret_files
from tests.support.tokens import TestKeys
from tests.table_service.serving import MESSAGE_BYTES_MAX, Client

# Started once for a test process; what it has imported, the processes that it forks need not.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pytest", "tests.support.faults", "tests.table_service.serving"])
_SAYS_WITHIN_S = 60.0


class _Talk:
    """Both directions of a pipe; what comes is kept by its word until it is asked for."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._heard: defaultdict[str, deque[object]] = defaultdict(deque)
        self._more = asyncio.Event()
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pipe.fileno(), self._listen)

    def tell(self, what: object) -> None:
        with suppress(BrokenPipeError):
            # Whoever waits for the answer will hear that it has ended.
            self._pipe.send(what)

    async def hears(self, word: str) -> object:
        # Ends with the word, or with the process.
        while not self._heard[word]:
            if self._ended:
                raise EOFError
            self._more.clear()
            await self._more.wait()
        return self._heard[word].popleft()

    def close(self) -> None:
        self._stop()
        self._pipe.close()

    def _listen(self) -> None:
        try:
            word, what = self._pipe.recv()
            self._heard[word].append(what)
        except (EOFError, ConnectionResetError):
            self._stop()
        self._more.set()

    def _stop(self) -> None:
        if not self._ended:
            self._ended = True
            self._loop.remove_reader(self._pipe.fileno())


@dataclass(slots=True, kw_only=True)
class ServiceProcess:
    """A running table_service; its file is in `folder`/data, its log in `folder`/service.log.

    `planned` is what `kill_at_every_step` has in mind: it is followed already, and an `act` that has other
    plans first follows it again.
    """

    folder: Path
    address: str = ""
    process: ForkServerProcess
    keys: TestKeys
    planned: Plan = field(default_factory=Plan)
    _talk: _Talk
    _channels: list[grpc.aio.Channel] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self.process.pid is not None
        return self.process.pid

    def client(self, subject: str = "usr_1", role: str = "editor") -> Client:
        """Return a client with a channel of its own, which retries nothing by itself."""
        size = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
        channel = grpc.aio.insecure_channel(self.address, options=size)
        self._channels.append(channel)
        token = self.keys.sign(self.keys.claims(sub=subject, roles=[role]))
        return Client(channel, token)

    async def follow(self, plan: Plan) -> None:
        """Count statements anew and do as planned from now on; one that waits goes on."""
        self._talk.tell(plan)
        await self.hears("following")

    async def statements(self) -> list[str]:
        """Return the statements since the last plan, each as "thread: SQL"."""
        self._talk.tell("seen")
        seen: list[str] = await self.hears("seen")
        return seen

    async def has_run(self, at: int | None) -> bool:
        """Return whether it has come to the statement at this place since its plan, or has ended."""
        assert at is not None
        self._talk.tell("seen")
        with suppress(EOFError):
            return len(cast("list[str]", await self._talk.hears("seen"))) > at
        return True

    def go_on(self) -> None:
        """Let go of a statement that pauses, of which "step" was heard."""
        self._talk.tell("go on")

    async def hears(self, word: str) -> Any:
        """Return what the process says with `word`: "held" or "step" with the SQL before which it waits."""
        try:
            async with asyncio.timeout(_SAYS_WITHIN_S):
                return await self._talk.hears(word)
        except TimeoutError:
            raise AssertionError(f"not {word!r} in {_SAYS_WITHIN_S} s: {self.log()}") from None
        except EOFError:
            raise AssertionError(f"it ended before it said {word!r}: {self.log()}") from None

    async def serves(self) -> bool:
        """Return whether its health says SERVING."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=20
            )
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def log(self) -> str:
        """Return the end of its log."""
        return (self.folder / "service.log").read_text(errors="replace")[-3000:]

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send the signal, by default 9; it may have ended meanwhile."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def ended(self, within_s: float = 60.0) -> int:
        """Return the exit code, once it has ended; -9 for one that was killed."""
        await asyncio.to_thread(self.process.join, within_s)
        code = self.process.exitcode
        assert code is not None, f"it runs on after {within_s} s: {self.log()}"
        return code

    async def close(self) -> int:
        """Stop it in order if it runs, and return its exit code."""
        for channel in self._channels:
            await channel.close()
        if self.process.exitcode is None:
            self.kill(signal.SIGTERM)
        code = await self.ended()
        self._talk.close()
        return code


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where services are started: keys that they know, and their secrets."""

    keys: TestKeys
    secrets: SecretFiles
    auth_address: str

    @asynccontextmanager
    async def service(
        self, folder: Path, *, observed: bool = True, **settings: object
    ) -> AsyncIterator[ServiceProcess]:
        """Run table_service on `folder` until the end of the block, or until it is killed.

        `settings` are those of table_service by name. Not `observed`: it takes no plans.
        """
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        ours, theirs = _FORKS.Pipe()
        environment = {
            f"FLUX_TABLE_{name.upper()}": str(value)
            for name, value in {
                "listen": "127.0.0.1:0",
                "data_folder": folder / "data",
                "auth_public_key_file": self.secrets.auth_public_key,
                "auth_address": self.auth_address,
                "client_secret_file": self.secrets.table,
                "drain_timeout_s": 1,
                "memory_limit": "500MB",
                **settings,
            }.items()
        }
        process = _FORKS.Process(
            target=serve_with_faults, args=(theirs, environment, folder, observed), daemon=True
        )
        process.start()
        theirs.close()
        running = ServiceProcess(folder=folder, process=process, keys=self.keys, _talk=_Talk(ours))
        try:
            running.address = await running.hears("listening")
            await wait_until_serving(running.address)
            yield running
        except BaseException:
            running.kill()
            raise
        finally:
            await running.close()


@asynccontextmanager
async def crash_site(folder: Path) -> AsyncIterator[Site]:
    """Yield what services are started with; `folder` takes their secrets."""
    keys = TestKeys()
    async with published_auth(keys) as address:
        secrets = make_secret_files(folder / "secrets")
        yield Site(keys=keys, secrets=secrets, auth_address=address)
