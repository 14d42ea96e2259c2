"""Grants through a real port: who may give what, what it opens, and that it lasts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from chassis.faults import ResourceExhausted
from chassis.identity import Principal, PrincipalKind, Role
from chassis.status import status_of
from chassis.tables import one_row, typed_rows
from flux.table.v1 import grant_pb2, migration_pb2, row_service_pb2
from flux.table.v1 import table_service_pb2 as messages
from table_service import access
from table_service.access import Grant, Grantee, Right, Rule, decide, granted, revoked, with_grant
from tests.table_service.schema_calls import a_column, add, add_check, retype
from tests.table_service.serving import (
    Client,
    Kind,
    Served,
    column,
    detail,
    reason,
    refused,
    serving,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READ, INSERT, GRANT = grant_pb2.RIGHT_READ, grant_pb2.RIGHT_INSERT, grant_pb2.RIGHT_GRANT
RIGHTS = tuple(number for number in grant_pb2.Right.values() if number)
Check = messages.CheckAccessResponse


def person(subject: str = "usr_1", role: Role | None = Role.EDITOR) -> Principal:
    return Principal(
        subject=subject,
        kind=PrincipalKind.PERSON,
        role=role,
        session_id="",
        actor="",
        token_id="",
        expire_time=NOW,
    )


def grant_of(*rights: Right, user: str = "", role: Role | None = None) -> Grant:
    return Grant(
        grantee=Grantee(user_id=user, role=role),
        rights=frozenset(rights),
        granter="usr_1",
        create_time=NOW,
    )


def test_rules_are_tried_in_the_order_of_the_contract() -> None:
    grants = [grant_of(Right.READ, role=Role.VIEWER), grant_of(Right.READ, user="usr_2")]
    admin, owner = person("usr_9", Role.ADMIN), person("usr_1")
    assert decide("usr_9", grants, admin, Right.READ).rule is Rule.ADMINISTRATOR
    assert decide("usr_1", grants, owner, Right.READ).rule is Rule.OWNER
    assert decide("usr_1", grants, person("usr_2"), Right.READ).rule is Rule.USER_GRANT
    by_role = decide("usr_1", grants, person("usr_3"), Right.READ)
    assert (by_role.rule, by_role.role) == (Rule.ROLE_GRANT, Role.VIEWER)
    assert decide("usr_1", grants, person("usr_3"), Right.INSERT).rule is Rule.NONE


def test_grant_to_a_role_is_one_to_every_higher_role() -> None:
    grants = [grant_of(Right.READ, role=Role.EDITOR)]
    assert not decide("", grants, person("a", Role.VIEWER), Right.READ).allowed
    assert decide("", grants, person("a", Role.EDITOR), Right.READ).allowed


def test_service_has_no_role_and_is_no_administrator() -> None:
    service = replace(person("workflow", None), kind=PrincipalKind.SERVICE)
    grants = [grant_of(Right.READ, role=Role.VIEWER)]
    assert not decide("usr_1", grants, service, Right.READ).allowed
    assert decide("workflow", grants, service, Right.READ).rule is Rule.OWNER
    named = [grant_of(Right.READ, user="workflow")]
    assert decide("usr_1", named, service, Right.READ).rule is Rule.USER_GRANT


def test_rights_add_up_and_are_taken_one_by_one() -> None:
    one = granted([], grant_of(Right.READ, user="usr_2"))
    same = granted([one], replace(one, granter="usr_7"))
    assert same is one
    both = granted([one], grant_of(Right.INSERT, user="usr_2"))
    assert both.rights == {Right.READ, Right.INSERT}
    left = revoked([both], both.grantee, frozenset({Right.READ, Right.DELETE}))
    assert left is not None
    assert left.rights == {Right.INSERT}
    assert revoked([left], left.grantee, frozenset({Right.INSERT})) is None
    assert revoked([], left.grantee, frozenset({Right.INSERT})) is None


def test_grants_stand_in_order_one_a_grantee() -> None:
    grants: tuple[Grant, ...] = ()
    for grant in (
        grant_of(Right.READ, user="usr_2"),
        grant_of(Right.READ, role=Role.ADMIN),
        grant_of(Right.READ, user="usr_1"),
        grant_of(Right.READ, role=Role.VIEWER),
        grant_of(Right.INSERT, user="usr_2"),
    ):
        grants = with_grant(grants, grant.grantee, grant)
    assert [access.position(grant.grantee) for grant in grants] == [
        *("role 0", "role 2", "user usr_1", "user usr_2")
    ]
    assert grants[-1].rights == {Right.INSERT}
    assert len(with_grant(grants, grants[0].grantee, None)) == 3


def test_grants_of_a_table_have_a_limit() -> None:
    grants = [grant_of(Right.READ, user=f"usr_{at}") for at in range(access.GRANTS_MAX)]
    with pytest.raises(ResourceExhausted) as caught:
        granted(grants, grant_of(Right.READ, user="one more"))
    assert caught.value.reason == "TOO_MANY_GRANTS"
    assert granted(grants, grant_of(Right.INSERT, user="usr_7")).rights == {
        *(Right.READ, Right.INSERT)
    }


async def give(client: Client, *rights: Any, table: str = "flights", **grantee: Any) -> Any:
    request = messages.GrantAccessRequest(
        table=table, grant=grant_pb2.Grant(rights=rights, **grantee)
    )
    return (await client.call(client.tables.GrantAccess, request)).grant


async def take(client: Client, *rights: Any, **grantee: Any) -> Any:
    request = messages.RevokeAccessRequest(
        table="flights", grant=grant_pb2.Grant(rights=rights, **grantee)
    )
    return await client.call(client.tables.RevokeAccess, request)


async def listed(client: Client, **fields: Any) -> Any:
    request = messages.ListGrantsRequest(table="flights", **fields)
    return await client.call(client.tables.ListGrants, request)


async def check(client: Client, right: Any, table: str = "flights", **fields: Any) -> Any:
    request = messages.CheckAccessRequest(table=table, right=right, **fields)
    return await client.call(client.tables.CheckAccess, request)


COUNT = "SELECT count(*) FROM flights"


async def test_table_is_its_owners_until_it_is_shared(served: Served) -> None:
    owner, other = served.client(), served.client("usr_2")
    missing = await refused(other.query("SELECT count(*) FROM nowhere"))
    hidden = await refused(other.query(COUNT))
    assert reason(hidden) == reason(missing) == "TABLE_NOT_FOUND"
    assert hidden.details() == str(missing.details()).replace("nowhere", "flights")
    grant = await give(owner, READ, user_id="usr_2")
    assert (grant.user_id, list(grant.rights), grant.granter) == ("usr_2", [READ], "usr_1")
    assert await other.values(COUNT) == [(4,)]
    answer = await take(owner, READ, user_id="usr_2")
    assert not answer.HasField("grant")
    assert reason(await refused(other.query(COUNT))) == "TABLE_NOT_FOUND"


async def test_grant_to_a_role_opens_the_table_to_it(served: Served) -> None:
    await give(served.client(), READ, role="editor")
    assert await served.client("usr_2").values(COUNT) == [(4,)]
    viewer = served.client("usr_3", "viewer")
    assert reason(await refused(viewer.query(COUNT))) == "TABLE_NOT_FOUND"


async def test_another_right_shows_the_table_and_nothing_more(served: Served) -> None:
    await give(served.client(), INSERT, user_id="usr_2")
    error = await refused(served.client("usr_2").query(COUNT))
    assert reason(error) == "RIGHT_REQUIRED"
    assert error.details() == "you do not have the right read on table 'flights'"


async def test_rights_last_and_are_listed_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        owner = served.client()
        await owner.create_table("flights", column("id", Kind.KIND_INT64))
        await give(owner, READ, user_id="usr_2")
        await give(owner, INSERT, READ, user_id="usr_2")
        await give(owner, READ, role="viewer")
        await give(served.client("usr_9", "admin"), READ, role="admin")
    async with serving(tmp_path) as served:
        owner = served.client()
        first = await listed(owner, page_size=2)
        rest = await listed(owner, page_size=2, page_token=first.next_page_token)
        assert [grant.role for grant in first.grants] == ["viewer", "admin"]
        assert [grant.granter for grant in first.grants] == ["usr_1", "usr_9"]
        assert [(g.user_id, list(g.rights)) for g in rest.grants] == [("usr_2", [READ, INSERT])]
        assert not rest.next_page_token
        assert await served.client("usr_3", "viewer").values(COUNT) == [(0,)]


async def test_one_grants_and_revokes_what_one_has(served: Served) -> None:
    owner, second = served.client(), served.client("usr_2")
    await give(owner, READ, GRANT, user_id="usr_2")
    await give(second, READ, user_id="usr_3")
    for call in (
        give(second, INSERT, user_id="usr_3"),
        give(second, READ, INSERT, user_id="usr_3"),
        take(second, INSERT, user_id="usr_3"),
        give(served.client("usr_3"), READ, user_id="usr_4"),
        listed(served.client("usr_3")),
    ):
        assert reason(await refused(call)) == "RIGHT_REQUIRED"
    for call in (
        give(served.client("usr_4"), READ, user_id="usr_4"),
        listed(served.client("usr_4")),
    ):
        assert reason(await refused(call)) == "TABLE_NOT_FOUND"
    await take(second, READ, user_id="usr_3")
    assert [grant.user_id for grant in (await listed(owner)).grants] == ["usr_2"]


async def test_owner_cannot_be_locked_out(served: Served) -> None:
    owner, second = served.client(), served.client("usr_2")
    await give(owner, *RIGHTS, user_id="usr_2")
    await take(second, *RIGHTS, user_id="usr_1")
    for right in RIGHTS:
        assert (await check(owner, right)).rule == Check.RULE_OWNER
    await take(owner, *RIGHTS, user_id="usr_2")
    assert not (await listed(owner)).grants


async def test_what_changes_nothing_leaves_no_trace(served: Served) -> None:
    owner = served.client()
    first = await give(owner, READ, user_id="usr_2")
    assert await give(owner, READ, user_id="usr_2") == first
    assert (await take(owner, INSERT, user_id="usr_2")).grant == first
    assert not (await take(owner, INSERT, role="viewer")).HasField("grant")
    kept = served.store.database.cursor().execute(
        "SELECT kind, table_name, subject, changes FROM catalog.table_events"
        " WHERE kind IN ('GRANTED', 'REVOKED') ORDER BY id"
    )
    assert kept.fetchall() == [("GRANTED", "flights", "usr_1", ["granted read to user usr_2"])]


async def test_check_names_the_rule_that_decides(served: Served) -> None:
    owner, second = served.client(), served.client("usr_2")
    await give(owner, READ, GRANT, user_id="usr_2")
    await give(owner, INSERT, role="viewer")
    by_role = Check(allowed=True, rule=Check.RULE_ROLE_GRANT, role="viewer")
    assert (await check(owner, READ)).rule == Check.RULE_OWNER
    assert (await check(second, READ, user_id="usr_2")).rule == Check.RULE_USER_GRANT
    assert await check(second, INSERT) == by_role
    assert await check(second, INSERT, user_id="usr_5", role="editor") == by_role
    assert await check(second, INSERT, user_id="usr_5") == Check(rule=Check.RULE_NONE)
    assert (await check(second, READ, user_id="usr_1")).rule == Check.RULE_OWNER
    admin = await check(second, READ, user_id="usr_5", role="admin")
    assert admin == Check(allowed=True, rule=Check.RULE_ADMINISTRATOR)
    assert not (await check(second, grant_pb2.RIGHT_ALTER)).allowed
    third = served.client("usr_3")
    assert not (await check(third, READ)).allowed
    assert reason(await refused(check(third, READ, user_id="usr_2"))) == "RIGHT_REQUIRED"
    assert reason(await refused(check(third, READ, role="admin"))) == "FIELDS_INVALID"


async def test_check_does_not_tell_of_tables_that_one_cannot_see(served: Served) -> None:
    stranger = served.client("usr_2")
    for fields in ({}, {"user_id": "usr_1"}):
        hidden = await refused(check(stranger, READ, **fields))
        missing = await refused(check(stranger, READ, "nowhere", **fields))
        assert reason(hidden) == reason(missing) == "TABLE_NOT_FOUND"
        assert str(missing.details()) == "no table 'nowhere'"
        assert str(hidden.details()) == "no table 'flights'"


async def test_service_namespaces_have_rules_and_no_grants(served: Served) -> None:
    service, admin = served.service("workflow"), served.client("usr_9", "admin")
    table = messages.CreateTableRequest()
    table.table.name, table.table.namespace = "events", "workflow"
    table.table.columns.append(column("id", Kind.KIND_INT64))
    await service.call(service.tables.CreateTable, table)
    events = "workflow.events"
    assert (await check(service, INSERT, events)).rule == Check.RULE_NAMESPACE
    assert (await check(service, INSERT, events, user_id="workflow")).rule == Check.RULE_NAMESPACE
    assert (await check(admin, READ, events)).rule == Check.RULE_ADMINISTRATOR
    assert (await check(admin, INSERT, events)).rule == Check.RULE_NONE
    assert (await check(service, READ, events, user_id="usr_1", role="admin")).allowed
    assert not (await check(service, READ, events, user_id="usr_1", role="editor")).allowed
    for call in (
        give(service, READ, table=events, user_id="usr_1"),
        give(admin, READ, table=events, user_id="usr_1"),
        check(served.client(), READ, events),
        check(served.service("auth"), READ, events),
    ):
        assert reason(await refused(call)) == "NAMESPACE_CLOSED"
    assert await admin.values("SELECT count(*) FROM workflow.events") == [(0,)]
    hidden = await refused(service.query(COUNT))
    assert reason(hidden) == "TABLE_NOT_FOUND"
    await give(served.client(), READ, user_id="workflow")
    assert await service.values(COUNT) == [(4,)]


async def test_list_holds_what_the_caller_may_see(served: Served) -> None:
    owner, second = served.client(), served.client("usr_2")
    await owner.create_table("notes", column("id", Kind.KIND_INT64))
    await give(owner, READ, table="notes", user_id="usr_2")
    await give(owner, INSERT, table="flights", user_id="usr_2")

    async def names(client: Client) -> list[str]:
        answer = await client.call(client.tables.ListTables, messages.ListTablesRequest())
        return [table.name for table in answer.tables]

    assert (
        await names(owner) == await names(served.client("usr_9", "admin")) == ["flights", "notes"]
    )
    assert await names(second) == ["flights", "notes"]
    assert await names(served.client("usr_3")) == []


async def test_who_may_alter_and_not_read_learns_no_values(served: Served) -> None:
    owner, second = served.client(), served.client("usr_2")
    await owner.import_file("flights", b"id,carrier\n101,UA\n102,SECRET\n")
    await give(owner, grant_pb2.RIGHT_ALTER, table="flights", user_id="usr_2")

    async def told(client: Client) -> str:
        error = await refused(client.call(client.tables.AlterTable, asked))
        assert reason(error) in ("MIGRATION_BLOCKED", "MIGRATION_LOSSY")
        return str(detail(error, error_details_pb2.BadRequest))

    for blocked, shown in ((retype("carrier", "INT32"), "SECRET"), (retype("id", "BOOL"), "102")):
        asked = messages.AlterTableRequest(table="flights", operations=[blocked])
        assert shown not in await told(second)
        assert shown in await told(owner)


@pytest.mark.parametrize(
    "operation",
    [
        add_check("carrier IS NULL"),
        retype("carrier", "STRING", using="CASE WHEN carrier = 'SECRET' THEN error('') END"),
        retype("id", "INT64", using="1"),
        add(a_column("extra", check="carrier IS NULL")),
    ],
    ids=["check", "value", "constant", "check of a column"],
)
@pytest.mark.parametrize("validate_only", [False, True])
async def test_altering_by_an_expression_takes_the_right_to_read(
    served: Served, operation: migration_pb2.SchemaOperation, validate_only: bool
) -> None:
    owner, second = served.client(), served.client("usr_2")
    await give(owner, grant_pb2.RIGHT_ALTER, table="flights", user_id="usr_2")
    asked = messages.AlterTableRequest(
        table="flights", operations=[operation], validate_only=validate_only
    )
    error = await refused(second.call(second.tables.AlterTable, asked))
    assert (error.code(), reason(error)) == (grpc.StatusCode.PERMISSION_DENIED, "RIGHT_REQUIRED")
    assert detail(error, error_details_pb2.ErrorInfo).metadata["right"] == "read"


async def test_who_may_write_and_not_read_learns_no_part_of_a_key_that_they_did_not_give(
    served: Served,
) -> None:
    owner, second = served.client(), served.client("usr_2")
    await owner.create_table(
        "seats",
        *(column(name, Kind.KIND_STRING) for name in ("code", "name", "seat")),
        keys=[["code"], ["name", "seat"]],
    )
    await owner.import_file("seats", b"code,name,seat\na,SECRET,1A\nb,SECRET,2B\n")
    for right in (grant_pb2.RIGHT_UPDATE, grant_pb2.RIGHT_INSERT):
        await give(owner, right, table="seats", user_id="usr_2")
    moved = one_row({"seat": "1A"})
    upserted = typed_rows(("code", "seat"), [("b", "1A")])
    by_ids = row_service_pb2.RowSelection(row_ids=[2])
    update = row_service_pb2.UpdateRowRequest(table="seats", row_id=2, values=moved)
    updates = row_service_pb2.UpdateRowsRequest(table="seats", selection=by_ids, values=moved)
    upsert = row_service_pb2.UpsertRowsRequest(table="seats", key="code", rows=upserted)
    for error in (
        await refused(second.call(second.rows.UpdateRow, update)),
        await refused(second.call(second.rows.UpdateRows, updates)),
        await refused(second.call(second.rows.UpsertRows, upsert)),
    ):
        assert reason(error) == "DUPLICATE_KEY"
        assert "SECRET" not in str(status_of(error))
        assert detail(error, error_details_pb2.ErrorInfo).metadata["key"] == "seat: 1A"
    upsert.error_mode = row_service_pb2.ERROR_MODE_PER_ROW
    [fault] = (await second.call(second.rows.UpsertRows, upsert)).errors
    assert (fault.message, fault.column) == ("row 0: a row of the table has seat: 1A", "")
