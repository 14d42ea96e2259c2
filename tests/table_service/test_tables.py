"""Tables through a real port: making, changing, deleting and bringing them back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import field_mask_pb2
from google.rpc import error_details_pb2

from flux.table.v1 import grant_pb2, migration_pb2, table_pb2
from flux.table.v1 import table_service_pb2 as messages
from tests.table_service.schema_calls import (
    a_column,
    create,
    events,
    function,
    get,
    insert,
    literal,
    of_type,
    versions,
)
from tests.table_service.serving import (
    Client,
    Served,
    detail,
    new_request_id,
    reason,
    refused,
    serving,
)

Event = migration_pb2.TableEvent
Check = table_pb2.Check
Key = table_pb2.UniqueKey


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as plain:
        yield plain


async def update(client: Client, table: str, paths: Any = (), **fields: Any) -> Any:
    options = {key: fields.pop(key) for key in ("etag", "request_id") if key in fields}
    request = messages.UpdateTableRequest(
        table=table,
        values=table_pb2.Table(**fields),
        update_mask=field_mask_pb2.FieldMask(paths=paths),
        **options,
    )
    return (await client.call(client.tables.UpdateTable, request)).table


async def delete(client: Client, table: str, **fields: Any) -> Any:
    request = messages.DeleteTableRequest(table=table, **fields)
    return (await client.call(client.tables.DeleteTable, request)).table


async def undelete(client: Client, table_id: str, **fields: Any) -> Any:
    request = messages.UndeleteTableRequest(table_id=table_id, **fields)
    return (await client.call(client.tables.UndeleteTable, request)).table


async def purge(client: Client, table_id: str, **fields: Any) -> None:
    request = messages.PurgeTableRequest(table_id=table_id, **fields)
    await client.call(client.tables.PurgeTable, request)


def fields_of(error: Any) -> list[str]:
    return [v.field for v in detail(error, error_details_pb2.BadRequest).field_violations]


async def test_new_table_has_ids_names_and_a_first_version(plain: Served) -> None:
    client = plain.client()
    made = await create(
        client,
        "stock",
        a_column('the "item"', "STRING", not_null=True, unique=True),
        a_column("price", "INT32", check="price >= 0", default=literal(5)),
        a_column("since", "TIMESTAMP", default=function("NOW")),
        unique_keys=[Key(columns=["price", "since"])],
        checks=[Check(expression='length("the ""item""") < price OR price = 5')],
        labels={"team": "red"},
        description="what we have",
    )
    assert [column.id for column in made.columns] == [1, 2, 3]
    assert [(key.name, list(key.columns)) for key in made.unique_keys] == [
        ("price_since", ["price", "since"]),
        ("the_item", ['the "item"']),
    ]
    assert [check.name for check in made.checks] == ["the_item_price_check", "price_check"]
    assert not made.columns[0].unique
    assert dict(made.labels) == {"team": "red"}
    assert (made.etag, made.schema_version, made.owner) == ("1", 1, "usr_1")
    assert await get(client, "stock") == made
    [version] = await versions(client, "stock")
    assert list(version.columns) == list(made.columns)
    assert list(version.checks) == list(made.checks)
    assert (version.schema_version, version.author, list(version.changes)) == (1, "usr_1", [])
    [event] = await events(client, "stock")
    assert (event.kind, event.table, event.subject) == (Event.KIND_CREATED, "stock", "usr_1")


async def test_checks_hold_on_every_way_in(plain: Served) -> None:
    client = plain.client()
    a_struct = of_type("STRUCT", fields=[a_column("x y"), a_column("z", "STRING")])
    await create(
        client,
        "t",
        a_column("s", type=a_struct, check="s.\"x y\" > 0 AND S.z <> 'no'"),
        a_column("Q x", "STRING", check="\"q X\" SIMILAR TO '[a-c]+'"),
    )
    await insert(client, "t", ["s", "Q x"], [{"x y": 1, "z": "yes"}, "abc"], [None, None])
    for row in ([{"x y": 0, "z": "a"}, "a"], [{"x y": 1, "z": "no"}, "a"], [None, "d"]):
        error = await refused(insert(client, "t", ["s", "Q x"], row))
        assert reason(error) == "CHECK_FAILED"
    assert await client.values("SELECT count(*) FROM t") == [(2,)]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("a > now()", "SQL_REFUSED"),
        ("a > random()", "SQL_REFUSED"),
        ("age(b) > INTERVAL 1 DAY", "SQL_REFUSED"),
        ("a > $limit", "SQL_REFUSED"),
        ("a > (SELECT 1)", "SQL_REFUSED"),
        ("sum(a) > 1", "SQL_REFUSED"),
        ("len(list_filter([a], lambda x: x > 1)) = 1", "SQL_REFUSED"),
        ("TRY(a > 1)", "SQL_REFUSED"),
        ("nextval('s') > a", "SQL_REFUSED"),
        ("a", "SQL_INVALID"),
        ("a > c", "SQL_INVALID"),
        ("_row_id > 1", "SQL_INVALID"),
        ("a >", "SQL_INVALID"),
        ("a > 1), (true", "SQL_REFUSED"),
        ("current_date > b", "SQL_INVALID"),
        ("a > 'x'::DATE", "SQL_INVALID"),
    ],
)
async def test_check_that_is_none_is_refused_by_its_path(
    plain: Served, expression: str, why: str
) -> None:
    client = plain.client()
    columns = (a_column("a"), a_column("b", "TIMESTAMP"))
    error = await refused(create(client, "t", *columns, checks=[Check(expression=expression)]))
    assert (reason(error), fields_of(error)) == (why, ["table.checks[0].expression"])
    shorthand = a_column("c", "STRING", check=expression)
    error = await refused(create(client, "t", *columns, shorthand))
    assert fields_of(error) == ["table.columns[2].check"]


async def test_contradictions_are_told_together(plain: Served) -> None:
    client = plain.client()
    error = await refused(
        create(
            client,
            "t",
            a_column("a", "JSON", unique=True),
            a_column("A"),
            a_column("_b", default=literal("x")),
            unique_keys=[Key(columns=["c"], name="k"), Key(columns=["A"], name="k")],
        )
    )
    assert reason(error) == "SCHEMA_INVALID"
    assert fields_of(error) == [
        "table.columns[1].name",
        "table.columns[2].name",
        "table.columns[2].default.literal",
        "table.unique_keys[0].columns[0]",
        "table.unique_keys[1].name",
        "table.columns[0].unique.columns[0]",
    ]
    checks = [Check(expression="a > 0", name="c")] * 2
    error = await refused(create(client, "t", a_column("a"), checks=checks))
    assert fields_of(error) == ["table.checks[1].name"]


@pytest.mark.parametrize("rule", [{"unique": True}, {"check": "x > 0"}])
async def test_rule_on_a_field_of_a_struct_is_not_passed_over(
    plain: Served, rule: dict[str, Any]
) -> None:
    a_struct = of_type("STRUCT", fields=[a_column("x", **rule)])
    error = await refused(create(plain.client(), "t", a_column("s", type=a_struct)))
    assert reason(error) == "SCHEMA_INVALID"


async def test_create_answers_a_retry_and_refuses_a_taken_name(plain: Served) -> None:
    client = plain.client()
    table = table_pb2.Table(name="t", columns=[a_column("a", check="a > 0")])
    id_ = new_request_id()
    answers = [
        await client.call(
            client.tables.CreateTable,
            messages.CreateTableRequest(table=table, request_id=id_),
        )
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert reason(await refused(create(client, "t", a_column("a")))) == "TABLE_EXISTS"


async def test_update_changes_what_the_mask_names(plain: Served) -> None:
    client = plain.client()
    made = await create(client, "t", a_column("a"), labels={"x": "1"}, description="d")
    changed = await update(client, "t", name="u")
    assert (changed.name, changed.description, changed.etag) == ("u", "d", "2")
    assert changed.id == made.id
    assert changed.schema_version == 1
    changed = await update(client, "u", ["description", "labels"], labels={"x": "2", "y": "3"})
    assert (changed.description, dict(changed.labels)) == ("", {"x": "2", "y": "3"})
    same = await update(client, "u", ["labels"], labels={"x": "2", "y": "3"})
    assert same.etag == "3"
    told = [list(event.changes) for event in await events(client, "u")]
    assert told == [
        ["described anew", "label 'x' set to '2'", "label 'y' set to '3'"],
        ["renamed from 't' to 'u'"],
        [],
    ]
    assert reason(await refused(get(client, "t"))) == "TABLE_NOT_FOUND"
    await insert(client, "u", ["a"], [1])
    assert await client.values("SELECT a FROM u") == [(1,)]


async def test_update_refuses_what_cannot_be(plain: Served) -> None:
    client = plain.client()
    await create(client, "t", a_column("a"))
    await create(client, "u", a_column("a"))
    assert reason(await refused(update(client, "t", name="u"))) == "TABLE_EXISTS"
    assert reason(await refused(update(client, "t", name="v", etag="7"))) == "ETAG_MISMATCH"
    error = await refused(update(client, "t", ["columns", "owner"], owner="me"))
    assert (reason(error), fields_of(error)) == (
        "FIELDS_INVALID",
        ["update_mask.paths[0]", "update_mask.paths[1]"],
    )
    labels = {"Bad": "x", "good": "x" * 257} | {f"l{at}": "" for at in range(70)}
    error = await refused(update(client, "t", name="No!", description="x" * 2001, labels=labels))
    assert sorted(fields_of(error)) == [
        "values.description",
        "values.labels",
        "values.labels['Bad']",
        "values.labels['good']",
        "values.name",
    ]
    assert fields_of(await refused(update(client, "t", ["name"]))) == ["values.name"]


async def test_deleted_table_comes_back_with_all_that_it_had(plain: Served) -> None:
    client = plain.client()
    made = await create(client, "t", a_column("a", check="a > 0"))
    await insert(client, "t", ["a"], [1])
    assert reason(await refused(delete(client, "t", etag="9"))) == "ETAG_MISMATCH"
    id_ = new_request_id()
    gone = await delete(client, "t", etag="1", request_id=id_)
    assert gone.state == table_pb2.Table.STATE_DELETED
    assert gone.delete_time.seconds > 0
    assert await delete(client, "t", etag="1", request_id=id_) == gone
    await create(client, "t", a_column("b"))
    assert reason(await refused(undelete(client, made.id))) == "TABLE_EXISTS"
    back = await undelete(client, made.id, name="old")
    assert (back.name, back.state) == ("old", table_pb2.Table.STATE_ACTIVE)
    assert not back.HasField("delete_time")
    assert await client.values("SELECT a FROM old") == [(1,)]
    assert await insert(client, "old", ["a"], [2]) == [2]
    assert reason(await refused(undelete(client, made.id))) == "TABLE_NOT_FOUND"
    kinds = [event.kind for event in await events(client, "old")]
    assert kinds == [Event.KIND_UNDELETED, Event.KIND_DELETED, Event.KIND_CREATED]


async def test_purged_table_leaves_nothing_but_its_events(plain: Served) -> None:
    client, admin = plain.client(), plain.client("usr_9", "admin")
    made = await create(client, "t", a_column("n", default=function("SEQUENCE")), a_column("a"))
    grant = grant_pb2.Grant(user_id="usr_2", rights=[grant_pb2.RIGHT_READ])
    await client.call(
        client.tables.GrantAccess, messages.GrantAccessRequest(table="t", grant=grant)
    )
    await insert(client, "t", ["a"], [1])
    assert reason(await refused(purge(admin, made.id))) == "TABLE_ACTIVE"
    await delete(client, "t")
    assert reason(await refused(purge(client, made.id))) == "ROLE_REQUIRED"
    await purge(admin, made.id)
    await purge(admin, made.id)
    assert reason(await refused(undelete(client, made.id))) == "TABLE_NOT_FOUND"
    cursor = plain.store.database.cursor()
    for kept in ("tables", "table_versions", "grants", "row_ids"):
        assert cursor.execute(f"SELECT count(*) FROM catalog.{kept}").fetchall() == [(0,)]
    found = cursor.execute("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'tbl_%'")
    assert found.fetchall() == []
    cursor.close()
    assert (await events(admin))[0].kind == Event.KIND_PURGED
    assert {event.table_id for event in await events(admin)} == {made.id}


async def test_only_who_may_alter_changes_a_table(plain: Served) -> None:
    owner, other = plain.client(), plain.client("usr_2")
    made = await create(owner, "t", a_column("a"))
    for call in (update(other, "t", name="x"), delete(other, "t"), get(other, "t")):
        assert reason(await refused(call)) == "TABLE_NOT_FOUND"
    assert reason(await refused(events(other, "t"))) == "TABLE_NOT_FOUND"
    grant = grant_pb2.Grant(user_id="usr_2", rights=[grant_pb2.RIGHT_INSERT])
    await owner.call(owner.tables.GrantAccess, messages.GrantAccessRequest(table="t", grant=grant))
    assert (await get(other, "t")).id == made.id
    assert len(await versions(other, "t")) == 1
    for call in (update(other, "t", name="x"), delete(other, "t"), events(other, "t")):
        assert reason(await refused(call)) == "RIGHT_REQUIRED"
    assert reason(await refused(events(other))) == "ROLE_REQUIRED"
    await delete(owner, "t")
    assert reason(await refused(undelete(other, made.id))) == "RIGHT_REQUIRED"
    assert reason(await refused(undelete(plain.client("usr_3"), made.id))) == "TABLE_NOT_FOUND"


async def test_events_of_services_tables_are_seen_by_administrators_alone(plain: Served) -> None:
    service, admin = plain.service("workflow"), plain.client("usr_9", "admin")
    await create(service, "runs", a_column("a"), namespace="workflow")
    assert [event.table for event in await events(admin)] == ["workflow.runs"]
    assert reason(await refused(events(admin, "workflow.runs"))) == "NAMESPACE_CLOSED"
    assert len(await events(service, "workflow.runs")) == 1
    assert reason(await refused(events(service))) == "ROLE_REQUIRED"


async def test_definitions_survive_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        client = served.client()
        made = await create(
            client,
            "t",
            a_column("a", default=literal(7), check="a > 0"),
            a_column("n", "UUID", default=function("UUID")),
            labels={"x": "y"},
        )
        gone = await create(client, "gone", a_column("a"))
        await delete(client, "gone")
    async with serving(tmp_path) as served:
        client = served.client()
        assert await get(client, "t") == made
        assert (await undelete(client, gone.id)).name == "gone"
        assert reason(await refused(insert(client, "t", ["a"], [0]))) == "CHECK_FAILED"


async def test_versions_and_events_come_in_pages(plain: Served) -> None:
    client = plain.client()
    await create(client, "t", a_column("a"))
    for at in range(4):
        await update(client, "t", description=f"{at}")
    request, found = messages.ListTableEventsRequest(table="t", page_size=2), []
    while True:
        page = await client.call(client.tables.ListTableEvents, request)
        found.append([event.kind for event in page.events])
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [len(kinds) for kinds in found] == [2, 2, 1]
    other = messages.ListTableVersionsRequest(table="t", page_token=request.page_token)
    error = await refused(client.call(client.tables.ListTableVersions, other))
    assert reason(error) == "PAGE_TOKEN_INVALID"
