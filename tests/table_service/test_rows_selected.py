"""UpdateRow, UpdateRows and DeleteRows: by id or by filter, values and expressions, bounds and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from chassis.tables import one_row
from chassis.values import to_value
from flux.table.v1 import row_service_pb2
from tests.table_service.row_calls import (
    col,
    create,
    create_goods,
    delete_rows,
    failure,
    insert,
    json_rows,
    selection,
    table_rows,
    update_rows,
    versions,
    violations,
)
from tests.table_service.serving import Client, Kind, new_request_id, reason, serving


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(tmp_path) as served:
        editor = served.client()
        await create_goods(editor)
        rows = [
            {"code": c, "price": at, "shelf": at, "place": "x"} for at, c in enumerate("abcde", 1)
        ]
        await insert(editor, "goods", *rows)
        yield editor


async def prices(client: Client) -> list[object]:
    return [row[0] for row in await table_rows(client, "goods", "price")]


async def test_values_go_to_the_rows_that_a_filter_holds_for(client: Client) -> None:
    count = await update_rows(
        client,
        "goods",
        selection("price > $Least AND code <> 'e'"),
        values={"price": 100, "note": "dear"},
        parameters={"least": 2},
    )
    assert count == 2
    assert await prices(client) == [1, 2, 100, 100, 5]
    assert list((await versions(client, "goods")).values()) == [1, 1, 2, 2, 1]


async def test_expressions_see_the_row_as_it_was(client: Client) -> None:
    count = await update_rows(
        client,
        "goods",
        selection("true"),
        expressions={
            "price": "price * $factor + shelf",
            "shelf": "shelf + price",
            "note": "upper(code)",
        },
        values={"place": "y"},
        parameters={"factor": 10},
    )
    assert count == 5
    rows = await table_rows(client, "goods", "price", "shelf", "place", "note")
    assert rows[:2] == [(11, 2, "y", "A"), (22, 4, "y", "B")]


async def test_rows_are_named(client: Client) -> None:
    chosen = selection(row_ids=[2, 4])
    assert (
        await update_rows(
            client, "goods", chosen, expressions={"price": "price + $1"}, parameters={"1": 50}
        )
        == 2
    )
    assert await prices(client) == [1, 52, 3, 54, 5]
    assert await delete_rows(client, "goods", selection(row_ids=[2, 4])) == 2
    assert await prices(client) == [1, 3, 5]
    error = await failure(delete_rows(client, "goods", selection(row_ids=[1, 2])))
    assert reason(error) == "ROW_NOT_FOUND"
    error = await failure(
        update_rows(client, "goods", selection(row_ids=[1, 9]), values={"price": 1})
    )
    assert reason(error) == "ROW_NOT_FOUND"
    assert await prices(client) == [1, 3, 5]


async def test_more_rows_than_allowed_are_refused_and_nothing_changes(client: Client) -> None:
    for chosen in (selection("price > 2", most=2), selection(row_ids=[1, 2, 3], most=2)):
        error = await failure(update_rows(client, "goods", chosen, values={"price": 9}))
        assert reason(error) == "TOO_MANY_ROWS"
        assert reason(await failure(delete_rows(client, "goods", chosen))) == "TOO_MANY_ROWS"
    assert await prices(client) == [1, 2, 3, 4, 5]
    assert (
        await update_rows(client, "goods", selection("price > 2", most=3), values={"note": "n"})
        == 3
    )
    assert (
        reason(await failure(delete_rows(client, "goods", selection("true", most=0))))
        == "TOO_MANY_ROWS"
    )
    assert await delete_rows(client, "goods", selection("false", most=0)) == 0


async def test_unique_values_may_change_places(client: Client) -> None:
    await update_rows(client, "goods", selection("true"), expressions={"shelf": "6 - shelf"})
    rows = await table_rows(client, "goods", "shelf")
    assert rows == [(5,), (4,), (3,), (2,), (1,)]
    swap = {"code": "CASE code WHEN 'a' THEN 'b' WHEN 'b' THEN 'a' END"}
    assert (
        await update_rows(client, "goods", selection("code IN ('a', 'b')"), expressions=swap) == 2
    )
    assert await table_rows(client, "goods", "code") == [("b",), ("a",), ("c",), ("d",), ("e",)]


async def test_what_keys_and_checks_forbid_is_told_by_row(client: Client) -> None:
    error = await failure(
        update_rows(client, "goods", selection("price < 3"), values={"code": "z"})
    )
    assert reason(error) == "DUPLICATE_KEY"
    assert error.details() == "row 2: row 1 has code: z too"
    error = await failure(
        update_rows(client, "goods", selection(row_ids=[1]), values={"code": "e"})
    )
    assert error.details() == "row 1: a row of the table has code: e"
    error = await failure(
        update_rows(client, "goods", selection("true"), expressions={"price": "price * 300"})
    )
    assert error.details() == "row 4 breaks check 'cheap': price < 1000"
    assert len(violations(error)) == 2
    error = await failure(
        update_rows(client, "goods", selection("true"), expressions={"code": "NULL"})
    )
    assert (reason(error), len(violations(error))) == ("ROW_INVALID", 5)
    assert await prices(client) == [1, 2, 3, 4, 5]


async def test_one_row_is_refused_as_precisely(client: Client) -> None:
    request = row_service_pb2.UpdateRowRequest(
        table="goods", row_id=2, values=one_row({"code": "a"})
    )
    error = await failure(client.call(client.rows.UpdateRow, request))
    assert (reason(error), violations(error)) == (
        "DUPLICATE_KEY",
        [("values.code", "DUPLICATE_KEY")],
    )
    request.values.CopyFrom(one_row({"price": 1000}))
    error = await failure(client.call(client.rows.UpdateRow, request))
    assert (reason(error), violations(error)) == (
        "CHECK_FAILED",
        [("values.price", "CHECK_FAILED")],
    )
    request.values.CopyFrom(json_rows({"code": None}))
    assert reason(await failure(client.call(client.rows.UpdateRow, request))) == "ROW_INVALID"
    request.values.CopyFrom(one_row({"price": "77"}))
    assert reason(await failure(client.call(client.rows.UpdateRow, request))) == "ROW_INVALID"
    request.coerce = True
    assert (await client.call(client.rows.UpdateRow, request)).version == 2


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"selection": selection("price >")}, "SQL_INVALID"),
        ({"selection": selection("nope = 1")}, "SQL_INVALID"),
        ({"selection": selection("price = $missing")}, "SQL_INVALID"),
        ({"selection": selection("len(price) = 1 AND sin('x', 2)")}, "SQL_INVALID"),
        ({"selection": selection("price IN (SELECT 1)")}, "SQL_REFUSED"),
        ({"selection": selection("true), (true")}, "SQL_REFUSED"),
        ({"selection": selection("code::INTEGER = 1")}, "QUERY_FAILED"),
        ({"selection": selection("true", row_ids=[1])}, "FIELDS_INVALID"),
        ({"selection": selection("  ")}, "FIELDS_INVALID"),
        ({"expressions": {"price": "code::INTEGER"}}, "QUERY_FAILED"),
        ({"expressions": {"price": "2147483647 + shelf"}}, "QUERY_FAILED"),
        ({"expressions": {"price": "count(*)"}}, "SQL_REFUSED"),
        ({"expressions": {"price": "[1, 2]"}}, "QUERY_FAILED"),
        ({"expressions": {"nope": "1"}}, "COLUMN_NOT_FOUND"),
        ({"expressions": {"_version": "1"}}, "COLUMN_NOT_FOUND"),
        ({"expressions": {"price": "1"}, "values": one_row({"price": 1})}, "FIELDS_INVALID"),
        ({"values": one_row({"_row_id": 1})}, "COLUMN_NOT_FOUND"),
        ({"values": one_row({"price": "x"})}, "ROW_INVALID"),
        ({"values": json_rows({"price": 1}, {"price": 2})}, "ROW_INVALID"),
        ({"values": json_rows({})}, "ROW_INVALID"),
        ({}, "FIELDS_INVALID"),
    ],
)
async def test_a_bad_update_is_refused(
    client: Client, fields: dict[str, object], expected: str
) -> None:
    asked = {"selection": selection("true")} | fields
    if not fields.keys() & {"values", "expressions"} and fields:
        asked["expressions"] = {"price": "1"}
    request = row_service_pb2.UpdateRowsRequest(table="goods", **asked)  # type: ignore[arg-type]  # by name
    assert reason(await failure(client.call(client.rows.UpdateRows, request))) == expected
    assert await prices(client) == [1, 2, 3, 4, 5]


async def test_an_expression_makes_nothing_that_a_table_does_not_hold(client: Client) -> None:
    await create(
        client,
        "days",
        col("day", Kind.KIND_DATE),
        col("n", Kind.KIND_INT32),
    )
    await insert(client, "days", {"day": "2026-01-01", "n": 1})
    for written in ("'infinity'::DATE", "day + 4000 * 365 * 2", "DATE '0001-01-01' - 1"):
        error = await failure(
            update_rows(client, "days", selection("true"), expressions={"day": written})
        )
        assert reason(error) == "QUERY_FAILED"
    await update_rows(client, "days", selection("true"), expressions={"day": "day + n"})
    assert str((await table_rows(client, "days", "day"))[0][0]) == "2026-01-02"


async def test_retries_of_changes_get_their_first_answers(client: Client) -> None:
    id_ = new_request_id()
    for _ in range(2):
        count = await update_rows(
            client, "goods", selection("price > 3"), values={"price": 1}, request_id=id_
        )
        assert count == 2
    id_ = new_request_id()
    for _ in range(2):
        assert await delete_rows(client, "goods", selection("price = 1"), request_id=id_) == 3
    error = await failure(delete_rows(client, "goods", selection("price = 2"), request_id=id_))
    assert reason(error) == "REQUEST_ID_REUSED"


async def test_many_changes_at_once_each_happen_once(client: Client) -> None:
    adding = [
        update_rows(client, "goods", selection("code = 'a'"), expressions={"price": "price + 1"})
        for _ in range(20)
    ]
    assert await asyncio.gather(*adding) == [1] * 20
    assert (await prices(client))[0] == 21


async def test_values_of_the_row_id_and_the_version_can_be_asked_for(client: Client) -> None:
    await update_rows(client, "goods", selection("_row_id = 2"), values={"price": 7})
    request = row_service_pb2.DeleteRowsRequest(
        table="goods",
        selection=selection("_version = $v"),
        parameters={"v": to_value(2), "unused": to_value(1)},
    )
    assert (await client.call(client.rows.DeleteRows, request)).deleted_count == 1
