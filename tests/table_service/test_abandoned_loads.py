"""Imports whose callers go, at any moment: all of the rows or none, and no relation is left over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flux.table.v1 import row_service_pb2 as messages
from table_service.csv_dialect import Dialect
from table_service.store.file_bytes import Format
from table_service.store.files import File
from table_service.store.loads import Loads
from table_service.store.sources import Import
from table_service.store.spool import SpooledFile
from tests.support.waiting import eventually, eventually_true
from tests.table_service.serving import Kind, Served, column, in_chunks, serving

Mode = messages.ImportHeader.Mode
COUNT = 100_000


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        await served.client().create_table(
            "prices",
            column("sku", Kind.KIND_STRING, not_null=True),
            column("price", Kind.KIND_INT32),
            keys=[["sku"]],
        )
        yield served
        await eventually_true(lambda: not list(served.store.spool.iterdir()))


async def stored(served: Served) -> set[str]:
    sql = "SELECT table_name FROM duckdb_tables() WHERE schema_name IN ('main', 'datasets')"
    return await served.store.readers.read(
        lambda cursor: {name for (name,) in cursor.execute(sql).fetchall()}
    )


async def left_alone(served: Served) -> None:
    """Wait until nothing is under way and every relation is a table's."""
    await eventually_true(lambda: served.store.bulk.under_way == 0)

    async def tidy() -> bool:
        tables = served.store.writer.catalog.by_id.values()
        return await stored(served) == {table.storage for table in tables}

    await eventually(tidy)


@pytest.mark.parametrize("mode", [Mode.MODE_UPSERT, Mode.MODE_REPLACE, Mode.MODE_CREATE])
@pytest.mark.parametrize("tries", range(3))
async def test_caller_that_goes_at_any_moment_leaves_nothing_half_done(
    served: Served, mode: Any, tries: int
) -> None:
    client = served.client()
    content = b"sku,price\n" + b"".join(b"%d,1\n" % n for n in range(COUNT))
    header = messages.ImportHeader(
        table="made" if mode == Mode.MODE_CREATE else "prices",
        format=messages.FILE_FORMAT_CSV,
        mode=mode,
        key="sku" if mode == Mode.MODE_UPSERT else "",
    )
    loading = asyncio.Event()

    async def watch() -> None:
        call = client.rows.ImportRows(requests(), metadata=client.metadata)
        try:
            async for answer in call:
                if answer.phase == messages.ImportRowsResponse.PHASE_LOADING:
                    loading.set()
        finally:
            call.cancel()

    def requests() -> Any:
        yield messages.ImportRowsRequest(header=header)
        for chunk in in_chunks(content):
            yield messages.ImportRowsRequest(chunk=chunk)

    watching = asyncio.create_task(watch())
    await loading.wait()
    # Loading takes some 150 ms in all: the file into its stage, and the rows from there.
    await asyncio.wait([watching], timeout=0.06 * tries)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await left_alone(served)
    if ("main", header.table) in served.store.writer.catalog.active:
        found = await client.values(f"SELECT count(*) FROM {header.table}")
        assert found in ([(0,)], [(COUNT,)])


async def test_table_that_is_filled_after_its_caller_has_gone_is_dropped(served: Served) -> None:
    heavy, store = served.heavy, served.store
    loads = Loads(store, heavy.watch, limit_s=60.0, new_id=lambda kind: f"{kind}_1")
    found = store.writer.catalog.active["main", "prices"]
    table = replace(found, id="tbl_1", name="made", storage="tbl_1")
    filled, go_on = threading.Event(), threading.Event()

    def answer(_loaded: object) -> bytes:
        filled.set()
        assert go_on.wait(20)
        return b""

    with heavy.spool.file() as path:
        spooled = SpooledFile(path, heavy.spool, Format.CSV)
        spooled.write([b"sku,price\na,1\n"])
        spooled.end()
        spooled.close()
        asked = Import(
            table=table, file=File(spooled=spooled, format=Format.CSV, dialect=Dialect())
        )
        loading = asyncio.create_task(
            loads.create(asked, answer, None, record=lambda _transaction, _table: None)
        )
        await asyncio.to_thread(filled.wait, 20)
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        go_on.set()
        await left_alone(served)
    assert ("main", "made") not in store.writer.catalog.active
