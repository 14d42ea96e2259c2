"""A disk that refuses to write: said clearly, nothing answered is lost, what is there can be read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from flux.table.v1 import row_service_pb2 as messages
from table_service.store.cursors import Cursors
from table_service.store.database import open_database
from tests.support.crash_calls import Call
from tests.support.crashes import Journal, ServiceProcess, crash_site, looks_whole
from tests.support.strace import SYNCS, injected, needs_strace
from tests.support.waiting import eventually
from tests.table_service.row_calls import create, failure, insert, json_rows, table_rows
from tests.table_service.serving import Client, Kind, column, create_dataset, reason
from tests.table_service.stores import LIMITS

FILE, LOG = "flux.duckdb", "flux.duckdb.wal"
# Enough rows that DuckDB writes them into its file before the commit.
MANY = 250_000


def insert_of(key: str) -> Call:
    request = messages.InsertRowsRequest(table="items", rows=json_rows({"key": key}))
    return Call(service="rows", method="InsertRows", request=request)


async def prepare(client: Client) -> None:
    await create(client, "items", column("key", Kind.KIND_STRING), keys={"key": ["key"]})
    await insert(client, "items", {"key": "old"})


async def says_it_cannot_write(running: ServiceProcess, client: Client) -> None:
    """Check what a service says whose disk has failed, and that it can still be read."""

    async def no_longer() -> bool:
        return not await running.serves()

    await eventually(no_longer)
    assert '"store.broken"' in running.log()
    error = await failure(insert(client, "items", {"key": "refused"}))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")

    async def read() -> bool:
        try:
            rows = await client.values("SELECT key FROM items ORDER BY key")
            return sorted(await table_rows(client, "items")) == rows and ("old",) in rows
        except grpc.aio.AioRpcError as error:
            # While the file is opened again to be read.
            if reason(error) != "STORE_UNAVAILABLE":
                raise
            return False

    await eventually(read)


async def check(running: ServiceProcess, journal: Journal) -> None:
    """All calls were made before: those that were answered are done, and the others can be made again."""
    client = running.client()
    found = {key for (key,) in await table_rows(client, "items")}
    for call in journal:
        [row] = call.request.rows.json.rows
        assert row["key"] in found or not call.acknowledged
        await call.make_again(client)
        assert call.acknowledged, call.refused
    assert {"old", "a", "b", "c"} == {key for (key,) in await table_rows(client, "items")}


@pytest.mark.parametrize(
    ("rule", "of_all_files"),
    [
        (f"{SYNCS}:error=EIO", True),
        ("write:error=EIO", False),
        ("write:error=ENOSPC", False),
    ],
)
async def test_commit_that_the_disk_refuses_stops_writing_and_not_reading(
    tmp_path: Path, rule: str, of_all_files: bool
) -> None:
    needs_strace()
    calls = [insert_of(key) for key in "abc"]
    async with crash_site(tmp_path) as site:
        async with site.service(tmp_path / "a", observed=False) as running:
            client = running.client()
            await prepare(client)
            await calls[0].make(client)
            assert calls[0].acknowledged
            data = running.folder / "data"
            async with injected(running.pid, rule, *([] if of_all_files else [data / LOG])):
                await asyncio.gather(*(call.make(client) for call in calls[1:]))
            assert [call.acknowledged for call in calls] == [True, False, False]
            await says_it_cannot_write(running, client)
        await looks_whole(site, tmp_path / "a", calls, check)


@pytest.mark.parametrize(
    ("rule", "file"),
    [
        ("pwrite64:error=EIO", FILE),
        ("pwrite64:error=ENOSPC:when=2+", FILE),
        (f"{SYNCS}:error=EIO", FILE),
        (f"{SYNCS}:error=EIO:when=2+", FILE),
        ("unlink:error=EIO", LOG),
    ],
)
async def test_checkpoint_that_the_disk_refuses_loses_nothing(
    tmp_path: Path, rule: str, file: str
) -> None:
    needs_strace()
    calls = [insert_of(key) for key in "abc"]
    async with crash_site(tmp_path) as site:
        async with site.service(tmp_path / "a", observed=False) as running:
            client = running.client()
            await prepare(client)
            for call in calls:
                await call.make(client)
            async with injected(running.pid, rule, running.folder / "data" / file):
                # Making a table is answered: it is in the log. The checkpoint after it fails.
                await create(client, "made", column("key", Kind.KIND_STRING))
            await says_it_cannot_write(running, client)
            assert await table_rows(client, "made") == []
        await looks_whole(site, tmp_path / "a", calls, check)


@pytest.mark.parametrize("kind", ["import", "dataset"])
async def test_bulk_work_that_the_disk_refuses_stops_writing_and_not_reading(
    tmp_path: Path, kind: str
) -> None:
    needs_strace()
    calls = [insert_of(key) for key in "abc"]
    content = b"key\n" + b"".join(b"k%d\n" % n for n in range(MANY))
    async with crash_site(tmp_path) as site:
        async with site.service(tmp_path / "a", observed=False) as running:
            client = running.client()
            await prepare(client)
            await create(client, "plain", column("key", Kind.KIND_STRING))
            await calls[0].make(client)
            file = running.folder / "data" / FILE
            async with injected(running.pid, "pwrite64:error=EIO", file):
                if kind == "import":
                    work = client.import_file("plain", content)
                else:
                    work = create_dataset(
                        client, f"SELECT range AS n, md5(range::VARCHAR) FROM range({MANY})"
                    )
                error = await failure(work)
                assert reason(error) == "STORE_UNAVAILABLE", error
            await says_it_cannot_write(running, client)
            assert await table_rows(client, "plain") == []
        await looks_whole(site, tmp_path / "a", calls, check)


def test_a_cursor_that_cannot_be_made_anew_is_not_lost(tmp_path: Path) -> None:
    database = open_database(tmp_path, LIMITS)
    cursors = Cursors(database, 1)
    database.opened_count += 1
    database.close()
    for _ in range(2):
        with pytest.raises(Exception, match=r"(?i)closed"):
            cursors.get()
    cursors.close()
