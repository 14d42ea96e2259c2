"""Transact: preconditions, every kind of mutation, paths of what is wrong, and rights a mutation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from chassis.tables import one_row, typed_rows
from flux.table.v1 import grant_pb2, row_service_pb2, table_service_pb2
from tests.table_service.row_calls import (
    Mutation,
    Precondition,
    create_goods,
    delete_rows,
    failure,
    insert,
    insert_of,
    json_rows,
    selection,
    table_rows,
    transact,
    update_rows,
    upsert,
    versions,
    violations,
)
from tests.table_service.serving import (
    Client,
    Kind,
    Served,
    column,
    new_request_id,
    reason,
    serving,
)


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as running:
        client = running.client()
        await create_goods(client)
        await client.create_table("log", column("text", Kind.KIND_STRING))
        await insert(client, "goods", {"code": "a", "price": 1}, {"code": "b", "price": 2})
        yield running


@pytest_asyncio.fixture
async def client(served: Served) -> Client:
    return served.client()


def update_of(row_id: int, **values: object) -> Mutation:
    return Mutation(update=Mutation.Update(table="goods", row_id=row_id, values=one_row(values)))


def delete_of(row_id: int, version: int | None = None) -> Mutation:
    return Mutation(delete=Mutation.Delete(table="goods", row_id=row_id, expected_version=version))


def selected_update(filter_: str, most: int | None = None, **expressions: str) -> Mutation:
    return Mutation(
        update_selected=Mutation.UpdateSelected(
            table="goods", selection=selection(filter_, most=most), expressions=expressions
        )
    )


def selected_delete(filter_: str, table: str = "goods") -> Mutation:
    return Mutation(
        delete_selected=Mutation.DeleteSelected(table=table, selection=selection(filter_))
    )


async def test_mutations_of_every_kind_share_one_commit(client: Client) -> None:
    id_ = new_request_id()
    mutations = [
        insert_of("goods", code="c", price=3),
        insert_of("goods", code="d", price=4),
        update_of(1, price=10),
        Mutation(
            upsert=Mutation.Upsert(
                table="goods",
                key_columns=["code"],
                rows=json_rows({"code": "d", "note": "n"}, {"code": "e"}),
            )
        ),
        selected_update("price >= 4", price="price + 1"),
        delete_of(2),
        selected_delete("code = 'c'"),
        insert_of("log", text="done"),
    ]
    results = await transact(client, *mutations, request_id=id_)
    assert await transact(client, *mutations, request_id=id_) == results
    assert [list(result.row_ids) for result in results[:2]] == [[3], [4]]
    assert results[2].version == 2
    counts = [(r.inserted_count, r.updated_count, r.deleted_count) for r in results]
    assert counts == [
        (1, 0, 0),
        (1, 0, 0),
        (0, 1, 0),
        (1, 1, 0),
        (0, 3, 0),
        (0, 0, 1),
        (0, 0, 1),
        (1, 0, 0),
    ]
    rows = await table_rows(client, "goods", "code", "price", "note", order_by="code")
    assert rows == [("a", 11, None), ("d", 5, "n"), ("e", 11, None)]
    assert await table_rows(client, "log") == [("done",)]


@pytest.mark.parametrize(
    ("bad", "field", "expected"),
    [
        (insert_of("goods", code="a"), "insert.rows.typed.rows[0].code", "DUPLICATE_KEY"),
        (
            insert_of("goods", code="x", price=1000),
            "insert.rows.typed.rows[0].price",
            "CHECK_FAILED",
        ),
        (insert_of("goods", code=None), "insert.rows.typed.rows[0].code", "ROW_INVALID"),
        (insert_of("goods", price=1), "insert.rows.typed.rows[0].code", "ROW_INVALID"),
        (update_of(1, code="b"), "update.values.code", "DUPLICATE_KEY"),
        (update_of(1, price="x"), "update.values.typed.rows[0].values[0]", "ROW_INVALID"),
        (update_of(9, price=1), "update", "ROW_NOT_FOUND"),
        (delete_of(9), "delete", "ROW_NOT_FOUND"),
        (delete_of(1, 7), "delete", "ETAG_MISMATCH"),
        (selected_update("true", most=1, price="1"), "update_selected", "TOO_MANY_ROWS"),
        (selected_update("true", code="'z'"), "update_selected.code", "DUPLICATE_KEY"),
        (selected_update("nope", price="1"), "update_selected.selection.filter", "SQL_INVALID"),
        (
            selected_update("true", price="nope"),
            "update_selected.expressions[price]",
            "SQL_INVALID",
        ),
        (selected_delete("count(*) > 1"), "delete_selected.selection.filter", "SQL_REFUSED"),
        (selected_delete("code::INTEGER = 1"), "delete_selected", "QUERY_FAILED"),
    ],
)
async def test_the_first_that_fails_is_named_and_nothing_happens(
    client: Client, bad: Mutation, field: str, expected: str
) -> None:
    good = [insert_of("goods", code="n"), insert_of("log", text="x")]
    error = await failure(transact(client, *good, bad, insert_of("log", text="y")))
    assert reason(error) == expected
    assert violations(error)[0] == (f"mutations[2].{field}", expected)
    assert await table_rows(client, "goods", "code", "price") == [("a", 1), ("b", 2)]
    assert await table_rows(client, "log") == []


async def test_the_one_of_like_mutations_that_fails_is_named(client: Client) -> None:
    error = await failure(transact(client, update_of(1, price=3), update_of(9, price=4)))
    assert violations(error) == [("mutations[1].update", "ROW_NOT_FOUND")]
    error = await failure(transact(client, delete_of(2), delete_of(1, 5)))
    assert violations(error) == [("mutations[1].delete", "ETAG_MISMATCH")]
    error = await failure(
        transact(client, insert_of("goods", code="x"), insert_of("goods", code="b"))
    )
    assert violations(error) == [("mutations[1].insert.rows.typed.rows[0].code", "DUPLICATE_KEY")]


async def test_a_mutation_sees_those_before_it(client: Client) -> None:
    await transact(
        client, delete_of(1), insert_of("goods", code="a", price=5), update_of(2, code="c")
    )
    await transact(client, update_of(2, code="d"), update_of(2, code="c"), update_of(2, price=9))
    assert (await versions(client, "goods"))[2] == 5
    await transact(client, selected_delete("code = 'c'"), insert_of("goods", code="c"))
    rows = await table_rows(client, "goods", "code", "price", order_by="code")
    assert rows == [("a", 5), ("c", 10)]


def row_version(row_id: int, version: int) -> Precondition:
    wanted = Precondition.RowVersion(table="goods", row_id=row_id, version=version)
    return Precondition(row_version=wanted)


def row_absent(**values: object) -> Precondition:
    return Precondition(row_absent=Precondition.RowAbsent(table="goods", key=one_row(values)))


def table_version(version: int, table: str = "goods") -> Precondition:
    wanted = Precondition.TableVersion(table=table, schema_version=version)
    return Precondition(table_version=wanted)


@pytest.mark.parametrize(
    "bad",
    [
        row_version(1, 2),
        row_version(9, 1),
        row_absent(code="a"),
        row_absent(price=2, code="b"),
        table_version(2),
    ],
)
async def test_nothing_happens_unless_every_precondition_holds(
    client: Client, bad: Precondition
) -> None:
    good = [
        row_version(1, 1),
        row_absent(code="z"),
        row_absent(code="a", price=2),
        table_version(1),
    ]
    error = await failure(transact(client, insert_of("log", text="x"), checks=[*good, bad]))
    assert reason(error) == "PRECONDITION_FAILED"
    assert violations(error) == [("preconditions[4]", "PRECONDITION_FAILED")]
    assert await table_rows(client, "log") == []
    await transact(client, insert_of("log", text="x"), checks=good)
    assert await table_rows(client, "log") == [("x",)]


async def test_null_is_absent(client: Client) -> None:
    await transact(client, insert_of("log", text="x"), checks=[row_absent(code="a", note=None)])


RIGHTS = grant_pb2.Right


async def grant(owner: Client, user: str, *rights: str) -> None:
    numbers = [RIGHTS.Value(f"RIGHT_{right}") for right in rights]
    request = table_service_pb2.GrantAccessRequest(
        table="goods", grant=grant_pb2.Grant(user_id=user, rights=numbers)
    )
    await owner.call(owner.tables.GrantAccess, request)


@pytest.mark.parametrize(
    ("asked", "needed"),
    [
        (insert_of("goods", code="n"), ["INSERT"]),
        (update_of(1, price=3), ["UPDATE"]),
        (delete_of(1), ["DELETE"]),
        (
            Mutation(
                upsert=Mutation.Upsert(
                    table="goods", key_columns=["code"], rows=typed_rows(("code",), [("a",)])
                )
            ),
            ["INSERT", "UPDATE"],
        ),
        (selected_update("price = 1", price="2"), ["UPDATE", "READ"]),
        (selected_delete("price = 1"), ["DELETE", "READ"]),
        (row_version(1, 1), ["READ"]),
        (row_absent(code="z"), ["READ"]),
        (table_version(1), []),
    ],
)
async def test_each_part_of_a_transaction_needs_its_own_rights(
    served: Served, client: Client, asked: Mutation | Precondition, needed: Sequence[str]
) -> None:
    for user in ("usr_2", "usr_3", "usr_4"):
        name = f"own_{user}"
        await served.client(user).create_table(name, column("text", Kind.KIND_STRING))

    async def attempt(user: str) -> None:
        other = served.client(user)
        if isinstance(asked, Mutation):
            await transact(other, asked)
        else:
            await transact(other, insert_of(f"own_{user}", text="x"), checks=[asked])

    assert reason(await failure(attempt("usr_2"))) == "TABLE_NOT_FOUND"
    for user, left_out in zip(("usr_3", "usr_4"), needed, strict=False):
        rest = [right for right in needed if right != left_out]
        await grant(client, user, *(rest or ["GRANT"]))
        assert reason(await failure(attempt(user))) == "RIGHT_REQUIRED"
    await grant(client, "usr_2", *(needed or ["GRANT"]))
    await attempt("usr_2")


async def test_methods_need_the_rights_of_what_they_do(served: Served, client: Client) -> None:
    other = served.client("usr_2")
    await grant(client, "usr_2", "UPDATE")
    row = {"code": "z"}
    delete = row_service_pb2.DeleteRowRequest(table="goods", row_id=1)
    calls = [
        insert(other, "goods", row),
        upsert(other, "goods", "code", row),
        other.call(other.rows.DeleteRow, delete),
        delete_rows(other, "goods", selection(row_ids=[1])),
        update_rows(other, "goods", selection("true"), values={"price": 1}),
        update_rows(other, "goods", selection(row_ids=[1]), expressions={"price": "price"}),
        table_rows(other, "goods"),
    ]
    assert [reason(await failure(call)) for call in calls] == ["RIGHT_REQUIRED"] * len(calls)
    await update_rows(other, "goods", selection(row_ids=[1]), values={"price": 7})
    assert await table_rows(client, "goods", "price") == [(7,), (2,)]


async def test_mutations_of_many_shapes_are_read_each_by_itself(client: Client) -> None:
    names = [f"c{at}" for at in range(9)]
    await client.create_table("wide", *(column(name, Kind.KIND_INT64) for name in names))
    await insert(client, "wide", {"c0": 0})
    # Each has other columns, and names its row and its values in one statement.
    shapes = [[n for at, n in enumerate(names) if shape >> at & 1] for shape in range(1, 301)]
    await transact(
        client,
        *(
            Mutation(
                update_selected=Mutation.UpdateSelected(
                    table="wide",
                    selection=row_service_pb2.RowSelection(row_ids=[1]),
                    values=one_row(dict.fromkeys(shape, number)),
                )
            )
            for number, shape in enumerate(shapes)
        ),
    )
    last = [max(at for at, shape in enumerate(shapes) if name in shape) for name in names]
    assert await table_rows(client, "wide", *names) == [tuple(last)]
