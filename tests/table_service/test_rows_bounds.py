"""Bounds on changes of rows: time, number, and what computed values may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import pytest_asyncio

from chassis.tables import typed_rows
from flux.table.v1 import row_service_pb2, rows_pb2
from table_service.row_batches import ALONE_ROWS_MAX
from table_service.store.write_limit import WRITE_TIME_S
from table_service.types import Column, Kind, Type, sql_type
from table_service.value_bounds import outside_bounds, within_bounds
from tests.support.clock import ManualClock
from tests.table_service import row_calls as calls
from tests.table_service.row_calls import Mutation, failure
from tests.table_service.serving import Client, column, create_dataset, reason, serving
from tests.table_service.serving import Kind as WireKind

# Many seconds for the rows below, but only some milliseconds for each vector of them. It holds for every row:
# DuckDB 1.5 does not hear of an interrupt before it has found one.
SLOW = "list_sum(list_transform(range(300), lambda x: sin(x + n))) IS NOT NULL"


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(tmp_path) as served:
        yield served.client()


async def add_numbers(client: Client) -> None:
    await client.create_table("numbers", column("n", WireKind.KIND_INT64))
    made = await create_dataset(client, "SELECT range AS n FROM range(900000)")
    mutation = Mutation(insert=Mutation.Insert(table="numbers", dataset_id=made.dataset.id))
    await calls.transact(client, mutation)


async def test_an_expression_has_the_writer_only_for_a_time(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serving(tmp_path, clock=clock) as served:
        client = served.client()
        await add_numbers(client)
        deleting = asyncio.create_task(calls.delete_rows(client, "numbers", calls.selection(SLOW)))
        # The clock is let run until the watch, which looks at it all the time, has seen that it is too late.
        while not deleting.done():
            clock.advance(timedelta(seconds=WRITE_TIME_S))
            await asyncio.wait([deleting], timeout=0.05)
        assert reason(await failure(deleting)) == "QUERY_LIMIT"
        client = served.client()
        assert await calls.delete_rows(client, "numbers", calls.selection("n < 10")) == 10


async def test_a_check_has_the_writer_only_for_a_time(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serving(tmp_path, clock=clock) as served:
        client = served.client()
        await client.create_table("light", column("n", WireKind.KIND_INT64))
        slow = {"slow": "list_sum(list_sort(list_append(range(5000), n))) IS NOT NULL"}
        await calls.create(client, "checked", calls.col("n", WireKind.KIND_INT64), checks=slow)
        rows = [{"n": n} for n in range(9_000)]
        inserting = asyncio.create_task(calls.insert(client, "checked", *rows))
        while not inserting.done():
            clock.advance(timedelta(seconds=WRITE_TIME_S))
            await asyncio.wait([inserting], timeout=0.05)
        assert reason(await failure(inserting)) == "QUERY_LIMIT"
        assert (await calls.insert(served.client(), "light", {"n": 1})).row_ids == [1]


async def test_a_caller_who_goes_stops_what_was_asked(client: Client) -> None:
    await add_numbers(client)
    mutation = Mutation(
        update_selected=Mutation.UpdateSelected(
            table="numbers", selection=calls.selection(SLOW), expressions={"n": "n + 1"}
        )
    )
    updating = asyncio.create_task(calls.transact(client, mutation))
    await asyncio.wait([updating], timeout=0.3)
    updating.cancel()
    with suppress(asyncio.CancelledError):
        await updating
    async with asyncio.timeout(5):
        assert await calls.delete_rows(client, "numbers", calls.selection("n < 10")) == 10


async def test_rows_that_stand_alone_have_a_bound(client: Client) -> None:
    await client.create_table("numbers", column("n", WireKind.KIND_INT64))
    rows = pa.table({"n": pa.array(range(ALONE_ROWS_MAX + 1), pa.int64())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    request = row_service_pb2.InsertRowsRequest(
        table="numbers",
        rows=rows_pb2.Rows(arrow_ipc=sink.getvalue().to_pybytes()),
        error_mode=calls.PER_ROW,
    )
    error = await failure(client.call(client.rows.InsertRows, request))
    assert reason(error) == "ROW_INVALID"


async def test_a_long_list_of_bad_rows_fits_into_an_answer(client: Client) -> None:
    await client.create_table("numbers", column("n", WireKind.KIND_INT16))
    request = row_service_pb2.InsertRowsRequest(
        table="numbers",
        rows=typed_rows(("n",), [(40_000 if at % 10 else at,) for at in range(20_000)]),
        error_mode=calls.PER_ROW,
    )
    answer = await client.call(client.rows.InsertRows, request)
    assert len(answer.errors) == 18_000
    assert sum(bool(row_id) for row_id in answer.row_ids) == 2_000
    assert answer.errors[-1].index == 19_999


async def test_a_dataset_brings_nothing_that_a_table_does_not_hold(client: Client) -> None:
    await calls.create(
        client,
        "days",
        calls.col("day", WireKind.KIND_DATE),
        calls.col("size", WireKind.KIND_ENUM, labels=["small", "large"]),
    )
    for sql, good in (
        ("SELECT 'infinity'::DATE AS day", False),
        ("SELECT 'huge' AS size", False),
        ("SELECT 'large' AS size, DATE '9999-12-31' AS day", True),
    ):
        id_ = (await create_dataset(client, sql)).dataset.id
        mutation = Mutation(insert=Mutation.Insert(table="days", dataset_id=id_))
        if good:
            await calls.transact(client, mutation)
        else:
            error = await failure(calls.transact(client, mutation))
            assert reason(error) == "ROW_INVALID"
            assert calls.violations(error)[0][0].startswith("mutations[0].insert.dataset[0].")
    assert [row[1] for row in await calls.table_rows(client, "days")] == ["large"]


DATE, MOMENT = Type(kind=Kind.DATE), Type(kind=Kind.TIMESTAMP)
LIST = Type(kind=Kind.LIST, element=Type(kind=Kind.LIST, element=DATE))
STRUCT = Type(
    kind=Kind.STRUCT,
    fields=(
        Column(name="it's", type=Type(kind=Kind.LOCAL_TIMESTAMP)),
        Column(name="n", type=Type(kind=Kind.INT32)),
    ),
)


@pytest.mark.parametrize(
    ("written", "type_", "holds"),
    [
        ("1", Type(kind=Kind.INT32), True),
        ("NULL", DATE, True),
        ("'0001-01-01'", DATE, True),
        ("'9999-12-31'", DATE, True),
        ("DATE '9999-12-31' + 1", DATE, False),
        ("'-infinity'", DATE, False),
        ("'24:00:00'", Type(kind=Kind.TIME), False),
        ("'23:59:59.999999'", Type(kind=Kind.TIME), True),
        ("'infinity'", MOMENT, False),
        ("'9999-12-31 23:59:59.999999+00'", MOMENT, True),
        ("'10000-01-01 00:00:00+00'", MOMENT, False),
        ("INTERVAL '2562046 hours'", Type(kind=Kind.INTERVAL), True),
        ("INTERVAL '-2562048 hours'", Type(kind=Kind.INTERVAL), False),
        ("[['2026-01-01'], NULL, [NULL]]", LIST, True),
        ("[[], ['infinity']]", LIST, False),
        ("NULL", LIST, True),
        ("{'it''s': NULL, 'n': 1}", STRUCT, True),
        ("{'it''s': 'infinity', 'n': 1}", STRUCT, False),
        ("NULL", STRUCT, True),
    ],
)
def test_values_outside_of_what_a_table_holds_fail(written: str, type_: Type, holds: bool) -> None:
    value = f"CAST({written} AS {sql_type(type_)})"
    with duckdb.connect() as connection:
        outside = outside_bounds(value, type_) or "false"
        assert connection.execute(f"SELECT {outside}").fetchall() == [(not holds,)]
        checked = f"SELECT {within_bounds(value, type_)} IS NOT DISTINCT FROM {value}"
        if holds:
            assert connection.execute(checked).fetchall() == [(True,)]
        else:
            with pytest.raises(duckdb.InvalidInputException, match="does not hold"):
                connection.execute(checked)
