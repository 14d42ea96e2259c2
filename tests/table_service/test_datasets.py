"""Results that are kept: whose they are, how long they live, and what a retry gets."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from google.protobuf.duration_pb2 import Duration

from chassis.values import to_value
from flux.table.v1 import query_service_pb2 as messages
from flux.table.v1 import row_service_pb2, rows_pb2
from table_service.datasets import Quota, expired
from table_service.store.datasets import drop_datasets
from table_service.store.heavy import HeavyLimits
from tests.support.clock import ManualClock
from tests.table_service.serving import (
    Served,
    create_dataset,
    new_request_id,
    reason,
    refused,
    serving,
)

Rows = rows_pb2.Rows


async def test_dataset_is_read_by_the_name_it_is_given(served: Served) -> None:
    client = served.client()
    made = await create_dataset(
        client,
        "SELECT carrier, delay FROM flights WHERE delay > $least ORDER BY delay",
        parameters={"least": to_value(0)},
        preview_row_count=1,
    )
    assert made.dataset.row_count == 2
    assert made.dataset.owner == "usr_1"
    assert [c.name for c in made.dataset.columns] == ["carrier", "delay"]
    assert len(made.preview.typed.rows) == 1
    found = await client.values(
        "SELECT sum(l.delay) FROM late l JOIN flights f USING (carrier)",
        datasets={"late": made.dataset.id},
    )
    assert found == [(32,)]
    named_alike = await client.values(
        "SELECT (SELECT count(*) FROM flights), (SELECT count(*) FROM main.flights)",
        datasets={"flights": made.dataset.id},
    )
    assert named_alike == [(2, 4)]


async def test_dataset_keeps_types_that_tables_lack_as_the_nearest(served: Served) -> None:
    client = served.client()
    made = await create_dataset(
        client,
        "SELECT 'a'::ENUM('a', 'b') AS e, NULL AS n, 1::UTINYINT AS u, {'x': 1} AS s, 1 AS a, 2 AS a,"
        " TIME '10:00' AS t, MAP {1: 'x'} AS m",
        preview_row_count=10,
    )
    assert [c.name for c in made.dataset.columns] == ["e", "n", "u", "s", "a", "a_1", "t", "m"]
    found = await client.values("SELECT e, n, u, s.x, a_1 FROM d", datasets={"d": made.dataset.id})
    assert found == [("a", None, 1, 1, 2)]


async def test_dataset_is_its_owners_alone(served: Served) -> None:
    client, other = served.client(), served.client("usr_2", "admin")
    made = await create_dataset(client, "SELECT 1 AS x")
    id_ = made.dataset.id
    get = messages.GetDatasetRequest(dataset_id=id_)
    assert (await client.call(client.queries.GetDataset, get)).dataset == made.dataset
    for call in (
        other.call(other.queries.GetDataset, get),
        other.query("SELECT * FROM d", datasets={"d": id_}),
    ):
        assert reason(await refused(call)) == "DATASET_NOT_FOUND"
    delete = messages.DeleteDatasetRequest(dataset_id=id_)
    await other.call(other.queries.DeleteDataset, delete)
    assert (await client.call(client.queries.GetDataset, get)).dataset == made.dataset
    await client.call(client.queries.DeleteDataset, delete)
    await client.call(client.queries.DeleteDataset, delete)
    error = await refused(client.call(client.queries.GetDataset, get))
    assert reason(error) == "DATASET_NOT_FOUND"


async def test_same_request_id_gives_the_same_dataset(served: Served) -> None:
    client, id_ = served.client(), new_request_id()
    first = await create_dataset(
        client, "SELECT random() AS r", request_id=id_, preview_row_count=1
    )
    again = await create_dataset(
        client, "SELECT random() AS r", request_id=id_, preview_row_count=1
    )
    assert again == first
    assert len(served.store.datasets) == 1
    error = await refused(create_dataset(client, "SELECT 2 AS r", request_id=id_))
    assert reason(error) == "REQUEST_ID_REUSED"


async def test_retry_gets_its_answer_though_the_source_has_gone(served: Served) -> None:
    client, id_ = served.client(), new_request_id()
    source = (await create_dataset(client, "SELECT 7 AS n")).dataset.id
    fields = {"datasets": {"s": source}, "request_id": id_}
    first = await create_dataset(client, "SELECT n + 1 AS n FROM s", **fields)
    delete = messages.DeleteDatasetRequest(dataset_id=source)
    await client.call(client.queries.DeleteDataset, delete)
    assert await create_dataset(client, "SELECT n + 1 AS n FROM s", **fields) == first


async def test_dataset_lives_its_time(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serving(tmp_path, clock=clock) as served:
        client = served.client()
        made = await create_dataset(client, "SELECT 1 AS x", ttl=Duration(seconds=60))
        kept = await create_dataset(client, "SELECT 1 AS x", ttl=Duration(seconds=120))
        clock.advance(timedelta(seconds=61))
        get = messages.GetDatasetRequest(dataset_id=made.dataset.id)
        error = await refused(client.call(client.queries.GetDataset, get))
        assert reason(error) == "DATASET_NOT_FOUND"
        gone = expired(served.store.datasets, clock.now())
        assert gone == [made.dataset.id]
        await drop_datasets(served.store.writer, served.store.datasets, gone)
        assert list(served.store.datasets) == [kept.dataset.id]
        cursor = served.store.database.cursor()
        tables = cursor.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'datasets'"
        ).fetchall()
        assert tables == [(kept.dataset.id,)]


async def test_small_writes_go_on_while_a_dataset_is_made(served: Served) -> None:
    client = served.client()
    sql = "SELECT range AS n, md5(range::VARCHAR) AS h FROM range(2000000)"
    making = asyncio.create_task(create_dataset(client, sql))
    written = 0
    while not making.done():
        row = rows_pb2.TypedRow(values=[to_value(1000 + written), to_value("ZZ")])
        typed = rows_pb2.TypedRows(columns=["id", "carrier"], rows=[row])
        request = row_service_pb2.InsertRowsRequest(table="flights", rows=Rows(typed=typed))
        await client.call(client.rows.InsertRows, request)
        written += 1
    assert (await making).dataset.row_count == 2_000_000
    assert written > 10


async def test_datasets_of_one_owner_have_a_quota(tmp_path: Path) -> None:
    limits = HeavyLimits(datasets=Quota(count=2, byte_count=1_000_000))
    async with serving(tmp_path, limits=limits) as served:
        client, id_ = served.client(), new_request_id()
        first = await create_dataset(client, "SELECT 1 AS x", request_id=id_)
        error = await refused(create_dataset(client, "SELECT repeat('x', 999) FROM range(2000)"))
        assert reason(error) == "QUERY_LIMIT"
        assert "may have 1000000" in str(error.details())
        await create_dataset(client, "SELECT 2 AS x")
        error = await refused(create_dataset(client, "SELECT 3 AS x"))
        assert reason(error) == "QUERY_LIMIT"
        assert str(error.details()) == "you keep 2 datasets, and 2 at the most"
        assert await create_dataset(client, "SELECT 1 AS x", request_id=id_) == first
        await create_dataset(served.client("usr_2"), "SELECT 1 AS x")
        delete = messages.DeleteDatasetRequest(dataset_id=first.dataset.id)
        await client.call(client.queries.DeleteDataset, delete)
        await create_dataset(client, "SELECT 3 AS x")


async def test_dataset_says_about_how_large_it_is(served: Served) -> None:
    client = served.client()
    for sql, least, most in (
        ("SELECT range AS n FROM range(1000)", 8_000, 8_000),
        ("SELECT repeat('x', 100) AS s FROM range(1000)", 100_000, 100_000),
        ("SELECT '\\xAA\\xBB'::BLOB AS b, [1, 2, 3] AS l, {'a': 'x'} AS s, true AS t", 10, 50),
        ("SELECT 1 AS n WHERE false", 0, 0),
    ):
        made = (await create_dataset(client, sql)).dataset
        assert least <= made.byte_count <= most, sql
        get = messages.GetDatasetRequest(dataset_id=made.id)
        assert (await client.call(client.queries.GetDataset, get)).dataset == made
