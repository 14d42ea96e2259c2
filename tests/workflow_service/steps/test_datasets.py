"""Datasets of steps, made by the real table_service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.harness import Stack, open_stack
from workflow_service.definition import QuerySql
from workflow_service.steps.effect import Effect, effect_key
from workflow_service.steps.query import DatasetMaker

EFFECT = Effect(
    run_id="run_1",
    owner="ada",
    key=effect_key("run_1", "read"),
    context={},
    datasets={},
    timeout_s=20,
)
ONE = QuerySql(sql="SELECT 1 AS one", parameters={})


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(tmp_path) as stack:
        yield stack


async def test_an_attempt_is_made_again_after_the_lifetime_was_configured_anew(
    stack: Stack,
) -> None:
    token = await stack.login()
    peer = stack.peer(stack.table, token)
    brief = DatasetMaker(peer=peer, lifetime=timedelta(hours=1))
    first = await brief.make(ONE, EFFECT, token)
    assert await brief.make(ONE, EFFECT, token) == first
    longer = await DatasetMaker(peer=peer, lifetime=timedelta(hours=2)).make(ONE, EFFECT, token)
    assert longer.rows == first.rows
