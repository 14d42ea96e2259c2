"""RevertTable: earlier schemas come back where nothing is lost, and else the loss is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

from flux.table.v1 import migration_pb2, row_service_pb2
from flux.table.v1 import table_service_pb2 as messages
from tests.table_service.schema_calls import (
    a_column,
    add,
    add_check,
    add_key,
    alter,
    create,
    describe,
    drop,
    drop_check,
    drop_key,
    events,
    function,
    get,
    insert,
    literal,
    rename,
    reorder,
    retype,
    revert,
    set_default,
    set_not_null,
    versions,
)
from tests.table_service.serving import (
    Served,
    detail,
    new_request_id,
    reason,
    refused,
    serving,
)

ROWS: list[list[Any]] = [[1, "x"], [2, "y"]]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        client = served.client()
        await create(
            client,
            "t",
            a_column("a", "INT32", default=literal(1), description="first"),
            a_column("b", "STRING", not_null=True, unique=True, check="b <> ''"),
        )
        await insert(client, "t", ["a", "b"], *ROWS)
        yield served


def shape(table: Any) -> Any:
    """Return what a schema is made of, without the order of its rules."""
    return (
        [column.SerializeToString(deterministic=True) for column in table.columns],
        sorted((key.name, *key.columns) for key in table.unique_keys),
        sorted((check.name, check.expression) for check in table.checks),
    )


def losses(error: Any) -> list[str]:
    found = detail(error, error_details_pb2.BadRequest).field_violations
    return [violation.description for violation in found]


async def test_every_kind_of_change_is_taken_back(served: Served) -> None:
    client = served.client()
    before = await get(client, "t")
    await alter(
        client,
        "t",
        rename("a", "c"),
        retype("c", "INT64"),
        describe("c", "other"),
        set_default("c", None),
        set_not_null("c"),
        set_not_null("b", not_null=False),
        drop_key("b"),
        drop_check("b_check"),
        add_key("c", "b", name="both"),
        add_check("c > 0", name="more"),
        add(a_column("d", "STRING")),
        reorder("d", "b", "c"),
    )
    told = await revert(client, "t", 1, validate_only=True)
    assert (await get(client, "t")).schema_version == 2
    answer = await revert(client, "t", 1)
    assert answer.plan == told.plan
    assert answer.table.schema_version == 3
    assert shape(answer.table) == shape(before)
    assert await client.values("SELECT * FROM t ORDER BY a") == [tuple(row) for row in ROWS]
    error = await refused(insert(client, "t", ["b"], ["x"]))
    assert reason(error) == "DUPLICATE_KEY"
    newest = (await versions(client, "t"))[0]
    assert newest.changes[0] == "reverted to version 1"
    event = (await events(client, "t"))[0]
    assert event.kind == migration_pb2.TableEvent.KIND_ALTERED
    assert list(event.changes) == list(newest.changes)


async def test_columns_that_exchanged_their_names_have_them_back(served: Served) -> None:
    client = served.client()
    before = await get(client, "t")
    await alter(client, "t", rename("a", "x"), rename("b", "a"), rename("x", "b"))
    assert await client.values("SELECT a, b FROM t ORDER BY b") == [("x", 1), ("y", 2)]
    answer = await revert(client, "t", 1)
    # The check went through a rename and means what it meant.
    assert shape(answer.table)[:2] == shape(before)[:2]
    assert await client.values("SELECT * FROM t ORDER BY a") == [tuple(row) for row in ROWS]
    error = await refused(insert(client, "t", ["b"], [""]))
    assert reason(error) == "CHECK_FAILED"


async def test_values_that_would_go_are_named(served: Served) -> None:
    client = served.client()
    await alter(client, "t", add(a_column("c", "STRING")), add(a_column("empty", "DATE")))
    [row_id] = await insert(client, "t", ["b", "c"], ["z", "kept"])
    error = await refused(revert(client, "t", 1))
    assert reason(error) == "MIGRATION_LOSSY"
    assert losses(error) == [f"1 value of column 'c' would be lost (row {row_id}: kept)"]
    told = await revert(client, "t", 1, validate_only=True)
    assert [o.description for o in told.plan.obstacles] == ["1 value of column 'c' would be lost"]
    assert (await get(client, "t")).schema_version == 2


async def test_values_that_would_change_are_named(served: Served) -> None:
    client = served.client()
    await alter(client, "t", set_default("a", None), retype("a", "DOUBLE"))
    await insert(client, "t", ["a", "b"], [2.5, "z"])
    error = await refused(revert(client, "t", 1))
    assert reason(error) == "MIGRATION_LOSSY"
    assert losses(error) == ["1 value of column 'a' would change (row 3: 2.5 becomes 2)"]


async def test_column_that_comes_back_is_empty_and_has_its_id(served: Served) -> None:
    client = served.client()
    await alter(client, "t", drop("a"), add(a_column("n", default=function("SEQUENCE"))))
    await alter(client, "t", drop("n"))
    answer = await revert(client, "t", 1)
    assert [c.id for c in answer.table.columns] == [1, 2]
    [added] = [step.description for step in answer.plan.steps if "added" in step.description]
    assert added == "column 'a' of type INT32 is added, without what it held once"
    assert await client.values("SELECT * FROM t ORDER BY b") == [(1, "x"), (1, "y")]
    # Ids that were given to others stay theirs.
    answer = await alter(client, "t", add(a_column("new")))
    assert answer.table.columns[-1].id == 4


async def test_sequence_that_comes_back_goes_on_and_must_have_numbers_left(served: Served) -> None:
    client = served.client()
    sequence = a_column("n", "INT16", default=function("SEQUENCE"))
    await create(client, "counted", a_column("a"), sequence)
    for count in (20_000, 12_000):
        await client.import_file("counted", b"a\n" + b"1\n" * count)
    await alter(client, "counted", drop("n"))
    error = await refused(revert(client, "counted", 1))
    assert (reason(error), losses(error)) == (
        "MIGRATION_BLOCKED",
        ["32000 rows, but column 'n' counts to 32767 and has given 32000 numbers"],
    )
    rows = row_service_pb2.RowSelection(filter="_row_id > 700")
    gone = row_service_pb2.DeleteRowsRequest(table="counted", selection=rows)
    await client.call(client.rows.DeleteRows, gone)
    await revert(client, "counted", 1)
    sql = "SELECT min(n), max(n), count(DISTINCT n) FROM counted"
    assert await client.values(sql) == [(32_001, 32_700, 700)]


async def test_rows_stand_against_what_they_do_not_satisfy(served: Served) -> None:
    client = served.client()
    await alter(client, "t", set_not_null("b", not_null=False), drop_key("b"))
    await insert(client, "t", ["b"], [None], ["x"])
    error = await refused(revert(client, "t", 1))
    assert reason(error) == "MIGRATION_BLOCKED"
    assert len(losses(error)) == 2


async def test_table_of_other_columns_altogether_goes_back(served: Served) -> None:
    client = served.client()
    await alter(client, "t", add(a_column("A2")), drop("a"), drop("b"))
    await alter(client, "t", rename("A2", "a"))
    answer = await revert(client, "t", 1, validate_only=True)
    assert [o.description for o in answer.plan.obstacles] == [
        "2 rows have null in column 'b', which refuses it"
    ]
    await client.values("SELECT a FROM t")


async def test_version_that_is_there_already_changes_nothing(served: Served) -> None:
    client = served.client()
    before = await get(client, "t")
    answer = await revert(client, "t", 1)
    assert answer.table == before
    assert not answer.plan.steps
    assert len(await versions(client, "t")) == 1


async def test_version_that_never_was_is_not_found(served: Served) -> None:
    client = served.client()
    error = await refused(revert(client, "t", 2))
    assert reason(error) == "TABLE_VERSION_NOT_FOUND"
    request = messages.GetTableVersionRequest(table="t", schema_version=9)
    error = await refused(client.call(client.tables.GetTableVersion, request))
    assert reason(error) == "TABLE_VERSION_NOT_FOUND"
    request = messages.GetTableVersionRequest(table="t", schema_version=1)
    found = await client.call(client.tables.GetTableVersion, request)
    assert found.version == (await versions(client, "t"))[0]


async def test_retry_and_etag_as_for_any_migration(served: Served) -> None:
    client, id_ = served.client(), new_request_id()
    await alter(client, "t", drop("a"))
    first = await revert(client, "t", 1, request_id=id_, etag="2")
    assert await revert(client, "t", 1, request_id=id_, etag="2") == first
    assert reason(await refused(revert(client, "t", 2, etag="2"))) == "ETAG_MISMATCH"
    error = await refused(revert(served.client("usr_2"), "t", 1))
    assert reason(error) == "TABLE_NOT_FOUND"
