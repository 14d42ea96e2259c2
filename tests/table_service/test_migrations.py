"""AlterTable through a real port: what each operation makes of the rows and of the definition."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

from chassis.scalars import Span
from flux.table.v1 import migration_pb2, table_pb2
from tests.table_service.schema_calls import (
    Operation,
    Plan,
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
    of_type,
    rename,
    reorder,
    retype,
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

Event = migration_pb2.TableEvent
ROWS: list[list[Any]] = [["ada", 36, "x"], ["bob", None, "y"], ["eve", 41, None]]
ALL = "SELECT a, s FROM people ORDER BY _row_id"
IDS = "SELECT _row_id, _version FROM people ORDER BY _row_id"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        client = served.client()
        await create(
            client,
            "people",
            a_column("name", "STRING", not_null=True),
            a_column("age", "INT32"),
            a_column("note", "STRING"),
        )
        await insert(client, "people", ["name", "age", "note"], *ROWS)
        yield served


async def rows(served: Served) -> list[Any]:
    """Return what the table holds, without the server's columns, in the definition's order."""
    table = await get(served.client(), "people")
    names = ", ".join(f'"{c.name}"' for c in table.columns)
    names = ", ".join('"' + c.name.replace('"', '""') + '"' for c in table.columns)
    return await served.client().values(f"SELECT {names} FROM people ORDER BY _row_id")


def methods(answer: Any) -> list[str]:
    return [Plan.Method.Name(step.method).removeprefix("METHOD_") for step in answer.plan.steps]


def fields_of(error: Any) -> list[str]:
    return [v.field for v in detail(error, error_details_pb2.BadRequest).field_violations]


async def test_added_column_fills_the_rows_that_are_there(served: Served) -> None:
    client = served.client()
    answer = await alter(
        client,
        "people",
        add(a_column("plain", "DATE")),
        add(a_column("worth", type=of_type("DECIMAL", precision=9, scale=2), default=literal(7))),
        add(a_column("kind", "STRING", default=literal("it's")), after="name"),
        add(a_column("seen", "TIMESTAMP", default=function("NOW"))),
    )
    assert methods(answer) == ["IN_PLACE"] * 4
    assert [c.id for c in answer.table.columns] == [1, 6, 2, 3, 4, 5, 7]
    found = await rows(served)
    assert [row[:4] for row in found] == [(n, "it's", a, note) for n, a, note in ROWS]
    assert {row[4:6] for row in found} == {(None, 7)}
    assert len({row[6] for row in found}) == 1
    # What comes later gets the defaults from the service, not from DuckDB.
    await insert(client, "people", ["name"], ["dan"])
    assert (await rows(served))[-1][1] == "it's"
    assert await client.values(IDS) == [(1, 1), (2, 1), (3, 1), (4, 1)]


async def test_added_column_counts_the_rows_and_goes_on(served: Served) -> None:
    client = served.client()
    answer = await alter(
        client,
        "people",
        add(a_column("n", "INT16", not_null=True, default=function("SEQUENCE"), unique=True)),
        add(a_column("u", "UUID", not_null=True, default=function("UUID"))),
        add(a_column("l", type=of_type("LIST", element=of_type("INT64")), default=literal([1]))),
    )
    assert methods(answer) == ["REBUILD"] * 3
    await insert(client, "people", ["name"], ["dan"], ["fay"])
    found = await rows(served)
    assert [row[3] for row in found] == [1, 2, 3, 4, 5]
    assert len({row[4] for row in found}) == 5
    assert [row[5] for row in found] == [[1]] * 5
    assert await client.values(IDS) == [(at, 1) for at in range(1, 6)]


async def test_sequence_of_a_column_with_values_goes_on_after_them(served: Served) -> None:
    client = served.client()
    answer = await alter(client, "people", set_default("age", function("SEQUENCE")))
    assert methods(answer) == ["DEFINITION"]
    await insert(client, "people", ["name"], ["dan"])
    assert (await rows(served))[-1][1] == 42


async def test_columns_go_and_change_names_and_places(served: Served) -> None:
    client = served.client()
    answer = await alter(
        client,
        "people",
        drop("note"),
        rename("age", 'ye"ars'),
        add(a_column("age", "BOOL")),
        reorder("age", 'ye"ars', "name"),
        describe("age", "grown up"),
    )
    assert methods(answer) == ["IN_PLACE", "IN_PLACE", "IN_PLACE", "DEFINITION", "DEFINITION"]
    assert answer.plan.steps[0].loss == "2 values of column 'note'"
    assert [(c.name, c.id) for c in answer.table.columns] == [
        ("age", 4),
        ('ye"ars', 2),
        ("name", 1),
    ]
    assert answer.table.columns[0].description == "grown up"
    assert await rows(served) == [(None, age, name) for name, age, _ in ROWS]
    error = await refused(insert(client, "people", ["note"], ["x"]))
    assert reason(error) == "COLUMN_NOT_FOUND"


async def test_column_next_to_a_unique_key_is_dropped_by_a_rebuild(served: Served) -> None:
    client = served.client()
    await alter(client, "people", add_key("note"))
    answer = await alter(client, "people", drop("age"))
    assert methods(answer) == ["REBUILD"]
    assert await rows(served) == [(name, note) for name, _, note in ROWS]
    error = await refused(insert(client, "people", ["name", "note"], ["dan", "x"]))
    assert reason(error) == "DUPLICATE_KEY"


async def test_dropped_column_takes_keys_and_checks_with_it(served: Served) -> None:
    client = served.client()
    await alter(client, "people", add_key("name", "age"), add_check("age > 0 OR length(note) = 1"))
    answer = await alter(client, "people", drop("age"))
    assert answer.plan.steps[0].description == (
        "column 'age' is dropped, and with it unique key 'name_age', check 'age_note_check'"
    )
    assert not answer.table.unique_keys
    assert not answer.table.checks


async def test_keys_and_checks_follow_a_rename(served: Served) -> None:
    client = served.client()
    await alter(
        client,
        "people",
        add_key("name", name="who"),
        add_check("Age > 0 AND \"note\" <> 'age'", name="ok"),
        add_check("length(name) > 1", name="long"),
    )
    answer = await alter(client, "people", rename("age", "Select"), rename("name", "my name"))
    assert methods(answer) == ["IN_PLACE", "IN_PLACE"]
    assert [(k.name, list(k.columns)) for k in answer.table.unique_keys] == [("who", ["my name"])]
    assert {check.name: check.expression for check in answer.table.checks} == {
        "ok": "((\"Select\" > 0) AND (note != 'age'))",
        "long": '(length("my name") > 1)',
    }
    columns = ["my name", "Select", "note"]
    bad = [["ada", 1, "x"], ["dan", 0, "x"], ["d", 1, "x"], ["dan", 1, "age"]]
    reasons = [reason(await refused(insert(client, "people", columns, row))) for row in bad]
    assert reasons == ["DUPLICATE_KEY", *["CHECK_FAILED"] * 3]
    # Written anew, they are the same.
    await alter(client, "people", set_not_null("my name"), add_check('"Select" < 100', name="old"))
    reasons = [reason(await refused(insert(client, "people", columns, row))) for row in bad]
    assert reasons == ["DUPLICATE_KEY", *["CHECK_FAILED"] * 3]


async def test_retype_casts_or_computes(served: Served) -> None:
    client = served.client()
    answer = await alter(
        client,
        "people",
        retype("age", "STRING"),
        retype("note", "INT64", using="coalesce(unicode(note), 0) + length(age)"),
        allow_loss=True,
    )
    assert methods(answer) == ["REBUILD", "REBUILD"]
    assert answer.plan.steps[0].loss == ""
    assert answer.plan.steps[1].loss == "what column 'note' held before"
    assert await rows(served) == [("ada", "36", 122), ("bob", None, None), ("eve", "41", 2)]
    assert [c.id for c in answer.table.columns] == [1, 2, 3]


async def test_decimal_written_otherwise_is_no_other_type(served: Served) -> None:
    client = served.client()
    await alter(client, "people", add(a_column("d", type=of_type("DECIMAL", scale=2))))
    answer = await alter(client, "people", retype("d", "DECIMAL", precision=18, scale=2))
    assert methods(answer) == ["DEFINITION"]


async def test_not_null_is_set_and_taken_back(served: Served) -> None:
    client = served.client()
    error = await refused(alter(client, "people", set_not_null("age")))
    assert (reason(error), fields_of(error)) == ("MIGRATION_BLOCKED", ["operations[0]"])
    answer = await alter(
        client, "people", retype("age", "INT32", using="coalesce(age, 0)"), set_not_null("age")
    )
    assert methods(answer) == ["REBUILD", "REBUILD"]
    error = await refused(insert(client, "people", ["name", "age"], ["dan", None]))
    assert reason(error) == "ROW_INVALID"
    answer = await alter(client, "people", set_not_null("age", not_null=False))
    assert methods(answer) == ["IN_PLACE"]
    await insert(client, "people", ["name", "age"], ["dan", None])


async def test_keys_and_checks_go_again(served: Served) -> None:
    client = served.client()
    await alter(client, "people", add_key("name"), add_check("age > 30"))
    answer = await alter(client, "people", drop_key("name"), drop_check("age_check"))
    assert methods(answer) == ["REBUILD", "REBUILD"]
    await insert(client, "people", ["name", "age"], ["ada", 1])


async def test_one_call_is_one_version_whatever_it_does(served: Served) -> None:
    client = served.client()
    before = await get(client, "people")
    answer = await alter(
        client, "people", add(a_column("x")), drop("x"), rename("age", "a"), rename("a", "age")
    )
    # Nothing differs but the ids that were given.
    assert answer.table.schema_version == 1
    answer = await alter(client, "people", add(a_column("x")), rename("x", "y"), drop("note"))
    assert (answer.table.schema_version, answer.table.etag) == (2, "2")
    assert answer.table.update_time.ToDatetime() > before.update_time.ToDatetime()
    newest, first = await versions(client, "people")
    assert list(newest.columns) == list(answer.table.columns)
    assert list(first.columns) == list(before.columns)
    sentences = [step.description for step in answer.plan.steps]
    assert list(newest.changes) == sentences
    assert (newest.author, first.author) == ("usr_1", "usr_1")
    event = (await events(client, "people"))[0]
    assert (event.kind, event.schema_version) == (Event.KIND_ALTERED, 2)
    assert list(event.changes) == sentences


async def test_all_or_nothing(served: Served) -> None:
    client = served.client()
    before = await get(client, "people")
    error = await refused(
        alter(client, "people", drop("note"), rename("age", "x"), add_key("nope"))
    )
    assert (reason(error), fields_of(error)) == (
        "SCHEMA_INVALID",
        ["operations[2].add_unique_key.key.columns[0]"],
    )
    error = await refused(alter(client, "people", drop("note"), set_not_null("age")))
    assert (reason(error), fields_of(error)) == ("MIGRATION_BLOCKED", ["operations[1]"])
    assert await get(client, "people") == before
    assert await rows(served) == [tuple(row) for row in ROWS]


async def test_validate_only_says_the_same_and_changes_nothing(served: Served) -> None:
    client = served.client()
    before = await get(client, "people")
    operations = [
        rename("age", "years"),
        retype("years", "INT16"),
        add(a_column("n", default=function("SEQUENCE"))),
        add_key("name"),
    ]
    told = await alter(client, "people", *operations, validate_only=True)
    assert await get(client, "people") == before
    assert await rows(served) == [tuple(row) for row in ROWS]
    assert len(await versions(client, "people")) == 1
    done = await alter(client, "people", *operations)
    assert done.plan == told.plan
    assert list(done.table.columns) == list(told.table.columns)
    assert (done.table.schema_version, done.table.etag) == (
        told.table.schema_version,
        told.table.etag,
    )


async def test_retry_gets_the_first_answer_and_a_stale_etag_none(served: Served) -> None:
    client, id_ = served.client(), new_request_id()
    first = await alter(client, "people", drop("note"), request_id=id_, etag="1")
    again = await alter(client, "people", drop("note"), request_id=id_, etag="1")
    assert first == again
    error = await refused(alter(client, "people", drop("age"), etag="1"))
    assert reason(error) == "ETAG_MISMATCH"
    error = await refused(alter(client, "people", drop("age"), request_id=id_))
    assert reason(error) == "REQUEST_ID_REUSED"
    error = await refused(alter(served.client("usr_2"), "people", drop("age")))
    assert reason(error) == "TABLE_NOT_FOUND"


async def test_migrated_table_survives_a_restart_and_counts_on(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        client = served.client()
        await create(client, "people", a_column("a", default=literal(1)))
        await insert(client, "people", ["a"], [1], [2])
        error = await refused(alter(client, "people", retype("a", "STRING")))
        assert reason(error) == "SCHEMA_INVALID"
        text = [set_default("a", None), retype("a", "STRING"), set_default("a", literal("n"))]
        await alter(client, "people", *text)
        await alter(client, "people", add(a_column("s", "INTERVAL", default=literal(_WEEK))))
        made = await get(client, "people")
    async with serving(tmp_path) as served:
        client = served.client()
        assert await get(client, "people") == made
        assert await insert(client, "people", ["s"], [None]) == [3]
        assert await client.values(ALL) == [("1", _WEEK), ("2", _WEEK), ("n", None)]


_WEEK = Span(months=1, days=7, microseconds=5)


async def test_names_and_texts_that_need_care_come_back(served: Served) -> None:
    client = served.client()
    names = ['a"b', "select", "ä ö", "'; DROP TABLE x; --", "a.b", "$1", "%s", "rowid"]
    answer = await alter(
        client,
        "people",
        *(add(a_column(name, "STRING", default=literal(name))) for name in names),
        *(rename(name, f"{name}!") for name in names),
        set_not_null("name"),
    )
    assert [c.name for c in answer.table.columns[3:]] == [f"{name}!" for name in names]
    assert {row[3:] for row in await rows(served)} == {tuple(names)}
    await alter(client, "people", add_key("name", *(f"{name}!" for name in names)))
    assert {row[3:] for row in await rows(served)} == {tuple(names)}


async def test_struct_is_retyped_field_by_name(served: Served) -> None:
    client = served.client()
    narrow = [table_pb2.Column(name="x", type=of_type("INT64"))]
    wide = [*narrow, table_pb2.Column(name="y z", type=of_type("STRING"))]
    await alter(
        client,
        "people",
        add(a_column("s", type=of_type("STRUCT", fields=wide), default=literal({"x": 1}))),
    )
    await alter(client, "people", retype("s", "STRUCT", fields=[wide[1], wide[0]]))
    await alter(client, "people", retype("s", "STRUCT", fields=narrow))
    assert {str(row[3]) for row in await rows(served)} == {"{'x': 1}"}
    other = [table_pb2.Column(name="q", type=of_type("INT64"))]
    await alter(client, "people", set_default("s", None))
    error = await refused(alter(client, "people", retype("s", "STRUCT", fields=other)))
    assert (reason(error), fields_of(error)) == (
        "SQL_INVALID",
        ["operations[0].retype_column.type"],
    )
    unset = Operation()
    error = await refused(alter(client, "people", unset))
    assert reason(error) == "FIELDS_INVALID"
