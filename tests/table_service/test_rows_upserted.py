"""UpsertRows: what is created, what is updated, and what each keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from chassis.tables import typed_rows
from flux.table.v1 import row_service_pb2
from tests.table_service.row_calls import (
    ALL_OR_NOTHING,
    PER_ROW,
    Mutation,
    create_goods,
    failure,
    insert,
    row_errors,
    table_rows,
    transact,
    upsert,
    versions,
    violations,
)
from tests.table_service.serving import Client, create_dataset, new_request_id, reason, serving


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(tmp_path) as served:
        editor = served.client()
        await create_goods(editor)
        await insert(
            editor,
            "goods",
            {"code": "a", "price": 1, "shelf": 1, "place": "x", "note": "kept"},
            {"code": "b", "price": 2, "shelf": 1, "place": "y"},
        )
        yield editor


async def test_rows_are_created_or_updated_in_order(client: Client) -> None:
    answer = await upsert(
        client,
        "goods",
        "code",
        {"code": "n"},
        {"code": "b", "price": 20},
        {"code": "m", "price": 3},
    )
    assert list(answer.created) == [True, False, True]
    assert (answer.created_count, answer.updated_count) == (2, 1)
    assert list(answer.row_ids) == [3, 2, 4]
    assert await versions(client, "goods") == {1: 1, 2: 2, 3: 1, 4: 1}
    rows = await table_rows(client, "goods", "code", "price", "place")
    assert rows == [("a", 1, "x"), ("b", 20, "y"), ("n", 10, None), ("m", 3, None)]


async def test_an_updated_row_keeps_what_does_not_come_and_loses_what_is_null(
    client: Client,
) -> None:
    await upsert(
        client, "goods", "code", {"code": "a", "price": None}, {"code": "b", "note": "new"}
    )
    rows = await table_rows(client, "goods", "code", "price", "note")
    assert rows == [("a", None, "kept"), ("b", 2, "new")]


async def test_a_retry_gets_the_first_answer(client: Client) -> None:
    id_ = new_request_id()
    first = await upsert(client, "goods", "code", {"code": "n"}, {"code": "a"}, request_id=id_)
    assert (
        await upsert(client, "goods", "code", {"code": "n"}, {"code": "a"}, request_id=id_) == first
    )
    assert (await versions(client, "goods"))[1] == 2


async def test_null_in_a_key_is_always_new(client: Client) -> None:
    row = {"code": "c", "shelf": 5, "place": None}
    assert list((await upsert(client, "goods", "spot", row)).created) == [True]
    answer = await upsert(client, "goods", "spot", row | {"code": "d"})
    assert list(answer.created) == [True]
    assert len(await table_rows(client, "goods")) == 4


async def test_a_row_is_found_by_any_key(client: Client) -> None:
    answer = await upsert(
        client, "goods", "spot", {"shelf": 1, "place": "y", "code": "renamed", "price": 9}
    )
    assert (list(answer.created), list(answer.row_ids)) == ([False], [2])
    assert (await table_rows(client, "goods", "code", "price"))[1] == ("renamed", 9)


async def test_keys_may_change_places(client: Client) -> None:
    answer = await upsert(
        client,
        "goods",
        "code",
        {"code": "a", "shelf": 1, "place": "y"},
        {"code": "b", "shelf": 1, "place": "x"},
    )
    assert answer.updated_count == 2
    assert await table_rows(client, "goods", "code", "place") == [("a", "y"), ("b", "x")]


async def test_two_rows_with_one_key_are_refused_in_either_mode(client: Client) -> None:
    rows = [{"code": "n"}, {"code": "m"}, {"code": "n"}, {"code": "n"}]
    for fields in ({}, {"error_mode": PER_ROW}):
        error = await failure(upsert(client, "goods", "code", *rows, **fields))
        assert reason(error) == "DUPLICATE_KEY"
        assert [field for field, _ in violations(error)] == [
            "rows.json.rows[2].code",
            "rows.json.rows[3].code",
        ]


async def test_a_key_must_be_known_and_come_in_every_row(client: Client) -> None:
    error = await failure(upsert(client, "goods", "nope", {"code": "a"}))
    assert reason(error) == "KEY_NOT_FOUND"
    error = await failure(upsert(client, "goods", "spot", {"code": "a", "shelf": 1}))
    assert reason(error) == "COLUMN_NOT_FOUND"
    error = await failure(upsert(client, "goods", "code", {"code": "a"}, {"price": 1}))
    assert (reason(error), violations(error)) == (
        "ROW_INVALID",
        [("rows.json.rows[1].code", "ROW_INVALID")],
    )


async def test_all_that_keys_and_checks_forbid_is_told(client: Client) -> None:
    rows = [
        {"code": "a", "price": 1000},
        {"code": "n", "shelf": 1, "place": "y"},
        {"code": "m", "shelf": -1, "place": "z"},
    ]
    error = await failure(upsert(client, "goods", "code", *rows))
    assert violations(error) == [
        ("rows.json.rows[0].price", "CHECK_FAILED"),
        ("rows.json.rows[1]", "DUPLICATE_KEY"),
        ("rows.json.rows[2].shelf", "CHECK_FAILED"),
    ]
    bad = {"code": "q", "price": "x"}
    error = await failure(upsert(client, "goods", "code", bad, *rows))
    assert [field for field, _ in violations(error)] == [
        "rows.json.rows[0].price",
        "rows.json.rows[1].price",
        "rows.json.rows[2]",
        "rows.json.rows[3].shelf",
    ]
    error = await failure(upsert(client, "goods", "code", bad, {"code": "n"}, {"code": "n"}))
    assert violations(error)[1] == ("rows.json.rows[2].code", "DUPLICATE_KEY")


async def test_a_new_row_must_have_what_refuses_null(client: Client) -> None:
    error = await failure(
        upsert(client, "goods", "spot", {"shelf": 1, "place": "x"}, {"shelf": 2, "place": "x"})
    )
    assert violations(error) == [("rows.json.rows[1].code", "ROW_INVALID")]
    answer = await upsert(client, "goods", "spot", {"shelf": 1, "place": "x", "note": "n"})
    assert list(answer.created) == [False]


async def test_good_rows_are_written_where_each_stands_alone(client: Client) -> None:
    answer = await upsert(
        client,
        "goods",
        "code",
        {"code": "a", "price": 1000},
        {"code": "b", "price": 5},
        {"code": "n", "price": "x"},
        {"code": "m"},
        {"code": "o", "shelf": 1, "place": "y"},
        error_mode=PER_ROW,
    )
    assert row_errors(answer) == [
        (0, "price", "CHECK_FAILED"),
        (2, "price", "ROW_INVALID"),
        (4, "", "DUPLICATE_KEY"),
    ]
    assert list(answer.created) == [False, False, False, True, False]
    assert (answer.created_count, answer.updated_count) == (1, 1)
    assert [bool(row_id) for row_id in answer.row_ids] == [False, True, False, True, False]
    stored = await table_rows(client, "goods", "code", "price")
    assert stored == [("a", 1), ("b", 5), ("m", 10)]
    assert sorted((await versions(client, "goods")).values()) == [1, 1, 2]


async def test_a_key_that_is_not_given_up_after_all_is_still_taken(client: Client) -> None:
    # The first row would leave its spot to the second, but breaks a check, so it stays where it is.
    answer = await upsert(
        client,
        "goods",
        "code",
        {"code": "a", "shelf": 2, "place": "x", "price": 1000},
        {"code": "n", "shelf": 1, "place": "x"},
        error_mode=PER_ROW,
    )
    assert row_errors(answer) == [(0, "price", "CHECK_FAILED"), (1, "", "DUPLICATE_KEY")]
    assert len(await table_rows(client, "goods")) == 2


async def test_rows_of_a_dataset_get_defaults_and_are_checked(client: Client) -> None:
    made = await create_dataset(
        client, "SELECT * FROM (VALUES ('a', 7), ('n', 8)) AS t(code, price)"
    )
    id_ = made.dataset.id
    [result] = await transact(
        client,
        Mutation(upsert=Mutation.Upsert(table="goods", key_columns=["code"], dataset_id=id_)),
    )
    assert (result.inserted_count, result.updated_count) == (1, 1)
    rows = await table_rows(client, "goods", "code", "price", "number", "note")
    assert [row[:2] for row in rows] == [("a", 7), ("b", 2), ("n", 8)]
    assert rows[0][3] == "kept"
    assert rows[2][2] is not None
    made = await create_dataset(
        client, "SELECT * FROM (VALUES ('b', 1000), ('p', 1), ('q', 1001)) AS t(code, price)"
    )
    for mutation in (
        Mutation(
            upsert=Mutation.Upsert(table="goods", key_columns=["code"], dataset_id=made.dataset.id)
        ),
        Mutation(insert=Mutation.Insert(table="goods", dataset_id=made.dataset.id)),
    ):
        error = await failure(transact(client, mutation))
        place = f"mutations[0].{mutation.WhichOneof('kind')}.dataset"
        assert set(violations(error)) >= {
            (f"{place}[0].price", "CHECK_FAILED"),
            (f"{place}[2].price", "CHECK_FAILED"),
        }


async def test_only_new_rows_get_numbers(client: Client) -> None:
    old = {"code": "a", "price": 1}
    for mode in (ALL_OR_NOTHING, PER_ROW):
        await upsert(client, "goods", "code", old, {"code": f"n{mode}"}, error_mode=mode)
    sql = "SELECT * FROM (VALUES ('a', 1), ('d', 1)) AS t(code, price)"
    made = await create_dataset(client, sql)
    kind = Mutation.Upsert(table="goods", key_columns=["code"], dataset_id=made.dataset.id)
    await transact(client, Mutation(upsert=kind))
    header = row_service_pb2.ImportHeader(
        table="goods",
        key="code",
        mode=row_service_pb2.ImportHeader.MODE_UPSERT,
        format=row_service_pb2.FILE_FORMAT_CSV,
    )
    await client.import_answers(header, b"code,price\na,1\nf,1\n")
    numbers = [row[0] for row in await table_rows(client, "goods", "number")]
    assert numbers == [1, 2, 3, 4, 5, 6]


async def test_rows_of_a_dataset_are_inserted_with_defaults(client: Client) -> None:
    made = await create_dataset(client, "SELECT 'c' || range AS code FROM range(3)")
    [result] = await transact(
        client, Mutation(insert=Mutation.Insert(table="goods", dataset_id=made.dataset.id))
    )
    assert result.inserted_count == 3
    rows = await table_rows(client, "goods", "code", "price", "number")
    assert [row[:2] for row in rows[2:]] == [("c0", 10), ("c1", 10), ("c2", 10)]
    assert len({row[2] for row in rows}) == 5
    made = await create_dataset(client, "SELECT 1 AS price")
    error = await failure(
        transact(
            client, Mutation(insert=Mutation.Insert(table="goods", dataset_id=made.dataset.id))
        )
    )
    assert reason(error) == "ROW_INVALID"


async def test_a_mutation_names_its_key_by_columns(client: Client) -> None:
    rows = typed_rows(("shelf", "place"), [(1, "x")])
    mutation = Mutation(upsert=Mutation.Upsert(table="goods", key_columns=["shelf"], rows=rows))
    assert reason(await failure(transact(client, mutation))) == "KEY_NOT_FOUND"
    mutation.upsert.key_columns[:] = ["place", "shelf"]
    [result] = await transact(client, mutation)
    assert (result.inserted_count, result.updated_count) == (0, 1)
