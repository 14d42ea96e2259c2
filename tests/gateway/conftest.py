"""A gateway for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.door import Door, open_door


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    """A gateway with the settings it comes with."""
    async with open_door(tmp_path) as opened:
        yield opened
