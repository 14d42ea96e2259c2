"""workflow_service as a process: makes everything once, and closes it in order."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import grpc

from chassis.background import Background
from chassis.client import Peer, ServiceTokens, connect, peer_tls
from chassis.clock import Clock, SystemClock
from chassis.config import read_secret, read_settings
from chassis.faults import Unavailable
from chassis.ids import IdMaker
from chassis.keys import PublishedKeys, follow_revocations
from chassis.log import configure
from chassis.revocations import Revocations
from chassis.server import RunningServer, Servicer, run_until_signalled, serve
from chassis.tables import Tables
from chassis.tokens import TokenVerifier
from flux.workflow.v1 import run_service_pb2_grpc, workflow_service_pb2_grpc
from workflow_service.actors import Actors
from workflow_service.attempts import Attempts
from workflow_service.checking import DefinitionChecker
from workflow_service.config import Settings
from workflow_service.engine import Engine
from workflow_service.expressions import Environment
from workflow_service.journal import EngineFenced, Journal
from workflow_service.operation import Operation
from workflow_service.requests import StartRequests
from workflow_service.run_reader import RunReader
from workflow_service.run_servicer import RunServicer
from workflow_service.run_store import RunStore
from workflow_service.starts import Starts
from workflow_service.steps.addresses import GuardedResolver
from workflow_service.steps.http_call import HttpCaller
from workflow_service.steps.query import DatasetMaker
from workflow_service.steps.rows import RowWriter
from workflow_service.workflow_servicer import WorkflowServicer
from workflow_service.workflow_store import WorkflowStore
from workflow_service.workflows import Workflows

SERVICE_NAME = "workflow"
# The exit status of an engine that another one has replaced: starting it again would fence that one.
EXIT_FENCED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the servicers and the background work share."""

    operation: Operation
    reader: RunReader
    servicers: list[Servicer]


@asynccontextmanager
async def open_service(
    settings: Settings,
    clock: Clock = SystemClock(),  # noqa: B008  # it holds nothing and opens nothing
    *,
    when_broken: Callable[[], None] = lambda: None,
) -> AsyncIterator[RunningServer]:
    """Yield the service once its port listens; its health tells when it has recovered its runs.

    `when_broken` is called when the service cannot go on; closing it then raises why.

    Raises:
        EngineFenced: On closing, if another engine has taken over.
    """
    async with AsyncExitStack() as stack:
        auth_channel = _channel(stack, settings.auth_address, settings)
        table_channel = _channel(stack, settings.table_address, settings)
        keys, revocations = PublishedKeys(channel=auth_channel, clock=clock), Revocations(clock)
        tokens = ServiceTokens(
            channel=auth_channel,
            client_id=SERVICE_NAME,
            client_secret=read_secret(settings.client_secret_file),
            clock=clock,
        )
        ready = asyncio.Event()
        parts = _parts(
            stack,
            settings,
            auth=Peer(name="auth_service", channel=auth_channel, tokens=tokens),
            table=Peer(name="table_service", channel=table_channel, tokens=tokens),
            clock=clock,
            ready=ready,
        )
        background = Background(when_broken)
        stack.push_async_callback(background.close)
        verifier = TokenVerifier(
            keys=keys, issuer=settings.token_issuer, clock=clock, revocations=revocations
        )
        running = await stack.enter_async_context(
            serve(settings, servicers=parts.servicers, verifier=verifier, clock=clock)
        )
        # Closed before the server drains: it would wait for the watches.
        stack.callback(parts.reader.close)
        background.start(keys.keep_fresh())
        background.start(
            follow_revocations(channel=auth_channel, tokens=tokens, revocations=revocations)
        )
        background.start(
            parts.operation.run(
                f"{socket.gethostname()}/{running.port}",
                ready=ready,
                others=keys.known,
                running=running,
            )
        )
        yield running


def _channel(stack: AsyncExitStack, address: str, settings: Settings) -> grpc.aio.Channel:
    channel = connect(address, message_bytes_max=settings.message_bytes_max, tls=peer_tls(settings))
    stack.push_async_callback(channel.close)
    return channel


def _parts(
    stack: AsyncExitStack,
    settings: Settings,
    *,
    auth: Peer,
    table: Peer,
    clock: Clock,
    ready: asyncio.Event,
) -> _Parts:
    tables, environment = Tables(table, SERVICE_NAME), Environment()
    workflows = Workflows(
        store=WorkflowStore(peer=table, tables=tables), environment=environment, clock=clock
    )
    store, requests = RunStore(peer=table, tables=tables, clock=clock), StartRequests()
    actors, journal = Actors(peer=auth, clock=clock), Journal(table)
    attempts = _attempts(stack, settings, table=table, actors=actors, clock=clock)
    engine = Engine(
        journal=journal,
        attempts=attempts,
        clock=clock,
        ids=IdMaker(clock),
        jitter=random.random,
        runs_max=settings.active_runs_max,
        effects_max=settings.concurrent_steps_max,
        when_lost=requests.forget,
    )
    stack.push_async_callback(
        engine.close, Unavailable("NOT_SERVING", "the service is shutting down")
    )
    reader = RunReader(engine=engine, store=store, heartbeat_s=settings.heartbeat_s)
    starts = Starts(
        workflows=workflows, engine=engine, reader=reader, requests=requests, clock=clock
    )
    checker = DefinitionChecker(environment=environment, table=table, actors=actors)
    return _Parts(
        operation=Operation(
            store=store,
            workflows=workflows,
            journal=journal,
            engine=engine,
            reader=reader,
            requests=requests,
            clock=clock,
        ),
        reader=reader,
        servicers=_servicers(
            WorkflowServicer(workflows=workflows, checker=checker, ready=ready),
            RunServicer(starts=starts, reader=reader, ready=ready),
        ),
    )


def _attempts(
    stack: AsyncExitStack, settings: Settings, *, table: Peer, actors: Actors, clock: Clock
) -> Attempts:
    http = HttpCaller(GuardedResolver(settings.http_allow_hosts))
    stack.push_async_callback(http.close)
    lifetime = timedelta(hours=settings.dataset_lifetime_hours)
    return Attempts(
        actors=actors,
        datasets=DatasetMaker(peer=table, lifetime=lifetime),
        rows=RowWriter(table),
        http=http,
        clock=clock,
    )


def _servicers(workflows: WorkflowServicer, runs: RunServicer) -> list[Servicer]:
    return [
        Servicer(
            name="flux.workflow.v1.WorkflowService",
            implementation=workflows,
            register=workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server,
        ),
        Servicer(
            name="flux.workflow.v1.RunService",
            implementation=runs,
            register=run_service_pb2_grpc.add_RunServiceServicer_to_server,
        ),
    ]


def main() -> None:
    """Run until SIGTERM or SIGINT, or until another engine takes over."""
    settings = read_settings(Settings)
    configure(SERVICE_NAME, settings.log_level)
    try:
        run_until_signalled(lambda stop: open_service(settings, when_broken=stop))
    except EngineFenced:
        sys.exit(EXIT_FENCED)


if __name__ == "__main__":
    main()
