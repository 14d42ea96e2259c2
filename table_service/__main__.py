"""table_service as a process: makes everything once, and closes it in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from chassis.background import Background
from chassis.client import ServiceTokens, connect, peer_tls
from chassis.clock import Clock, SystemClock
from chassis.config import read_secret, read_settings
from chassis.faults import Fault
from chassis.ids import IdMaker
from chassis.keys import PublishedKeys, follow_revocations
from chassis.log import configure
from chassis.revocations import Revocations
from chassis.server import RunningServer, Servicer, run_until_signalled, serve
from chassis.tokens import TokenVerifier, VerificationKey
from flux.table.v1 import query_service_pb2_grpc, row_service_pb2_grpc, table_service_pb2_grpc
from table_service.config import Settings
from table_service.datasets import DROP_EVERY, Quota, expired
from table_service.process_memory import bound_memory, byte_count
from table_service.query_servicer import QueryServicer
from table_service.row_servicer import RowServicer
from table_service.store import Store, open_store
from table_service.store.database import Limits
from table_service.store.datasets import drop_datasets
from table_service.store.heavy import Heavy, HeavyLimits, open_heavy
from table_service.store.receipts import PRUNED_ROWS_MAX
from table_service.store.watch import Watch
from table_service.table_servicer import TableServicer
from table_service.transfer_servicer import Transfers

log = structlog.get_logger()

SERVICE_NAME = "table"
# The key of this id comes from configuration and is good for auth_service's own token alone.
BOOTSTRAP_KEY_ID = "bootstrap"
PRUNE_EVERY_S = 60.0


@asynccontextmanager
async def open_service(
    settings: Settings,
    clock: Clock = SystemClock(),  # noqa: B008  # it holds nothing and opens nothing
    *,
    when_broken: Callable[[], None] = lambda: None,
) -> AsyncIterator[RunningServer]:
    """Yield the service once its port listens; its health tells when auth_service has answered.

    `when_broken` is called when the service cannot go on; closing it then raises why. A store that takes no
    writes any more is not that: it can still be read.

    Raises:
        DatabaseUnusable: If another process has the file open, or it is damaged.
    """
    loop, broken = asyncio.get_running_loop(), asyncio.Event()

    def when_store_breaks() -> None:
        loop.call_soon_threadsafe(broken.set)

    async with AsyncExitStack() as stack:
        watch = Watch(clock)
        stack.push_async_callback(asyncio.to_thread, watch.close)
        store = await asyncio.to_thread(_open_store, settings, clock, when_store_breaks)
        stack.push_async_callback(asyncio.to_thread, store.close)
        ids = IdMaker(clock)
        heavy = open_heavy(store, watch, clock=clock, ids=ids, limits=_heavy_limits(settings))
        stack.push_async_callback(asyncio.to_thread, heavy.close)
        channel = _auth_channel(stack, settings)
        keys = PublishedKeys(channel=channel, clock=clock, pinned=_pinned(settings))
        revocations = Revocations(clock)
        tokens = ServiceTokens(
            channel=channel,
            client_id=SERVICE_NAME,
            client_secret=read_secret(settings.client_secret_file),
            clock=clock,
        )
        verifier = TokenVerifier(
            keys=keys, issuer=settings.token_issuer, clock=clock, revocations=revocations
        )
        background = Background(when_broken)
        stack.push_async_callback(background.close)
        running = await stack.enter_async_context(
            serve(
                settings,
                servicers=_servicers(store, heavy, ids, clock),
                verifier=verifier,
                clock=clock,
            )
        )
        for work in (
            keys.keep_fresh(),
            follow_revocations(channel=channel, tokens=tokens, revocations=revocations),
            _tell_health(running, keys.known, broken),
            _prune_receipts(store),
            _drop_expired(store, clock),
        ):
            background.start(work)
        yield running


def _auth_channel(stack: AsyncExitStack, settings: Settings) -> grpc.aio.Channel:
    channel = connect(
        settings.auth_address,
        message_bytes_max=settings.message_bytes_max,
        tls=peer_tls(settings),
    )
    stack.push_async_callback(channel.close)
    return channel


def _open_store(settings: Settings, clock: Clock, when_broken: Callable[[], None]) -> Store:
    return open_store(
        settings.data_folder,
        limits=Limits(
            memory=settings.memory_limit, spill=settings.spill_limit, threads=settings.threads
        ),
        clock=clock,
        reader_threads=settings.reader_threads,
        bulk_threads=settings.bulk_threads,
        when_broken=when_broken,
    )


async def _tell_health(running: RunningServer, ready: asyncio.Event, broken: asyncio.Event) -> None:
    """Say SERVING once auth_service's keys are known, and no more once the store is broken."""
    await ready.wait()
    if not broken.is_set():
        await running.set_serving(True)
    await broken.wait()
    await running.set_serving(False)


def _servicers(store: Store, heavy: Heavy, ids: IdMaker, clock: Clock) -> list[Servicer]:
    return [
        Servicer(
            name="flux.table.v1.TableService",
            implementation=TableServicer(store, heavy, ids),
            register=table_service_pb2_grpc.add_TableServiceServicer_to_server,
        ),
        Servicer(
            name="flux.table.v1.RowService",
            implementation=RowServicer(store, Transfers(store, heavy, ids), heavy),
            register=row_service_pb2_grpc.add_RowServiceServicer_to_server,
        ),
        Servicer(
            name="flux.table.v1.QueryService",
            implementation=QueryServicer(store, heavy, ids=ids, clock=clock),
            register=query_service_pb2_grpc.add_QueryServiceServicer_to_server,
        ),
    ]


def _heavy_limits(settings: Settings) -> HeavyLimits:
    return HeavyLimits(
        reader_threads=settings.reader_threads,
        query_threads=settings.query_threads,
        query_queue=settings.query_queue_max,
        query_time_s=settings.query_timeout_s,
        result_rows=settings.result_rows_max,
        result_bytes=settings.result_bytes_max,
        caller_queries=settings.queries_per_caller_max,
        results_held_bytes=settings.results_held_bytes_max,
        caller_results_held_bytes=settings.results_held_per_caller_bytes_max,
        datasets=Quota(
            count=settings.datasets_per_owner_max, byte_count=settings.dataset_bytes_per_owner_max
        ),
        transfer_time_s=settings.transfer_timeout_s,
        file_bytes=settings.file_bytes_max,
    )


async def _drop_expired(store: Store, clock: Clock) -> None:
    """Drop datasets that lived their time; ends by cancellation."""
    # Ends when the service stops and cancels it.
    while True:
        try:
            gone = expired(store.datasets, clock.now())
            await drop_datasets(store.writer, store.datasets, gone)
        except Fault as fault:
            log.warning("datasets.kept", error=fault.message)
        await asyncio.sleep(DROP_EVERY.total_seconds())


async def _prune_receipts(store: Store) -> None:
    """Delete receipts that lived their time; ends by cancellation."""
    # Ends when the service stops and cancels it.
    while True:
        try:
            pruned = await store.writer.prune_receipts()
        except Fault as fault:
            log.warning("receipts.kept", error=fault.message)
            pruned = 0
        await asyncio.sleep(1.0 if pruned == PRUNED_ROWS_MAX else PRUNE_EVERY_S)


def _pinned(settings: Settings) -> dict[str, VerificationKey]:
    return {
        BOOTSTRAP_KEY_ID: VerificationKey(public_key=_public_key(settings), only_service="auth")
    }


def _public_key(settings: Settings) -> Ed25519PublicKey:
    key = load_pem_public_key(settings.auth_public_key_file.read_bytes())
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError(f"{settings.auth_public_key_file} holds no Ed25519 public key")
    return key


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = read_settings(Settings)
    configure(SERVICE_NAME, settings.log_level)
    bound_memory(byte_count(settings.memory_limit) + byte_count(settings.memory_beyond_limit))
    run_until_signalled(lambda stop: open_service(settings, when_broken=stop))


if __name__ == "__main__":
    main()
