"""table_service with a few flights in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flux.table.v1 import rows_pb2
from tests.table_service.serving import (
    FLIGHTS,
    Kind,
    Served,
    column,
    serving,
)

Rows = rows_pb2.Rows


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        client = served.client()
        await client.create_table(
            "flights",
            column("id", Kind.KIND_INT64, not_null=True),
            column("carrier", Kind.KIND_STRING),
            column("delay", Kind.KIND_INT32),
            keys=[["id"]],
        )
        await client.import_file("flights", FLIGHTS)
        yield served
