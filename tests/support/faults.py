"""table_service's own main in a process of its own, which ends or waits at a statement of DuckDB's.

Nothing of the service is replaced: the methods of DuckDB's connection that run SQL are wrapped, so that the
process can say which statements it ran, and be killed right before one.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb

import table_service.__main__ as service
from chassis.config import read_settings
from chassis.log import configure
from chassis.server import RunningServer, run_until_signalled
from table_service.config import Settings

# What changes nothing of the file is no step.
CHANGES = r"(?!SELECT|DESCRIBE|EXPLAIN|SET |USE |PRAGMA|BEGIN TRANSACTION READ ONLY)"
_RUNNING = ("execute", "executemany", "sql", "query", "begin", "commit", "rollback", "checkpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens at the `at`-th statement, from 0, that begins like the pattern `matching`.

    `hold`: the thread waits there until it is released. Else the process is killed, before the statement or,
    `after`, when DuckDB is done with it. Without `at` statements are only written down; `pause`: each waits
    until it may go on, one at a time.
    """

    at: int | None = None
    after: bool = False
    hold: bool = False
    pause: bool = False
    matching: str = CHANGES


class _Statements:
    """The statements of this process since the last plan, and what is to happen at one."""

    def __init__(self, say: Callable[[tuple[str, object]], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._paused = threading.Lock()
        self._plan = Plan()
        self._seen: list[str] = []
        self._released = threading.Event()
        self._going_on = threading.Semaphore(0)

    def follow(self, plan: Plan) -> None:
        """Count anew, and let go of a thread that waits."""
        with self._lock:
            self._plan, self._seen = plan, []
            released, self._released = self._released, threading.Event()
        released.set()

    def go_on(self) -> None:
        """Let go of the statement that pauses."""
        self._going_on.release()

    def seen(self) -> list[str]:
        """Return what was run, each as the name of its thread and its SQL."""
        with self._lock:
            return list(self._seen)

    def run(self, sql: str, run: Callable[[], object]) -> object:
        """Run a statement, if the plan lets it."""
        with self._lock:
            plan, released = self._plan, self._released
            counts = re.match(plan.matching, sql, re.IGNORECASE) is not None
            reached = counts and len(self._seen) == plan.at
            if counts:
                self._seen.append(f"{threading.current_thread().name}: {sql}")
        if counts and plan.pause:
            with self._paused:
                self._say(("step", sql))
                self._going_on.acquire()
        if reached and plan.hold:
            self._say(("held", sql))
            released.wait()
        elif reached and not plan.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = run()
        if reached and plan.after and not plan.hold:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def _wrap_duckdb(statements: _Statements) -> None:
    for name in _RUNNING:
        if original := getattr(duckdb.DuckDBPyConnection, name, None):
            setattr(duckdb.DuckDBPyConnection, name, _wrapped(statements, name, original))


def _wrapped(statements: _Statements, name: str, original: Callable[..., object]) -> Any:
    def wrapper(connection: object, *arguments: Any, **named: Any) -> object:
        sql = name.upper()
        if arguments:
            sql = str(getattr(arguments[0], "query", arguments[0])).strip()
        return statements.run(sql, lambda: original(connection, *arguments, **named))

    return wrapper


def serve_with_faults(
    pipe: Connection, environment: Mapping[str, str], folder: Path, observed: bool
) -> None:
    """Run table_service until SIGTERM; `pipe` says where it listens and takes plans.

    Its log goes into a file in `folder`. Not `observed`: nothing is wrapped, and there are no plans.
    """
    os.environ.update(environment)
    log = os.open(folder / "service.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    configure("table", "INFO")
    lock = threading.Lock()

    def say(message: tuple[str, object]) -> None:
        with lock:
            pipe.send(message)

    statements = _Statements(say)
    if observed:
        _wrap_duckdb(statements)

    def listen() -> None:
        # Ends with the process, or with whoever started it.
        while True:
            try:
                asked = pipe.recv()
            except EOFError:
                return
            if isinstance(asked, Plan):
                statements.follow(asked)
                say(("following", None))
            elif asked == "go on":
                statements.go_on()
            else:
                say(("seen", statements.seen()))

    threading.Thread(target=listen, name="faults", daemon=True).start()

    @asynccontextmanager
    async def opened(stop: Callable[[], None]) -> Any:
        async with service.open_service(read_settings(Settings), when_broken=stop) as running:
            assert isinstance(running, RunningServer)
            say(("listening", running.address))
            yield running

    run_until_signalled(opened)
