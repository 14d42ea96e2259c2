"""Runs that carry much: they are journalled, taken up again and listed like any other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chassis.faults import InvalidArgument
from tests.support.harness import Stack, open_stack
from tests.workflow_service.endpoint import Endpoint, open_endpoint
from tests.workflow_service.running import State, connected, open_workflow
from tests.workflow_service.test_engine import CALL
from workflow_service.starts import INPUT_BYTES_MAX

ECHO = {
    "inputs": {"text": {"type": "TYPE_STRING"}},
    "steps": [{"id": "echo", "transform": {"expression": "input.text"}}],
    "output": {"size": "input.text.size()"},
}
WITH_TEXT = {**CALL, "inputs": {**CALL["inputs"], "text": {"type": "TYPE_STRING"}}}  # type: ignore[dict-item]
# Four bytes a character.
WIDE = "\N{GRINNING FACE}"


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """Return services of which table_service gives small results only."""
    async with open_stack(tmp_path, table_settings={"result_bytes_max": 200_000}) as stack:
        yield stack


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with open_endpoint() as endpoint:
        yield endpoint


async def test_more_than_one_result_can_hold_is_taken_up_again(
    stack: Stack, endpoint: Endpoint
) -> None:
    token = await stack.login()
    endpoint.gate.clear()
    async with open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, token)
        await runs.create("call", WITH_TEXT)
        given = {"url": endpoint.url, "text": "x" * 50_000}
        started = [await runs.start("call", given, wait_s=None) for _ in range(8)]
    endpoint.gate.set()
    async with open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, token)
        for run in started:
            assert (await runs.ended(run.id)).state == State.STATE_SUCCEEDED


async def test_a_page_of_large_runs_ends_early_and_goes_on(stack: Stack) -> None:
    async with open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, await stack.login())
        await runs.create("echo", ECHO)
        started = [await runs.start("echo", {"text": "x" * 40_000}) for _ in range(9)]
        listed: list[str] = []
        page = await runs.page(page_size=100)
        assert 0 < len(page.runs) < len(started)
        while True:
            listed += [run.id for run in page.runs]
            if not page.next_page_token:
                break
            page = await runs.page(page_size=100, page_token=page.next_page_token)
        assert listed == [run.id for run in reversed(started)]


async def test_a_chain_of_large_values_is_more_than_one_message(tmp_path: Path) -> None:
    steps = [{"id": "s0", "transform": {"expression": "input.text"}}]
    steps += [
        {"id": f"s{at}", "transform": {"expression": f"steps.s{at - 1}.value"}}
        for at in range(1, 8)
    ]
    async with open_stack(tmp_path) as stack, open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, await stack.login())
        await runs.create("chain", {**ECHO, "steps": steps})
        run = await runs.start("chain", {"text": WIDE * 500_000})
        assert run.state == State.STATE_SUCCEEDED, run.failure
        assert run.output["size"] == 500_000


async def test_an_input_is_measured_in_bytes(stack: Stack) -> None:
    async with open_workflow(stack) as workflow:
        runs = await connected(stack, workflow, await stack.login())
        await runs.create("echo", ECHO)
        with pytest.raises(InvalidArgument) as refused:
            await runs.start("echo", {"text": WIDE * (INPUT_BYTES_MAX // 4)})
        assert refused.value.reason == "INPUT_INVALID"
