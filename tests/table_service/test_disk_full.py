"""A disk that is full: each kind of work is refused clearly, nothing answered is lost, and room helps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.crashes import ServiceProcess, Site, crash_site
from tests.support.faults import Plan
from tests.support.small_disk import SmallDisk, runs_elsewhere, small_disk
from tests.support.table_files import problems
from tests.table_service.row_calls import create, failure, insert, table_rows
from tests.table_service.serving import Client, Kind, column, create_dataset, reason

# So much is kept free of files and results on their way.
RESERVED_MB = 256
DISK_MB = RESERVED_MB + 128
MB = 1 << 20
CLEAR = ("STORE_UNAVAILABLE", "QUERY_LIMIT")
# More than DuckDB keeps in memory until the commit.
ROWS = 150_000
CONTENT = b"key\n" + b"".join(b"%032d\n" % n for n in range(ROWS))


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    if runs_elsewhere(request.node.nodeid):
        pytest.skip("it ran in a namespace of its own, and passed")
    with small_disk(tmp_path / "disk", DISK_MB) as disk:
        yield disk


@asynccontextmanager
async def prepared(site: Site, folder: Path) -> AsyncIterator[tuple[ServiceProcess, Client]]:
    async with site.service(folder, memory_limit="64MB") as running:
        client = running.client()
        await create(client, "items", column("key", Kind.KIND_STRING), keys={"key": ["key"]})
        await create(client, "plain", column("key", Kind.KIND_STRING))
        await insert(client, "items", {"key": "old"})
        yield running, client


async def recovers(
    site: Site, disk: SmallDisk, running: ServiceProcess, acknowledged: list[str]
) -> None:
    """Check that the service can be read, goes on or says why not once there is room, and starts again."""
    client = running.client()
    assert [key for (key,) in await table_rows(client, "items")] == ["old", *acknowledged]
    disk.make_room()
    if await running.serves():
        await insert(client, "items", {"key": "room"})
        acknowledged.append("room")
    else:
        assert '"store.broken"' in running.log()
        error = await failure(insert(client, "items", {"key": "room"}))
        assert reason(error) == "STORE_UNAVAILABLE"
    await running.close()
    async with site.service(disk.folder, observed=False) as again:
        client = again.client()
        found = [key for (key,) in await table_rows(client, "items")]
        assert found[: 1 + len(acknowledged)] == ["old", *acknowledged]
        assert await table_rows(client, "plain") == []
        await client.import_file("plain", b"key\na\n")
        assert await table_rows(client, "plain") == [("a",)]
    assert problems(disk.folder / "data") == []


async def test_writes_fill_the_disk(tmp_path: Path, disk: SmallDisk) -> None:
    acknowledged: list[str] = []
    async with crash_site(tmp_path) as site:
        async with prepared(site, disk.folder) as (running, client):
            disk.leave(MB)

            async def write_on() -> None:
                for at in range(100):
                    await insert(client, "items", {"key": f"{at:0100000}"})
                    acknowledged.append(f"{at:0100000}")

            error = await failure(write_on())
            assert reason(error) == "STORE_UNAVAILABLE", error
            assert acknowledged
            assert not await running.serves()
            await recovers(site, disk, running, acknowledged)


@pytest.mark.parametrize("kind", ["import", "dataset"])
async def test_what_is_kept_free_is_not_taken_by_files_and_results(
    tmp_path: Path, disk: SmallDisk, kind: str
) -> None:
    async with crash_site(tmp_path) as site:
        async with prepared(site, disk.folder) as (running, client):
            disk.leave((RESERVED_MB - 1) * MB)
            work: dict[str, Callable[[], Awaitable[Any]]] = {
                "import": lambda: client.import_file("plain", CONTENT),
                "dataset": lambda: create_dataset(client, f"SELECT * FROM range({50 * ROWS})"),
            }
            error = await failure(work[kind]())
            assert reason(error) == "QUERY_LIMIT", error
            assert await running.serves()
            await insert(client, "items", {"key": "small"})
            await recovers(site, disk, running, ["small"])


@pytest.mark.parametrize("kind", ["import", "dataset"])
@pytest.mark.parametrize("step", ["CREATE|INSERT", "COMMIT"])
async def test_disk_that_fills_during_bulk_work(
    tmp_path: Path, disk: SmallDisk, kind: str, step: str
) -> None:
    async with crash_site(tmp_path) as site:
        async with prepared(site, disk.folder) as (running, client):
            await running.follow(Plan(at=0, hold=True, matching=step))
            if kind == "import":
                work = asyncio.ensure_future(client.import_file("plain", CONTENT))
            else:
                work = asyncio.ensure_future(
                    create_dataset(client, f"SELECT md5(range::VARCHAR) AS h FROM range({ROWS})")
                )
            await running.hears("held")
            disk.leave(0)
            await running.follow(Plan())
            error = await failure(work)
            assert reason(error) in CLEAR, error
            await recovers(site, disk, running, [])


async def test_query_spills_onto_a_full_disk(tmp_path: Path, disk: SmallDisk) -> None:
    async with crash_site(tmp_path) as site:
        async with prepared(site, disk.folder) as (running, client):
            disk.leave(MB)
            sql = (
                "SELECT md5(range::VARCHAR) AS h, range FROM range(1000000)"
                " ORDER BY h, range OFFSET 999990"
            )
            error = await failure(client.values(sql))
            assert reason(error) in CLEAR, error
            assert await running.serves()
            await insert(client, "items", {"key": "small"})
            disk.make_room()
            assert len(await client.values(sql)) == 10
            await recovers(site, disk, running, ["small"])
