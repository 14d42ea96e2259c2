"""Lists that may read many rows: bounded in time, and in how many readers one caller has."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from flux.table.v1 import grant_pb2, row_service_pb2, table_service_pb2
from table_service.store.heavy import HeavyLimits
from table_service.store.readers import Cursor
from tests.support.waiting import eventually_true
from tests.table_service.serving import Client, Kind, column, reason, refused, serving

HARD = "md5(md5(md5(md5(md5(md5(md5(md5(s)))))))) = 'x'"


async def table_of(client: Client, count: int) -> None:
    await client.create_table("t", column("s", Kind.KIND_STRING))
    await client.import_file("t", b"s\n" + b"".join(b"%d\n" % at for at in range(count)))


async def test_list_past_the_time_of_a_query_is_stopped(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=HeavyLimits(query_time_s=0.05)) as served:
        client = served.client()
        await table_of(client, 400_000)
        request = row_service_pb2.ListRowsRequest(table="t", filter=HARD, count=True)
        error = await refused(client.call(client.rows.ListRows, request))
        assert reason(error) == "QUERY_LIMIT"
        request = row_service_pb2.ListRowsRequest(table="t", page_size=1)
        assert (await client.call(client.rows.ListRows, request)).next_page_token


async def test_one_callers_lists_leave_a_reader_to_others(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        turns = [await served.heavy.list_turns.take("usr_1") for _ in range(3)]
        client, other = served.client(), served.client("usr_2")
        await table_of(client, 10)
        await table_of_everybody(client)
        request = row_service_pb2.ListRowsRequest(table="t", filter="s = '1'")
        waiting = asyncio.ensure_future(client.call(client.rows.ListRows, request))
        # Another's is served meanwhile, and the caller's own once one of theirs has ended.
        empty = row_service_pb2.ListRowsRequest(table="free", filter="s = '1'")
        await other.call(other.rows.ListRows, empty)
        assert not waiting.done()
        turns[0]()
        assert len((await waiting).rows.json.rows) == 1


async def table_of_everybody(client: Client) -> None:
    """Create a table that everybody may read."""
    await client.create_table("free", column("s", Kind.KIND_STRING))
    grant = grant_pb2.Grant(role="viewer", rights=[grant_pb2.RIGHT_READ])
    request = table_service_pb2.GrantAccessRequest(table="free", grant=grant)
    await client.call(client.tables.GrantAccess, request)


async def test_turn_lasts_until_the_reader_is_free(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

        def work(_cursor: Cursor) -> None:
            begun.set()
            assert go_on.wait(20)

        reading = asyncio.ensure_future(served.store.readers.read(work, ended.set))
        await asyncio.to_thread(begun.wait, 20)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert not ended.is_set()
        go_on.set()
        await eventually_true(ended.is_set)
