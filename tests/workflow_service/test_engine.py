"""Runs through the real engine, journal, table_service and auth_service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from flux.workflow.v1 import run_pb2
from tests.support.harness import Stack, open_stack
from tests.support.waiting import eventually
from tests.workflow_service.endpoint import Endpoint, open_endpoint
from tests.workflow_service.running import PURE, Runs, State, connected, open_workflow

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOON = {"maxAttempts": 3, "initialInterval": "0.01s", "maxInterval": "0.01s"}
CALL = {
    "inputs": {"url": {"type": "TYPE_STRING"}},
    "steps": [
        {
            "id": "call",
            "retry": SOON,
            "timeout": "5s",
            "action": {"httpCall": {"method": "METHOD_POST", "url": "input.url", "body": "run.id"}},
        }
    ],
    "output": {"status": "steps.call.value.status"},
}

SUMMED = {
    "steps": [
        {
            "id": "fill",
            "action": {
                "insertRows": {
                    "table": "orders",
                    "values": {
                        "rows": [
                            {"values": {"id": "1", "amount": "5"}},
                            {"values": {"id": "1", "amount": "run.version + 1"}},
                            {"values": {"id": "2"}},
                        ]
                    },
                }
            },
        },
        {
            "id": "read",
            "query": {
                "sql": "SELECT id, amount FROM orders WHERE id < $most",
                "parameters": {"most": "10"},
            },
        },
        {
            "id": "grouped",
            "transform": {"sql": "SELECT id, sum(amount)::BIGINT AS total FROM read GROUP BY id"},
        },
        {
            "id": "store",
            "action": {
                "upsertRows": {
                    "table": "sums",
                    "keyColumns": ["id"],
                    "fromStep": "grouped",
                }
            },
        },
    ],
    "output": {
        "stored": "steps.store.row_count",
        "read": "steps.read.row_count",
        "most": "steps.read.rows.map(r, r.amount == null ? 0 : r.amount)",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    stack: Stack
    runs: Runs


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder: Path = tmp_path_factory.mktemp("engine")
    async with open_stack(folder) as stack, open_workflow(stack, heartbeat_s=0.1) as workflow:
        runs = await connected(stack, workflow, await stack.login())
        await runs.create("pure", PURE)
        await runs.create("call", CALL)
        yield World(stack=stack, runs=runs)


@pytest_asyncio.fixture(loop_scope="module")
async def endpoint() -> AsyncIterator[Endpoint]:
    async with open_endpoint() as endpoint:
        yield endpoint


def steps_of(run: run_pb2.Run) -> dict[str, run_pb2.StepRun]:
    return {step.step: step for step in run.steps}


async def test_a_pure_run_is_five_events_and_one_row(world: World) -> None:
    run = await world.runs.start("pure", {"n": 21})
    assert run.state == State.STATE_SUCCEEDED
    assert dict(run.output) == {"total": 43, "size": "big"}
    assert run.workflow_version == 1
    assert not run.steps
    assert await world.runs.kinds(run.id) == [
        *("RUN_STARTED", "STEP_SUCCEEDED", "STEP_SUCCEEDED", "STEP_SUCCEEDED", "RUN_SUCCEEDED")
    ]
    [[kinds]] = await world.runs.query(
        "SELECT string_agg(kind, ' ' ORDER BY sequence) FROM workflow.events"
        f" WHERE run_id = '{run.id}'"
    )
    assert kinds == "RUN_STARTED STEP_SUCCEEDED STEP_SUCCEEDED STEP_SUCCEEDED RUN_SUCCEEDED"
    stored = await world.runs.query(f"SELECT state FROM workflow.runs WHERE run_id = '{run.id}'")
    assert stored == [["SUCCEEDED"]]


async def test_the_full_view_tells_what_each_step_made(world: World) -> None:
    run = await world.runs.get((await world.runs.start("pure", {"n": 1})).id)
    assert [step.step for step in run.steps] == ["double", "size", "total"]
    steps = steps_of(run)
    assert steps["double"].result.value.number_value == 2
    assert steps["size"].result.chosen == "otherwise"
    assert all(step.state == run_pb2.StepRun.STATE_SUCCEEDED for step in run.steps)


async def test_data_stays_in_the_store_from_query_to_upsert(world: World) -> None:
    runs = world.runs
    await runs.create_table("orders", {"id": "INT64", "amount": "INT64"})
    await runs.create_table("sums", {"id": "INT64", "total": "INT64"}, key="id")
    await runs.create("summed", SUMMED)
    run = await runs.start("summed")
    assert run.state == State.STATE_SUCCEEDED, run.failure
    assert run.output["stored"] == 2
    assert run.output["read"] == 3
    assert run.output["most"] == [5, 2, 0]
    assert await runs.query("SELECT id::INT, total::INT FROM sums ORDER BY id") == [
        [1, 7],
        [2, None],
    ]
    shown = steps_of(await runs.get(run.id))
    assert shown["read"].result.dataset_id.startswith("ds_")


async def test_all_mistakes_in_the_input_are_told(world: World) -> None:
    with pytest.raises(Exception, match="'n'") as refused:
        await world.runs.start_many("pure", [{"n": 1}, {"n": "x"}, {"m": 1}])
    fault: Any = refused.value
    assert fault.reason == "INPUT_INVALID"
    assert [violation.field for violation in fault.violations] == [
        *("inputs[1].n", "inputs[2].n", "inputs[2].m")
    ]


async def test_many_runs_start_together_in_their_order(world: World) -> None:
    started = await world.runs.start_many("pure", [{"n": n} for n in range(300)])
    assert [run.output["total"] for run in started] == [2 * n + 1 for n in range(300)]
    ids = [run.id for run in started]
    assert ids == sorted(ids)


async def test_the_same_request_gives_the_same_runs(world: World) -> None:
    request_id = "4be0643f-1d98-473b-97cd-ca98a65347dd"
    first = await world.runs.start("pure", {"n": 1}, request_id=request_id)
    again = await world.runs.start("pure", {"n": 1}, request_id=request_id, wait_s=None)
    assert (again.id, again.state) == (first.id, State.STATE_SUCCEEDED)
    with pytest.raises(Exception, match="another request") as refused:
        await world.runs.start("pure", {"n": 2}, request_id=request_id)
    reason: Any = refused.value
    assert reason.reason == "REQUEST_ID_REUSED"


async def test_a_busy_endpoint_is_called_again_under_the_same_key(
    world: World, endpoint: Endpoint
) -> None:
    endpoint.statuses = [503, 429]
    run = await world.runs.start("call", {"url": endpoint.url})
    assert run.state == State.STATE_SUCCEEDED
    assert len(endpoint.keys) == 3
    assert len(set(endpoint.keys)) == 1
    step = steps_of(await world.runs.get(run.id))["call"]
    assert step.attempt_count == 3
    assert await world.runs.kinds(run.id) == [
        *("RUN_STARTED", *("ATTEMPT_STARTED", "ATTEMPT_FAILED") * 2),
        *("ATTEMPT_STARTED", "STEP_SUCCEEDED", "RUN_SUCCEEDED"),
    ]


async def test_the_last_failure_fails_the_run(world: World, endpoint: Endpoint) -> None:
    endpoint.statuses = [500, 500, 500]
    run = await world.runs.start("call", {"url": endpoint.url})
    assert run.state == State.STATE_FAILED
    assert (run.failure.reason, run.failure.step) == ("HTTP_500", "call")


async def test_an_expression_without_a_value_fails_its_step(world: World) -> None:
    steps = [{"id": "a", "transform": {"expression": "input.list[3]"}}]
    await world.runs.create(
        "short_list", {"inputs": {"list": {"type": "TYPE_ANY"}}, "steps": steps}
    )
    run = await world.runs.start("short_list", {"list": [1]})
    assert run.state == State.STATE_FAILED
    assert (run.failure.reason, run.failure.step) == ("EXPRESSION_FAILED", "a")


async def test_an_attempt_has_its_time(world: World, endpoint: Endpoint) -> None:
    call = {**CALL["steps"][0], "timeout": "0.05s", "retry": {**SOON, "maxAttempts": 2}}  # type: ignore[index]
    await world.runs.create("brief", {"inputs": CALL["inputs"], "steps": [call]})
    endpoint.gate.clear()
    run = await world.runs.start("brief", {"url": endpoint.url})
    assert run.failure.kind == run_pb2.Failure.KIND_TIMEOUT
    assert len(endpoint.keys) == 2


async def test_a_run_is_cancelled_in_the_middle_of_a_call(world: World, endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    run = await world.runs.start("call", {"url": endpoint.url}, wait_s=None)
    assert run.state in (State.STATE_PENDING, State.STATE_RUNNING)
    await endpoint.called.wait()
    asked = await world.runs.cancel(run.id)
    assert asked.state in (State.STATE_CANCELLING, State.STATE_CANCELLED)
    ended = await world.runs.ended(run.id)
    assert ended.state == State.STATE_CANCELLED
    assert steps_of(ended)["call"].state == run_pb2.StepRun.STATE_CANCELLED
    assert (await world.runs.cancel(run.id)).state == State.STATE_CANCELLED


async def test_a_run_that_waits_for_its_next_attempt_is_cancelled(
    world: World, endpoint: Endpoint
) -> None:
    later = {**CALL["steps"][0], "retry": {"initialInterval": "3600s", "maxInterval": "3600s"}}  # type: ignore[index]
    await world.runs.create("later", {"inputs": CALL["inputs"], "steps": [later]})
    endpoint.statuses = [503]
    run = await world.runs.start("later", {"url": endpoint.url}, wait_s=None)

    async def waits() -> bool:
        shown = await world.runs.get(run.id)
        return bool(shown.steps) and shown.steps[0].state == run_pb2.StepRun.STATE_RETRYING

    await eventually(waits)
    assert (await world.runs.cancel(run.id)).state == State.STATE_CANCELLED
    assert len(endpoint.keys) == 1


async def test_a_run_that_has_ended_cannot_be_cancelled(world: World) -> None:
    run = await world.runs.start("pure", {"n": 1})
    with pytest.raises(Exception, match="SUCCEEDED") as refused:
        await world.runs.cancel(run.id)
    fault: Any = refused.value
    assert fault.reason == "RUN_ENDED"
