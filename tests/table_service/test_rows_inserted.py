"""InsertRows: defaults, what is wrong with rows, and rows that stand alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest_asyncio

from chassis.tables import typed_rows
from flux.table.v1 import row_service_pb2
from table_service.row_faults import VIOLATIONS_MAX
from tests.support.clock import ManualClock
from tests.table_service.row_calls import (
    NOW,
    PER_ROW,
    SEQUENCE,
    UUID,
    col,
    create,
    create_goods,
    failure,
    insert,
    row_errors,
    table_rows,
    violations,
)
from tests.table_service.serving import Client, Kind, new_request_id, reason, serving


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(tmp_path) as served:
        editor = served.client()
        await create_goods(editor)
        yield editor


async def test_what_a_row_lacks_gets_its_default_and_what_is_null_stays_null(
    client: Client,
) -> None:
    answer = await insert(
        client,
        "goods",
        {"code": "a"},
        {"code": "b", "price": None, "number": None},
        {"code": "c", "price": 3, "shelf": 4},
    )
    assert list(answer.row_ids) == [1, 2, 3]
    a, b, c = await table_rows(client, "goods", "code", "price", "shelf", "number")
    assert a[:3] == ("a", 10, None)
    assert b == ("b", None, None, None)
    assert c[:3] == ("c", 3, 4)
    assert isinstance(a[3], int)
    assert isinstance(c[3], int)
    assert a[3] < c[3]


async def test_every_function_makes_its_values(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC))
    async with serving(tmp_path, clock=clock) as served:
        client = served.client()
        await create(
            client,
            "made",
            col("a", Kind.KIND_INT64),
            col("day", Kind.KIND_DATE, made=NOW),
            col("time", Kind.KIND_TIME, made=NOW),
            col("moment", Kind.KIND_TIMESTAMP, made=NOW),
            col("local", Kind.KIND_LOCAL_TIMESTAMP, made=NOW),
            col("id", Kind.KIND_UUID, made=UUID),
            col("small", Kind.KIND_INT16, made=SEQUENCE),
            col("huge", Kind.KIND_INT128, made=SEQUENCE),
            keys={"id": ["id"], "small": ["small"], "huge": ["huge"]},
        )
        await insert(client, "made", *[{"a": at} for at in range(5)], {})
        rows = await table_rows(client, "made")
    now = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
    assert {row[1:5] for row in rows} == {(now.date(), now.time(), now, now.replace(tzinfo=None))}
    assert [row[6] for row in rows] == [row[7] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert len({row[5] for row in rows}) == 6


async def test_a_sequence_goes_on_after_the_store_is_opened_again(tmp_path: Path) -> None:
    numbers: list[object] = []
    for _ in range(2):
        async with serving(tmp_path) as served:
            client = served.client()
            if not numbers:
                await create(
                    client, "t", col("a", Kind.KIND_INT64), col("n", Kind.KIND_INT64, made=SEQUENCE)
                )
            await insert(client, "t", {"a": 1}, {"a": 2})
            numbers = [row[0] for row in await table_rows(client, "t", "n")]
    assert numbers == [1, 2, 3, 4]


async def test_a_sequence_that_is_used_up_is_told(client: Client) -> None:
    await create(client, "t", col("a", Kind.KIND_INT64), col("n", Kind.KIND_INT16, made=SEQUENCE))
    rows = typed_rows(("a",), [(1,)] * 32_767)
    request = row_service_pb2.InsertRowsRequest(table="t", rows=rows)
    await client.call(client.rows.InsertRows, request)
    assert reason(await failure(insert(client, "t", {"a": 1}))) == "ROW_INVALID"


async def test_requests_that_lack_different_columns_share_commits(client: Client) -> None:
    rows = [{"code": f"c{at}"} | ({"price": at} if at % 3 else {}) for at in range(60)]
    answers = await asyncio.gather(*(insert(client, "goods", row) for row in rows))
    assert sorted(answer.row_ids[0] for answer in answers) == list(range(1, 61))
    stored = set(await table_rows(client, "goods", "code", "price"))
    assert stored == {(f"c{at}", at if at % 3 else 10) for at in range(60)}


async def test_every_violation_is_told_at_once(client: Client) -> None:
    await insert(client, "goods", {"code": "taken", "shelf": 1, "place": "left"})
    error = await failure(
        insert(
            client,
            "goods",
            {"code": "a", "price": 1000},
            {"code": "taken"},
            {"code": "b", "shelf": 0},
            {"code": "a"},
            {"code": "c", "shelf": 1, "place": "left"},
            {"code": "good"},
        )
    )
    assert reason(error) == "CHECK_FAILED"
    assert violations(error) == [
        ("rows.json.rows[0].price", "CHECK_FAILED"),
        ("rows.json.rows[1].code", "DUPLICATE_KEY"),
        ("rows.json.rows[2].shelf", "CHECK_FAILED"),
        ("rows.json.rows[3].code", "DUPLICATE_KEY"),
        ("rows.json.rows[4]", "DUPLICATE_KEY"),
    ]
    assert len(await table_rows(client, "goods")) == 1


async def test_values_that_do_not_fit_and_what_keys_and_checks_forbid_are_told_together(
    client: Client,
) -> None:
    await insert(client, "goods", {"code": "taken"})
    error = await failure(
        insert(
            client,
            "goods",
            {"code": "a", "price": "much"},
            {"price": 1},
            {"code": "taken"},
            {"code": "b", "price": 1000},
        )
    )
    assert reason(error) == "ROW_INVALID"
    assert sorted(violations(error)) == [
        ("rows.json.rows[0].price", "ROW_INVALID"),
        ("rows.json.rows[1].code", "ROW_INVALID"),
        ("rows.json.rows[2].code", "DUPLICATE_KEY"),
        ("rows.json.rows[3].price", "CHECK_FAILED"),
    ]


async def test_violations_have_a_bound(client: Client) -> None:
    rows = [{"code": "same", "price": 5000} for _ in range(300)]
    error = await failure(insert(client, "goods", *rows))
    # A status has a bound of its own, in bytes.
    assert VIOLATIONS_MAX // 2 < len(violations(error)) <= VIOLATIONS_MAX


async def test_a_duplicate_names_the_key_and_its_values(client: Client) -> None:
    row = {"code": "a", "shelf": 7, "place": "left"}
    await insert(client, "goods", row)
    error = await failure(insert(client, "goods", row | {"code": "b"}))
    assert reason(error) == "DUPLICATE_KEY"
    assert error.details() == "row 0: a row of the table has shelf: 7, place: left"


async def test_good_rows_are_written_where_each_stands_alone(client: Client) -> None:
    await insert(client, "goods", {"code": "taken"})
    id_ = new_request_id()
    rows: list[dict[str, object]] = [
        {"code": "a"},
        {"code": "b", "price": "x"},
        {"code": "taken"},
        {"code": "c", "price": 1000},
        {"code": "c", "price": 1},
        {"code": "c"},
        {"code": None},
        {"code": "d", "nope": 1},
        {"code": "e"},
    ]
    answer = await insert(client, "goods", *rows, error_mode=PER_ROW, request_id=id_)
    assert row_errors(answer) == [
        (1, "price", "ROW_INVALID"),
        (2, "code", "DUPLICATE_KEY"),
        (3, "price", "CHECK_FAILED"),
        (5, "code", "DUPLICATE_KEY"),
        (6, "code", "ROW_INVALID"),
        (7, "nope", "ROW_INVALID"),
    ]
    written = [at for at, row_id in enumerate(answer.row_ids) if row_id]
    assert written == [0, 4, 8]
    assert len(answer.row_ids) == len(rows)
    stored = await table_rows(client, "goods", "code", "price")
    assert stored == [("taken", 10), ("a", 10), ("c", 1), ("e", 10)]
    again = await insert(client, "goods", *rows, error_mode=PER_ROW, request_id=id_)
    assert again == answer
    assert len(await table_rows(client, "goods")) == 4


async def test_a_row_refused_by_one_key_does_not_hold_another(client: Client) -> None:
    answer = await insert(
        client,
        "goods",
        {"code": "a", "shelf": 1, "place": "x"},
        {"code": "a", "shelf": 2, "place": "x"},
        {"code": "b", "shelf": 2, "place": "x"},
        error_mode=PER_ROW,
    )
    assert row_errors(answer) == [(1, "code", "DUPLICATE_KEY")]
    assert [bool(row_id) for row_id in answer.row_ids] == [True, False, True]


async def test_rows_that_are_all_bad_leave_nothing(client: Client) -> None:
    answer = await insert(client, "goods", {"price": 1}, {"nope": 1}, error_mode=PER_ROW)
    assert list(answer.row_ids) == [0, 0]
    assert [error[0] for error in row_errors(answer)] == sorted([0, 1, 1])
    assert await table_rows(client, "goods") == []


async def test_values_are_cast_only_when_that_is_asked_for(client: Client) -> None:
    rows = typed_rows(("code", "price"), [("a", "7")])
    request = row_service_pb2.InsertRowsRequest(table="goods", rows=rows)
    assert reason(await failure(client.call(client.rows.InsertRows, request))) == "ROW_INVALID"
    request.coerce = True
    await client.call(client.rows.InsertRows, request)
    assert await table_rows(client, "goods", "price") == [(7,)]


async def test_one_bad_request_among_many_fails_alone(client: Client) -> None:
    await insert(client, "goods", {"code": "taken"})
    calls = [insert(client, "goods", {"code": f"c{at}"}) for at in range(40)]
    bad = [
        insert(client, "goods", {"code": "taken"}),
        insert(client, "goods", {"code": "x", "price": 1000}),
    ]
    outcomes = await asyncio.gather(*calls[:20], *bad, *calls[20:], return_exceptions=True)
    failed = [one for one in outcomes if isinstance(one, BaseException)]
    assert [reason(one) for one in failed] == ["DUPLICATE_KEY", "CHECK_FAILED"]  # type: ignore[arg-type]  # RPC errors
    assert len(await table_rows(client, "goods")) == 41


async def test_no_rows_are_an_answer_too(client: Client) -> None:
    assert list((await insert(client, "goods")).row_ids) == []
    id_ = new_request_id()
    await insert(client, "goods", request_id=id_)
    error = await failure(insert(client, "goods", {"code": "a"}, request_id=id_))
    assert reason(error) == "REQUEST_ID_REUSED"
    assert list((await insert(client, "goods", error_mode=PER_ROW)).row_ids) == []
