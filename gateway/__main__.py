"""The gateway's composition root: makes everything, starts it, and closes it in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import structlog
from grpc_health.v1.health_pb2 import HealthCheckResponse
from prometheus_client import CollectorRegistry

from chassis.access import STANDARD_PREFIXES
from chassis.background import Background
from chassis.calls import Pipeline
from chassis.client import ServiceTokens, connect, peer_tls
from chassis.clock import Clock, SystemClock
from chassis.config import read_secret, read_settings
from chassis.keys import PublishedKeys, follow_revocations
from chassis.log import configure
from chassis.revocations import Revocations
from chassis.server import RunningServer, concerns, listening, run_until_signalled
from chassis.tokens import TokenVerifier
from gateway.config import Settings
from gateway.contract import Contract
from gateway.discovery import Backend, follow
from gateway.limits import FairShare, MessageSize, connection_options
from gateway.outcome import Outcomes
from gateway.policy import Access, PeopleOnly
from gateway.proxy import Proxy
from gateway.reflection import Reflection, own_contract
from gateway.routes import Routes

log = structlog.get_logger()

_SYSTEM_CLOCK = SystemClock()
# How long a starting gateway waits for backends before it serves those that are there.
_BACKENDS_WITHIN_S = 5.0


@asynccontextmanager
async def open_service(
    settings: Settings,
    clock: Clock = _SYSTEM_CLOCK,
    *,
    when_broken: Callable[[], None] = lambda: None,
) -> AsyncIterator[RunningServer]:
    """Run the gateway until the context ends; it listens from the start and serves when all answered.

    `when_broken` is called when the gateway cannot go on; closing it then raises why.
    """
    async with AsyncExitStack() as stack:
        backends = await _backends(settings, stack)
        auth = next(b.channel for b in backends if b.name == "auth_service")
        keys = PublishedKeys(channel=auth, clock=clock)
        revocations = Revocations(clock)
        tokens = ServiceTokens(
            channel=auth,
            client_id="gateway",
            client_secret=read_secret(settings.client_secret_file),
            clock=clock,
        )
        verifier = TokenVerifier(
            keys=keys, issuer=settings.token_issuer, clock=clock, revocations=revocations
        )
        routes = Routes({backend.prefix: backend.name for backend in backends})
        registry = CollectorRegistry()
        server = _server(
            settings=settings,
            routes=routes,
            backends=backends,
            verifier=verifier,
            clock=clock,
            registry=registry,
        )
        changed, background = asyncio.Event(), Background(when_broken)
        stack.push_async_callback(background.close)
        running = await stack.enter_async_context(
            listening(server, settings, names=(), registry=registry)
        )
        for work in (
            keys.keep_fresh(),
            follow_revocations(channel=auth, tokens=tokens, revocations=revocations),
            *(_follow(backend, routes, running, changed) for backend in backends),
            _serve_when_ready(routes, keys, running, changed),
        ):
            background.start(work)
        yield running


async def _backends(settings: Settings, stack: AsyncExitStack) -> list[Backend]:
    tls = peer_tls(settings)
    backends = []
    for name, prefix, address in (
        ("auth_service", "flux.auth.", settings.auth_address),
        ("table_service", "flux.table.", settings.table_address),
        ("workflow_service", "flux.workflow.", settings.workflow_address),
    ):
        channel = connect(address, message_bytes_max=settings.message_bytes_max, tls=tls)
        stack.push_async_callback(channel.close)
        backends.append(Backend(name=name, prefix=prefix, channel=channel))
    return backends


def _server(
    *,
    settings: Settings,
    routes: Routes,
    backends: list[Backend],
    verifier: TokenVerifier,
    clock: Clock,
    registry: CollectorRegistry,
) -> grpc.aio.Server:
    around = concerns(
        settings,
        verifier=verifier,
        clock=clock,
        registry=registry,
        access=Access(routes).of,
        known=lambda path: path.startswith(STANDARD_PREFIXES) or routes.get(path) is not None,
        validates=False,
    )
    around += [PeopleOnly(), FairShare(settings.caller_calls_max), Outcomes()]
    return grpc.aio.server(
        interceptors=[Pipeline(around, cached=False)],
        # Asked in this order; the proxy is last, for it has an answer to everything.
        handlers=[
            Reflection(routes, own_contract()),
            Proxy(
                routes,
                {backend.name: backend.channel for backend in backends},
                MessageSize(settings.message_bytes_max),
            ),
        ],
        options=connection_options(settings, settings.connection_streams_max),
    )


async def _follow(
    backend: Backend, routes: Routes, running: RunningServer, changed: asyncio.Event
) -> None:
    """Keep the routes and the health of one backend's services up to date."""
    services: tuple[str, ...] = ()

    async def learned(contract: Contract) -> None:
        nonlocal services
        routes.learn(backend.name, contract)
        for name in set(services) - set(contract.services):
            await running.health.set(name, HealthCheckResponse.SERVICE_UNKNOWN)
        services = contract.services
        for name in services:
            await running.health.set(name, HealthCheckResponse.SERVING)
        changed.set()

    async def lost() -> None:
        for name in services:
            await running.health.set(name, HealthCheckResponse.NOT_SERVING)

    await follow(backend, learned, lost)


async def _serve_when_ready(
    routes: Routes, keys: PublishedKeys, running: RunningServer, changed: asyncio.Event
) -> None:
    """Say SERVING when tokens can be verified and every backend is known, or was given its time.

    A gateway that restarts while one backend is down must still serve the others.
    """
    await keys.known.wait()
    try:
        async with asyncio.timeout(_BACKENDS_WITHIN_S):
            while routes.unknown_backends():
                changed.clear()
                await changed.wait()
    except TimeoutError:
        log.warning("gateway.incomplete", missing=routes.unknown_backends())
    await running.set_serving(True)


def main() -> None:
    """Run the gateway as configured by the environment."""
    settings = read_settings(Settings)
    configure("gateway", settings.log_level)
    run_until_signalled(lambda stop: open_service(settings, when_broken=stop))


if __name__ == "__main__":
    main()
