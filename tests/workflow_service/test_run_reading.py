"""Seeing runs: whose they are, in pages, and as they go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from chassis.client import Peer
from chassis.faults import NotFound, OutOfRange, PermissionDenied
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from tests.support.fixed_token import FixedToken
from tests.support.harness import Stack, open_stack
from tests.workflow_service.endpoint import Endpoint, open_endpoint
from tests.workflow_service.running import PURE, Runs, State, connected, open_workflow
from tests.workflow_service.test_engine import CALL

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    stack: Stack
    admin: Runs
    ada: Runs
    bob: Runs


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder: Path = tmp_path_factory.mktemp("reading")
    async with open_stack(folder) as stack, open_workflow(stack, heartbeat_s=0.05) as workflow:
        tokens = [await stack.login(), await stack.register("ada"), await stack.register("bob")]
        admin, ada, bob = [await connected(stack, workflow, token) for token in tokens]
        await ada.create("pure", PURE)
        await ada.create("call", CALL)
        yield World(stack=stack, admin=admin, ada=ada, bob=bob)


@pytest_asyncio.fixture(loop_scope="module")
async def endpoint() -> AsyncIterator[Endpoint]:
    async with open_endpoint() as endpoint:
        endpoint.gate.clear()
        yield endpoint


async def listed(runs: Runs, **fields: Any) -> list[str]:
    """Return the ids on all pages."""
    ids: list[str] = []
    page = await runs.page(**fields)
    while True:
        ids.extend(run.id for run in page.runs)
        if not page.next_page_token:
            return ids
        page = await runs.page(**fields, page_token=page.next_page_token)


async def test_a_run_is_its_owners_and_the_admins(world: World) -> None:
    run = await world.ada.start("pure", {"n": 1})
    assert (await world.admin.get(run.id)).id == run.id
    with pytest.raises(NotFound) as refused:
        await world.bob.get(run.id)
    assert refused.value.reason == "RUN_NOT_FOUND"
    for call in (world.bob.cancel(run.id), world.bob.kinds(run.id)):
        with pytest.raises(NotFound):
            await call
    assert run.id in await listed(world.admin)
    assert run.id not in await listed(world.bob)


@pytest.mark.parametrize(
    "run_id", ["x", "run_", "run_01J8ZQ", "run_" + "Z" * 26, "run_" + "l" * 26]
)
async def test_no_run_has_an_id_that_was_never_made(world: World, run_id: str) -> None:
    with pytest.raises(NotFound):
        await world.admin.get(run_id)


async def test_pages_have_every_run_once_latest_first(world: World, endpoint: Endpoint) -> None:
    active = [await world.bob.start("call", {"url": endpoint.url}, wait_s=None) for _ in range(3)]
    ended = await world.bob.start_many("pure", [{"n": n} for n in range(7)])
    active.append(await world.bob.start("call", {"url": endpoint.url}, wait_s=None))
    expected = sorted((run.id for run in (*active, *ended)), reverse=True)
    for size in (1, 3, 4, 100):
        assert await listed(world.bob, page_size=size) == expected
    assert await listed(world.bob, workflow="call") == [run.id for run in reversed(active)]
    succeeded = await listed(world.bob, states=[State.STATE_SUCCEEDED], page_size=2)
    assert succeeded == [run.id for run in reversed(ended)]
    running = [State.STATE_RUNNING, State.STATE_PENDING]
    assert await listed(world.bob, states=running) == [run.id for run in reversed(active)]
    assert await listed(world.bob, states=[State.STATE_FAILED]) == []
    endpoint.gate.set()
    for run in active:
        await world.bob.ended(run.id)
    assert await listed(world.bob) == expected


async def test_a_page_token_is_bound_to_its_list(world: World) -> None:
    await world.ada.start_many("pure", [{"n": n} for n in range(3)])
    page = await world.ada.page(page_size=1)
    with pytest.raises(Exception, match="page_token"):
        await world.ada.page(page_size=1, workflow="pure", page_token=page.next_page_token)


async def test_a_quiet_run_gives_signs_of_life_and_then_its_end(
    world: World, endpoint: Endpoint
) -> None:
    run = await world.ada.start("call", {"url": endpoint.url}, wait_s=None)
    parts = []
    async for message in world.ada.watch(run.id):
        part = message.WhichOneof("part")
        parts.append(part)
        if parts.count(None) == 2:
            endpoint.gate.set()
    assert parts[:2] == ["event", "event"]
    assert parts[-1] == "run"
    assert [part for part in parts if part == "event"] == ["event"] * 4


async def test_a_watch_resumes_after_its_cursor(world: World, endpoint: Endpoint) -> None:
    endpoint.gate.set()
    run = await world.ada.start("call", {"url": endpoint.url})
    messages = [message async for message in world.ada.watch(run.id)]
    events = [message.event for message in messages if message.HasField("event")]
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    for index, message in enumerate(messages):
        rest = [later async for later in world.ada.watch(run.id, message.cursor)]
        assert rest == (messages[index + 1 :] or messages[-1:])


async def test_a_run_long_ended_is_watched_from_the_store(world: World) -> None:
    old = await world.ada.start("pure", {"n": 1})
    recent = [message async for message in world.ada.watch(old.id)]
    for _ in range(2):
        # Enough runs to push the first out of memory.
        await world.bob.start_many("pure", [{"n": n} for n in range(600)])
    assert [message async for message in world.ada.watch(old.id)] == recent
    resumed = [message async for message in world.ada.watch(old.id, "3")]
    assert resumed == recent[3:]
    assert (await world.ada.get(old.id)).steps[0].result.value.number_value == 2
    with pytest.raises(OutOfRange):
        await anext(world.ada.watch(old.id, "6"))


@pytest.mark.parametrize("cursor", ["7", "x", "-1", "1.0", "9" * 30])
async def test_a_cursor_that_the_run_never_gave_is_refused(world: World, cursor: str) -> None:
    run = await world.ada.start("pure", {"n": 1})
    with pytest.raises(OutOfRange) as refused:
        await anext(world.ada.watch(run.id, cursor))
    assert refused.value.reason == "CURSOR_INVALID"


async def test_a_watcher_who_leaves_is_forgotten(world: World, endpoint: Endpoint) -> None:
    run = await world.ada.start("call", {"url": endpoint.url}, wait_s=None)
    for _ in range(3):
        watch = world.ada.watch(run.id)
        async with aclosing(watch):
            await anext(watch)
    endpoint.gate.set()
    async with asyncio.timeout(10):
        assert (await world.ada.ended(run.id)).state == State.STATE_SUCCEEDED


async def test_a_service_starts_no_runs(world: World) -> None:
    peer = world.stack.peer(world.stack.auth)
    stub = auth_service_pb2_grpc.AuthServiceStub(peer.channel)
    answer = await peer.call(
        stub.IssueServiceToken,
        auth_service_pb2.IssueServiceTokenRequest(
            client_id="gateway", client_secret=world.stack.secrets.gateway.read_text().strip()
        ),
    )
    service = replace(world.ada, workflow=_with_token(world, answer.access_token))
    with pytest.raises(PermissionDenied):
        await service.start("pure", {"n": 1})


def _with_token(world: World, token: str) -> Peer:
    return Peer(name="service", channel=world.ada.workflow.channel, tokens=FixedToken(token))
