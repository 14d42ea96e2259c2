"""kill -9 at every step of an import and of making a dataset."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from flux.table.v1 import query_service_pb2
from flux.table.v1 import row_service_pb2 as messages
from tests.support.crash_calls import Call
from tests.support.crashes import (
    Journal,
    ServiceProcess,
    crash_site,
    kill_at_every_step,
    looks_whole,
)
from tests.support.waiting import eventually
from tests.table_service.row_calls import create, insert, table_rows
from tests.table_service.serving import Client, Kind, column, new_request_id

CONTENT = b"key,size\n" + b"".join(b"k%d,%d\n" % (n, n) for n in range(500))
REQUEST_ID = new_request_id()


async def prepare(client: Client) -> None:
    await create(
        client,
        "items",
        column("key", Kind.KIND_STRING),
        column("size", Kind.KIND_INT64),
        keys={"key": ["key"]},
    )
    await insert(client, "items", {"key": "old", "size": -1})


async def import_file(client: Client) -> messages.ImportRowsResponse:
    return await client.import_file("items", CONTENT, request_id=REQUEST_ID)


async def act(running: ServiceProcess, journal: Journal) -> None:
    journal.append(await import_file(running.client()))


async def check(running: ServiceProcess, journal: Journal) -> None:
    client = running.client()
    assert not list((running.folder / "data" / "spool").iterdir())
    [(count,)] = await client.values("SELECT count(*) FROM items")
    assert count in ([501] if journal else [1, 501])
    again = await import_file(client)
    assert not journal or again == journal[0]
    assert again.row_count == 500
    sql = "SELECT count(*), count(DISTINCT key), sum(size), count(DISTINCT _row_id) FROM items"
    assert await client.values(sql) == [(501, 501, 499 * 250 - 1, 501)]
    await insert(client, "items", {"key": "new"})
    assert await client.values(sql.replace("sum(size)", "0")) == [(502, 502, 0, 502)]


async def test_import_is_whole_whenever_it_is_killed(tmp_path: Path) -> None:
    steps = await kill_at_every_step(tmp_path, prepare=prepare, act=act, check=check)
    assert any("COMMIT" in step and step.startswith("table-bulk") for step in steps)


async def test_file_half_received_leaves_nothing(tmp_path: Path) -> None:
    async def half_a_file() -> AsyncIterator[messages.ImportRowsRequest]:
        header = messages.ImportHeader(table="items", format=messages.FILE_FORMAT_CSV)
        yield messages.ImportRowsRequest(header=header)
        # More than is held back before it is written.
        for _ in range(6):
            yield messages.ImportRowsRequest(chunk=CONTENT.ljust(1 << 20, b"x"))
        await asyncio.Event().wait()

    async with crash_site(tmp_path) as site:
        async with site.service(tmp_path / "a", observed=False) as running:
            client = running.client()
            await prepare(client)
            spool = tmp_path / "a" / "data" / "spool"

            async def received() -> bool:
                return any(file.stat().st_size > 1 << 20 for file in spool.iterdir())

            upload = client.rows.ImportRows(half_a_file(), metadata=client.metadata)
            await eventually(received)
            running.kill()
            assert await running.ended() == -signal.SIGKILL
            code = await upload.code()
            assert code is grpc.StatusCode.UNAVAILABLE
        await looks_whole(site, tmp_path / "a", [], check)


def dataset() -> Call:
    sql = "SELECT key, size * 2 AS twice FROM items ORDER BY size"
    request = query_service_pb2.CreateDatasetRequest(sql=sql, preview_row_count=3)
    return Call(service="queries", method="CreateDataset", request=request)


async def prepare_dataset(client: Client) -> None:
    await prepare(client)
    await import_file(client)


async def make_dataset(running: ServiceProcess, journal: Journal) -> None:
    journal.append(dataset())
    await journal[0].make(running.client())


async def check_dataset(running: ServiceProcess, journal: Journal) -> None:
    client, [call] = running.client(), journal
    await call.make_again(client)
    id_ = call.answer.dataset.id
    rows = await client.values("SELECT count(*), sum(twice) FROM d", datasets={"d": id_})
    assert rows == [(501, 499 * 500 - 2)]
    assert len(await table_rows(client, "items", "key")) == 501


async def test_dataset_is_whole_whenever_it_is_killed(tmp_path: Path) -> None:
    steps = await kill_at_every_step(
        tmp_path, prepare=prepare_dataset, act=make_dataset, check=check_dataset
    )
    assert any("CREATE TABLE" in step and "datasets" in step for step in steps)
