"""Engines that stop and start: nothing is lost, nothing is done twice, and there is only one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.client import ServiceTokens, connect
from chassis.clock import SystemClock
from chassis.faults import NotFound, ResourceExhausted, Unavailable
from chassis.tables import Insert, Tables
from tests.support.harness import Stack, open_stack
from tests.support.waiting import eventually
from tests.workflow_service.endpoint import Endpoint, open_endpoint
from tests.workflow_service.running import PURE, State, connected, open_workflow
from tests.workflow_service.test_engine import CALL
from workflow_service import operation
from workflow_service.journal import EngineFenced
from workflow_service.journal_wire import EVENTS


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(tmp_path) as stack:
        yield stack


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with open_endpoint() as endpoint:
        yield endpoint


async def test_a_run_goes_on_where_the_last_engine_left_it(
    stack: Stack, endpoint: Endpoint
) -> None:
    token = await stack.login()
    endpoint.gate.clear()
    async with open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, token)
        await runs.create("call", CALL)
        run = await runs.start("call", {"url": endpoint.url}, wait_s=None)
        await endpoint.called.wait()
    endpoint.gate.set()
    async with open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, token)
        ended = await runs.ended(run.id)
        assert ended.state == State.STATE_SUCCEEDED
        assert ended.steps[0].attempt_count == 1
        assert await runs.kinds(run.id) == [
            *("RUN_STARTED", "ATTEMPT_STARTED", "ATTEMPT_STARTED"),
            *("STEP_SUCCEEDED", "RUN_SUCCEEDED"),
        ]
    assert len(set(endpoint.keys)) == 1


async def test_a_wait_for_the_next_attempt_outlives_the_engine(
    stack: Stack, endpoint: Endpoint
) -> None:
    token = await stack.login()
    slow = {**CALL["steps"][0], "retry": {"initialInterval": "2s"}}  # type: ignore[index]
    endpoint.statuses = [503]
    async with open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, token)
        await runs.create("slow", {**CALL, "steps": [slow]})
        run = await runs.start("slow", {"url": endpoint.url}, wait_s=None)

        async def failed_once() -> bool:
            shown = await runs.get(run.id)
            return bool(shown.steps) and bool(shown.steps[0].failure.reason)

        await eventually(failed_once)
    async with open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, token)
        ended = await runs.ended(run.id)
        assert ended.state == State.STATE_SUCCEEDED
        assert ended.steps[0].attempt_count == 2


async def test_what_ended_and_what_was_asked_are_remembered(stack: Stack) -> None:
    token = await stack.login()
    request_id = "4be0643f-1d98-473b-97cd-ca98a65347dd"
    async with open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, token)
        await runs.create("pure", PURE)
        started = await runs.start_many("pure", [{"n": 1}, {"n": 2}], request_id=request_id)
    async with open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, token)
        again = await runs.start_many("pure", [{"n": 1}, {"n": 2}], request_id=request_id)
        assert again == started
        shown = await runs.get(started[0].id)
        assert [step.step for step in shown.steps] == ["double", "size", "total"]


async def test_a_newer_engine_fences_the_older(stack: Stack, endpoint: Endpoint) -> None:
    token = await stack.login()
    endpoint.gate.clear()
    with pytest.raises(EngineFenced):
        await _replace_the_engine(stack, endpoint, token)


async def _replace_the_engine(stack: Stack, endpoint: Endpoint, token: str) -> None:
    """Start a second engine in the middle of a run; raises what closing the first does."""
    async with open_workflow(stack) as old:
        before = await connected(stack, old, token)
        await before.create("pure", PURE)
        await before.create("call", CALL)
        run = await before.start("call", {"url": endpoint.url}, wait_s=None)
        await endpoint.called.wait()
        async with open_workflow(stack) as new:
            after = await connected(stack, new, token)
            with pytest.raises(Unavailable) as refused:
                await before.start("pure", {"n": 1})
            assert refused.value.reason == "ENGINE_FENCED"
            await eventually(lambda: _is_down(old.address))
            endpoint.gate.set()
            assert (await after.ended(run.id)).state == State.STATE_SUCCEEDED
            assert (await after.start("pure", {"n": 1})).state == State.STATE_SUCCEEDED


async def test_an_idle_engine_notices_that_it_was_replaced(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "GUARD_S", 0.05)
    with pytest.raises(EngineFenced):
        await _replace_an_idle_engine(stack)


async def _replace_an_idle_engine(stack: Stack) -> None:
    """Start a second engine while the first has nothing to do; raises what closing the first does."""
    async with open_workflow(stack) as old, open_workflow(stack):
        await eventually(lambda: _is_down(old.address))


async def _is_down(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
        return bool(answer.status == health_pb2.HealthCheckResponse.NOT_SERVING)


async def test_a_damaged_run_does_not_keep_the_others_from_going_on(
    stack: Stack, endpoint: Endpoint
) -> None:
    token = await stack.login()
    endpoint.gate.clear()
    async with open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, token)
        await runs.create("call", CALL)
        started = [await runs.start("call", {"url": endpoint.url}, wait_s=None) for _ in range(2)]
    damaged, whole = started
    await _damage(stack, damaged.id)
    endpoint.gate.set()
    async with open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, token)
        assert (await runs.ended(whole.id)).state == State.STATE_SUCCEEDED
        with pytest.raises(NotFound):
            await runs.get(damaged.id)


async def _damage(stack: Stack, run_id: str) -> None:
    """Write events that cannot be, as workflow_service itself."""
    channel = connect(stack.auth.address, message_bytes_max=1024 * 1024)
    secret = stack.secrets.workflow.read_text(encoding="utf-8").strip()
    tokens = ServiceTokens(
        channel=channel, client_id="workflow", client_secret=secret, clock=SystemClock()
    )
    peer = stack.peer(stack.table, await tokens.token())
    columns = tuple(column.name for column in EVENTS.columns)
    now = SystemClock().now()
    for row in (
        (run_id, 999, now, "STEP_SUCCEEDED", "call", 1, "{}"),
        (f"{run_id}_", 1, now, "RUN_STARTED", "", 0, '{"request":{"id":"x"}}'),
    ):
        await Tables(peer, "workflow").transact(Insert(table="events", columns=columns, rows=[row]))
    await channel.close()


async def test_more_runs_than_there_may_be_are_refused(stack: Stack, endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    async with open_workflow(stack, active_runs_max=2) as workflow:
        runs = await connected(stack, workflow, await stack.login())
        await runs.create("call", CALL)
        first, _second = [
            await runs.start("call", {"url": endpoint.url}, wait_s=None) for _ in range(2)
        ]
        with pytest.raises(ResourceExhausted) as refused:
            await runs.start("call", {"url": endpoint.url}, wait_s=None)
        assert refused.value.reason == "TOO_MANY_RUNS"
        assert refused.value.retry_after is not None
        await runs.cancel(first.id)
        await runs.ended(first.id)
        await runs.start("call", {"url": endpoint.url}, wait_s=None)
