"""What the journal cannot keep: it stops one run, and neither the others nor the engine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import grpc
import pytest

from chassis.client import Peer, connect
from chassis.clock import SystemClock
from chassis.faults import Unavailable
from chassis.ids import IdMaker
from chassis.tables import RowVersion
from flux.table.v1 import row_service_pb2
from tests.support.waiting import eventually
from tests.workflow_service.building import build, value
from workflow_service import engine as engine_module
from workflow_service.active_run import ActiveRun
from workflow_service.actors import Actors
from workflow_service.attempts import Attempts
from workflow_service.engine import Engine
from workflow_service.events import RunStarted
from workflow_service.journal import Journal
from workflow_service.steps.addresses import GuardedResolver
from workflow_service.steps.http_call import HttpCaller
from workflow_service.steps.query import DatasetMaker
from workflow_service.steps.rows import RowWriter

POISON = "poison"
EPOCH = RowVersion(table="engine", row_id=1, version=1)
CHAIN = build(
    {
        "inputs": {"text": {"type": "TYPE_ANY"}},
        "steps": [value("a", "input.text"), value("b"), value("c")],
    }
)


class PickyStore:
    """Beyond the wire: a table_service that never takes one text."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, int]] = []
        self.is_away = False

    async def transact(
        self,
        request: row_service_pb2.TransactRequest,
        context: grpc.aio.ServicerContext[object, object],
    ) -> row_service_pb2.TransactResponse:
        """Keep run id and sequence of each event, or refuse them all."""
        if self.is_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        rows = request.mutations[0].insert.rows.typed.rows
        if any(POISON in row.values[6].string for row in rows):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than the limit")
        self.kept += [(row.values[0].string, row.values[1].int64) for row in rows]
        return row_service_pb2.TransactResponse()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what a server serves it by."""
        transact = grpc.unary_unary_rpc_method_handler(
            self.transact,
            request_deserializer=row_service_pb2.TransactRequest.FromString,
            response_serializer=row_service_pb2.TransactResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(
            "flux.table.v1.RowService", {"Transact": transact}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    store: PickyStore
    journal: Journal
    engine: Engine
    lost: list[RunStarted]

    def start(self, given: Mapping[str, object]) -> ActiveRun:
        """Begin a run."""
        [run] = self.engine.start(CHAIN, 1, owner="ada", inputs=[given], request_id="r", digest="d")
        return run

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Have the journal written."""
        task = asyncio.create_task(self.journal.run(EPOCH))
        yield
        assert not task.done(), "the journal has stopped"
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store, server = PickyStore(), grpc.aio.server()
    server.add_generic_rpc_handlers((store.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = connect(f"127.0.0.1:{port}", message_bytes_max=1024 * 1024)
    peer, clock, lost = (
        Peer(name="table_service", channel=channel, tokens=None),
        SystemClock(),
        list[RunStarted](),
    )
    http, journal = HttpCaller(GuardedResolver(())), Journal(peer)
    engine = Engine(
        journal=journal,
        attempts=Attempts(
            actors=Actors(peer=peer, clock=clock),
            datasets=DatasetMaker(peer=peer, lifetime=timedelta(hours=1)),
            rows=RowWriter(peer),
            http=http,
            clock=clock,
        ),
        clock=clock,
        ids=IdMaker(clock),
        jitter=random.random,
        runs_max=10,
        effects_max=1,
        when_lost=lost.append,
    )
    yield World(store=store, journal=journal, engine=engine, lost=lost)
    await http.close()
    await channel.close()
    await server.stop(None)


async def test_nothing_is_written_after_what_was_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "SUBMISSION_BYTES_MAX", 0)
    refused, kept = world.start({"text": POISON}), world.start({"text": "x"})

    async def evaluated() -> bool:
        return refused.state.status.is_final and kept.state.status.is_final

    await eventually(evaluated)
    async with world.writing():
        await kept.ended()
        with pytest.raises(Unavailable):
            await refused.accepted()
    assert world.store.kept == [(kept.id, sequence) for sequence in range(1, 6)]
    assert world.lost == [refused.started]


async def test_what_is_no_text_stops_its_run_alone(world: World) -> None:
    refused, kept = world.start({"text": "\ud800"}), world.start({"text": "x"})
    async with world.writing():
        await kept.ended()
        with pytest.raises(Unavailable):
            await refused.accepted()
    assert world.engine.active_count == 0


async def test_no_run_begins_while_the_journal_waits(world: World) -> None:
    world.store.is_away = True
    first = world.start({"text": "x"})

    async def waits() -> bool:
        return world.journal.is_waiting

    async with world.writing():
        await eventually(waits)
        with pytest.raises(Unavailable) as refused:
            world.start({"text": "y"})
        assert refused.value.reason == "NEIGHBOUR_UNAVAILABLE"
        world.store.is_away = False
        await first.ended()
        await world.start({"text": "z"}).ended()
    assert [sequence for _, sequence in world.store.kept] == [*range(1, 6)] * 2
