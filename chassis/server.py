"""A gRPC server with everything around it that a service needs: health, reflection, TLS, metrics, drain."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, start_http_server

from chassis.access import access_of, is_known
from chassis.calls import Concern, Pipeline
from chassis.clock import Clock
from chassis.config import ServiceSettings
from chassis.interceptors.access_log import AccessLog
from chassis.interceptors.deadlines import Deadlines
from chassis.interceptors.faults import Faults
from chassis.interceptors.identity import AccessOf, Identity
from chassis.interceptors.load import Load
from chassis.interceptors.metrics import Metrics
from chassis.interceptors.request_id import RequestId
from chassis.interceptors.validation import Validation
from chassis.tokens import TokenVerifier

log = structlog.get_logger()

Serving = health_pb2.HealthCheckResponse.SERVING
NotServing = health_pb2.HealthCheckResponse.NOT_SERVING
# How long those who watch health may take to hear that it is over.
_LAST_WORD_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Servicer:
    """One gRPC service to serve: its full name, its implementation, and the stub's registering function."""

    name: str
    implementation: object
    register: Callable[[Any, grpc.aio.Server], None]


@dataclass(slots=True, kw_only=True)
class RunningServer:
    """A server that listens at `address`; its health is the service's to set."""

    address: str
    port: int
    server: grpc.aio.Server
    health: health.aio.HealthServicer
    names: tuple[str, ...]
    registry: CollectorRegistry
    serving: bool = field(default=False)

    async def set_serving(self, serving: bool) -> None:
        """Tell whoever asks for health whether calls will be answered."""
        self.serving = serving
        status = Serving if serving else NotServing
        for name in ("", *self.names):
            await self.health.set(name, status)

    async def end_serving(self) -> None:
        """Tell whoever asks, for every name, that calls will not be answered, and stay with it."""
        self.serving = False
        try:
            async with asyncio.timeout(_LAST_WORD_S):
                await self.health.enter_graceful_shutdown()
        except TimeoutError:
            # One who watches and takes nothing holds up the rest; whoever asks is refused soon anyway.
            log.warning("health.unheard")


def concerns(
    settings: ServiceSettings,
    *,
    verifier: TokenVerifier,
    clock: Clock,
    registry: CollectorRegistry,
    access: AccessOf = access_of,
    known: Callable[[str], bool] = is_known,
    validates: bool = True,
) -> list[Concern]:
    """Return what stands around every call, outermost first.

    `access` says who may call a method and `known` whether it exists; the gateway, which knows no messages,
    brings its own and validates nothing.
    """
    around: list[Concern] = [
        RequestId(),
        AccessLog(clock),
        Metrics(registry, clock, known),
        Faults(),
        Load(settings.concurrent_calls_max),
        Deadlines(
            default_s=settings.deadline_default_s,
            max_s=settings.deadline_max_s,
            stream_max_s=settings.stream_deadline_max_s,
        ),
        Identity(verifier, access),
    ]
    if validates:
        around.append(Validation())
    return around


@asynccontextmanager
async def serve(
    settings: ServiceSettings,
    *,
    servicers: Sequence[Servicer],
    verifier: TokenVerifier,
    clock: Clock,
    registry: CollectorRegistry | None = None,
) -> AsyncIterator[RunningServer]:
    """Serve `servicers` with health and reflection until the context ends, then drain.

    Health says NOT_SERVING until the service calls `set_serving`.
    """
    registry = registry or CollectorRegistry()
    pipeline = Pipeline(concerns(settings, verifier=verifier, clock=clock, registry=registry))
    server = grpc.aio.server(interceptors=[pipeline], options=server_options(settings))
    for servicer in servicers:
        servicer.register(servicer.implementation, server)
    names = tuple(servicer.name for servicer in servicers)
    reflection.enable_server_reflection(
        (*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    async with listening(server, settings, names=names, registry=registry) as running:
        yield running


@asynccontextmanager
async def listening(
    server: grpc.aio.Server,
    settings: ServiceSettings,
    *,
    names: tuple[str, ...],
    registry: CollectorRegistry,
) -> AsyncIterator[RunningServer]:
    """Add health to `server`, listen as configured, and drain it when the context ends."""
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    port = _bind(server, settings)
    host = settings.listen.rpartition(":")[0]
    reachable = "127.0.0.1" if host in ("0.0.0.0", "[::]") else host  # noqa: S104  # compared, not bound
    running = RunningServer(
        address=f"{reachable}:{port}",
        port=port,
        server=server,
        health=health_servicer,
        names=names,
        registry=registry,
    )
    await running.set_serving(False)
    metrics_server = _serve_metrics(settings, registry)
    await server.start()
    log.info("server.listening", address=f"{host}:{port}", services=list(names))
    try:
        yield running
    finally:
        # Clients with a health check look elsewhere before calls are refused.
        await running.end_serving()
        await server.stop(settings.drain_timeout_s)
        if metrics_server is not None:
            metrics_server()
        log.info("server.stopped", address=f"{host}:{port}")


def server_options(settings: ServiceSettings) -> list[tuple[str, int]]:
    """Return gRPC's own limits as `settings` have them."""
    return [
        ("grpc.max_send_message_length", settings.message_bytes_max),
        ("grpc.max_receive_message_length", settings.message_bytes_max),
        # A port that somebody else holds is an error, not a port shared in silence.
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", settings.concurrent_calls_max),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _bind(server: grpc.aio.Server, settings: ServiceSettings) -> int:
    """Listen on the configured address with the configured credentials and return the port.

    Raises:
        RuntimeError: If the address is taken.
    """
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if certificate is None or key is None:
        return server.add_insecure_port(settings.listen)
    authorities = settings.tls_client_ca_file
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())],
        authorities.read_bytes() if authorities else None,
        require_client_auth=authorities is not None,
    )
    return server.add_secure_port(settings.listen, credentials)


def _serve_metrics(
    settings: ServiceSettings, registry: CollectorRegistry
) -> Callable[[], None] | None:
    """Serve metrics if configuration says where, and return what stops it."""
    if not settings.metrics_listen:
        return None
    host, _, port = settings.metrics_listen.rpartition(":")
    web, thread = start_http_server(int(port), addr=host, registry=registry)

    def stop() -> None:
        web.shutdown()
        web.server_close()
        thread.join()

    return stop


def run_until_signalled(
    open_service: Callable[[Callable[[], None]], AbstractAsyncContextManager[RunningServer]],
) -> None:
    """Run a service in this process until SIGTERM or SIGINT, then let it close in order.

    `open_service` is given what the service calls when it cannot go on; closing it then raises why.
    """

    async def run() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        async with open_service(stopped.set):
            # What was made at the start lives to the end; looking at it again costs a tenth of a small call.
            gc.collect()
            gc.freeze()
            await stopped.wait()
            log.info("server.stopping")

    uvloop.run(run())
