"""kill -9 between two writes to the disk: inside a commit, and inside a checkpoint."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import table_pb2
from flux.table.v1 import table_service_pb2 as table_messages
from tests.support.crash_calls import Call
from tests.support.crashes import Journal, ServiceProcess, Site, crash_site, looks_whole
from tests.support.strace import SYNCS, injected, needs_strace
from tests.table_service.row_calls import create, insert, json_rows, table_rows
from tests.table_service.serving import Client, Kind, column

FILE, LOG = "flux.duckdb", "flux.duckdb.wal"
# DuckDB writes its log in pieces of 4 KiB.
LONG = "x" * 6000


async def prepare(client: Client) -> None:
    await create(client, "items", column("key", Kind.KIND_STRING), keys={"key": ["key"]})
    await insert(client, "items", {"key": "old"})


def insert_long() -> Call:
    request = messages.InsertRowsRequest(table="items", rows=json_rows({"key": LONG}))
    return Call(service="rows", method="InsertRows", request=request)


def create_other() -> Call:
    """Return what ends with a checkpoint."""
    table = table_pb2.Table(name="other", columns=[column("key", Kind.KIND_STRING)])
    request = table_messages.CreateTableRequest(table=table)
    return Call(service="tables", method="CreateTable", request=request)


async def check(running: ServiceProcess, journal: Journal) -> None:
    [call] = journal
    client = running.client()
    there = (LONG,) in await table_rows(client, "items")
    assert there or call.method != "InsertRows" or not call.acknowledged
    await call.make_again(client)
    assert call.acknowledged
    expected = [("old",), (LONG,)] if call.method == "InsertRows" else [("old",)]
    assert await table_rows(client, "items") == expected
    if call.method == "CreateTable":
        assert await table_rows(client, "other") == []


async def killed_at(site: Site, folder: Path, call: Call, file: str, system_call: str) -> bool:
    """Make the call in a copy of `folder`/prepared, killed at a system call, and check what is left.

    Returns False if the call was answered without it.
    """
    here = folder / "here"
    shutil.copytree(folder / "prepared", here)
    async with site.service(here, observed=False) as running:
        client = running.client()
        rule = f"{system_call.replace(':', ':signal=SIGKILL:')}"
        async with injected(running.pid, rule, here / "data" / file):
            await call.make(client)
        if call.acknowledged and await running.serves():
            shutil.rmtree(here)
            return False
        assert await running.ended() == -signal.SIGKILL
    await looks_whole(site, here, [call], check)
    shutil.rmtree(here)
    return True


COMMIT = [(LOG, "write:when=1"), (LOG, "write:when=2"), (LOG, f"{SYNCS}:when=1")]


async def test_commit_is_whole_wherever_it_is_cut(tmp_path: Path) -> None:
    needs_strace()
    async with crash_site(tmp_path) as site:
        async with site.service(tmp_path / "prepared") as running:
            await prepare(running.client())
        for file, system_call in COMMIT:
            call = insert_long()
            assert await killed_at(site, tmp_path, call, file, system_call), system_call
            assert call.acknowledged


@pytest.mark.parametrize(
    ("file", "system_call"),
    [(FILE, "pwrite64"), (FILE, SYNCS), (LOG, "unlink"), (LOG, "write"), (LOG, SYNCS)],
)
async def test_checkpoint_is_whole_wherever_it_is_cut(
    tmp_path: Path, file: str, system_call: str
) -> None:
    needs_strace()
    async with crash_site(tmp_path) as site:
        async with site.service(tmp_path / "prepared") as running:
            await prepare(running.client())
        at = 1
        # Ends when there are no more such calls.
        while await killed_at(site, tmp_path, create_other(), file, f"{system_call}:when={at}"):
            at += 1
        assert at > 1, f"a checkpoint makes no {system_call}"


# More than the log may hold, so that the next commit ends with a checkpoint by itself.
LARGE = b"key\n" + b"".join(b"%07d" % n + b"x" * 70_000 + b"\n" for n in range(1000))


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        (FILE, "pwrite64:signal=SIGKILL:when=1"),
        (FILE, f"{SYNCS}:signal=SIGKILL:when=2"),
        (FILE, f"{SYNCS}:error=EIO:when=2"),
    ],
)
async def test_commit_that_ends_with_a_checkpoint_is_whole_wherever_it_is_cut(
    tmp_path: Path, file: str, rule: str
) -> None:
    needs_strace()
    call, here = insert_long(), tmp_path / "a"
    async with crash_site(tmp_path) as site:
        async with site.service(here, observed=False) as running:
            client = running.client()
            await prepare(client)
            await create(client, "large", column("key", Kind.KIND_STRING))
            await client.import_file("large", LARGE)
            assert (here / "data" / LOG).stat().st_size > 64 << 20
            async with injected(running.pid, rule, here / "data" / file):
                await call.make(client)
            if "SIGKILL" in rule:
                assert await running.ended() == -signal.SIGKILL
            else:
                assert not await running.serves()

        async def check_both(running: ServiceProcess, journal: Journal) -> None:
            counted = "SELECT count(*), count(DISTINCT key), count(DISTINCT _row_id) FROM large"
            assert await running.client().values(counted) == [(1000, 1000, 1000)]
            await check(running, journal)

        await looks_whole(site, here, [call], check_both)
