"""Plans of migrations: what stands against an operation and what it loses, said with numbers and samples."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

from flux.table.v1 import table_pb2
from tests.table_service.schema_calls import (
    a_column,
    add,
    add_check,
    add_key,
    alter,
    create,
    drop,
    drop_check,
    drop_key,
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
)
from tests.table_service.serving import Client, Served, detail, reason, refused, serving

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as plain:
        yield plain


async def with_values(client: Client, column: table_pb2.Column, values: Sequence[object]) -> None:
    """Create the table `t` with one column of these values, row ids from 1."""
    await create(client, "t", column)
    await insert(client, "t", [column.name], *([value] for value in values))


def obstacles(answer: Any) -> list[tuple[int, str, int, dict[int, str]]]:
    return [
        (o.operation, o.description, o.row_count, {s.row_id: s.value for s in o.samples})
        for o in answer.plan.obstacles
    ]


def violations(error: Any) -> list[tuple[str, str]]:
    found = detail(error, error_details_pb2.BadRequest).field_violations
    return [(violation.field, violation.description) for violation in found]


async def test_plan_counts_all_and_shows_ten(plain: Served) -> None:
    client = plain.client()
    await with_values(client, a_column("a", "STRING"), [f"{n}x" for n in range(25)] + ["7", None])
    told = await alter(client, "t", retype("a", "INT64"), validate_only=True)
    [(operation, description, count, samples)] = obstacles(told)
    assert (operation, count) == (0, 25)
    assert description == "25 values of column 'a' cannot become INT64"
    assert samples == {at + 1: f"{at}x" for at in range(10)}
    assert told.plan.row_count == 27
    error = await refused(alter(client, "t", retype("a", "INT64"), allow_loss=True))
    assert reason(error) == "MIGRATION_BLOCKED"
    assert violations(error)[0][0] == "operations[0]"
    assert "row 1: 0x; row 2: 1x" in violations(error)[0][1]


async def test_obstacles_of_all_operations_are_told_at_once(plain: Served) -> None:
    client = plain.client()
    await create(client, "t", a_column("a", "STRING"), a_column("b"), a_column("c", "STRING"))
    rows: list[list[object]] = [["1", 1, "x"], ["z", None, "x"], ["3", 1, None]]
    await insert(client, "t", ["a", "b", "c"], *rows)
    told = await alter(
        client,
        "t",
        retype("a", "INT16"),
        set_not_null("b"),
        rename("b", "B2"),
        add_key("c"),
        add_check("B2 > 1", name="big"),
        add(a_column("d", not_null=True)),
        add_key("B2", name="b"),
        validate_only=True,
    )
    assert obstacles(told) == [
        (0, "1 value of column 'a' cannot become INT16", 1, {2: "z"}),
        (1, "1 row has null in column 'B2', which refuses it", 1, {2: "null"}),
        (3, "2 rows have the same c as another", 2, {1: "c: x", 2: "c: x"}),
        (4, "2 rows break check 'big': B2 > 1", 2, {1: "B2: 1", 3: "B2: 1"}),
        (
            5,
            "3 rows have null in column 'd', which refuses it",
            3,
            {1: "null", 2: "null", 3: "null"},
        ),
        (6, "2 rows have the same B2 as another", 2, {1: "B2: 1", 3: "B2: 1"}),
    ]


DECIMAL = {"precision": 9, "scale": 2}
TO_DECIMAL = of_type("DECIMAL", **DECIMAL)
LOSSES: list[tuple[table_pb2.Type, Sequence[object], str, dict[str, Any], list[str]]] = [
    (of_type("DOUBLE"), [1.0, 1.5, None], "INT32", {}, ["1.5 becomes 2"]),
    (of_type("DOUBLE"), [0.1, 2.0**-30], "FLOAT", {}, ["0.1 becomes 0.1"]),
    (of_type("DOUBLE"), [0.1, 0.125], "DECIMAL", DECIMAL, ["0.125 becomes 0.13"]),
    (of_type("INT64"), [2**53, 2**53 + 1], "DOUBLE", {}, ["9007199254740993 becomes"]),
    (of_type("INT64"), [0, 1, 5], "BOOL", {}, ["5 becomes true"]),
    (of_type("INT64"), [1, -5], "STRING", {}, []),
    (TO_DECIMAL, [Decimal("1.50"), Decimal("2.00")], "INT16", {}, ["1.50 becomes 2"]),
    (of_type("STRING"), ["12", " 5", "007", "1.5"], "INT64", {}, [" 5 b", "007 b", "1.5 b"]),
    (of_type("STRING"), ["true", "F", "1"], "BOOL", {}, []),
    (of_type("STRING"), ["2026-01-01T12:00:00Z", "2026-01-01"], "TIMESTAMP", {}, []),
    (
        of_type("STRING"),
        ["2026-01-01 00:00:00.1234567", "2026-01-01 00:00:00.1234560"],
        "LOCAL_TIMESTAMP",
        {},
        ["2026-01-01 00:00:00.1234567 b"],
    ),
    (of_type("STRING"), ["2026-01-01", "2026-01-02 10:00"], "DATE", {}, ["2026-01-02 10:00 b"]),
    (of_type("STRING"), ["b", "a"], "ENUM", {"labels": ["a", "b"]}, []),
    (of_type("TIMESTAMP"), [NOON], "DATE", {}, ["2026-01-01 12:00:00+00 becomes 2026-01-01"]),
    (of_type("DATE"), [date(2026, 1, 1)], "TIMESTAMP", {}, []),
    (of_type("LIST", element=of_type("DOUBLE")), [[1.0], [1.0, 2.5]], "LIST", {}, ["[1.0, 2.5] b"]),
]


@pytest.mark.parametrize(("before", "values", "kind", "parameters", "told"), LOSSES)
async def test_values_that_a_cast_would_change_are_a_loss(
    plain: Served,
    before: table_pb2.Type,
    values: Sequence[object],
    kind: str,
    parameters: dict[str, Any],
    told: list[str],
) -> None:
    client = plain.client()
    await with_values(client, a_column("a", type=before), values)
    if kind == "LIST":
        parameters = {"element": of_type("INT64")}
    operation = retype("a", kind, **parameters)
    plan = await alter(client, "t", operation, validate_only=True)
    found = [text for _, _, _, samples in obstacles(plan) for text in samples.values()]
    assert len(found) == len(told)
    assert all(text.startswith(start) for text, start in zip(found, told, strict=True))
    if not told:
        assert plan.plan.steps[0].loss == ""
        await alter(client, "t", operation)
        return
    error = await refused(alter(client, "t", operation))
    assert reason(error) == "MIGRATION_LOSSY"
    done = await alter(client, "t", operation, allow_loss=True)
    assert done.plan.steps[0].loss.endswith("of column 'a' would change")
    assert not done.plan.obstacles


async def test_values_that_fit_no_longer_stand_in_the_way(plain: Served) -> None:
    client = plain.client()
    await with_values(client, a_column("a", "ENUM", type=of_type("ENUM", labels=["x", "y"])), "xyx")
    told = await alter(client, "t", retype("a", "ENUM", labels=["y", "z"]), validate_only=True)
    assert obstacles(told)[0][2:] == (2, {1: "x", 3: "x"})
    told = await alter(client, "t", retype("a", "DATE"), validate_only=True)
    assert obstacles(told)[0][2] == 3


async def test_expression_that_fails_for_some_rows_is_an_obstacle(plain: Served) -> None:
    client = plain.client()
    await with_values(client, a_column("a", "STRING"), ["5", "x", None, "0"])
    operation = retype("a", "DOUBLE", using="10 / CAST(a AS INTEGER)")
    told = await alter(client, "t", operation, validate_only=True)
    assert obstacles(told) == [(0, "1 value of column 'a' cannot become DOUBLE", 1, {2: "x"})]
    error = await refused(alter(client, "t", operation))
    assert reason(error) == "MIGRATION_BLOCKED"


@pytest.mark.parametrize(
    ("using", "why"),
    [
        ("random()", "SQL_REFUSED"),
        ("$x", "SQL_REFUSED"),
        ("nope", "SQL_INVALID"),
        ("(SELECT max(a) FROM t)", "SQL_REFUSED"),
        ("a +", "SQL_INVALID"),
        ("lower(a, 1)", "SQL_INVALID"),
    ],
)
async def test_expression_that_is_none_is_refused_by_its_path(
    plain: Served, using: str, why: str
) -> None:
    client = plain.client()
    await with_values(client, a_column("a", "STRING"), ["1"])
    error = await refused(alter(client, "t", rename("a", "a2"), retype("a2", "INT64", using=using)))
    assert (reason(error), violations(error)[0][0]) == (why, "operations[1].retype_column.using")


async def test_expression_over_what_another_made_is_refused(plain: Served) -> None:
    client = plain.client()
    await create(client, "t", a_column("a", "STRING"), a_column("b", "STRING"))
    await insert(client, "t", ["a", "b"], ["x", "y"])
    doubled, renamed = retype("a", "STRING", using="a || b"), rename("a", "c")
    for operations in (
        [doubled, doubled],
        [doubled, retype("b", "STRING", using="a")],
        [doubled, renamed, retype("c", "STRING", using="c || c")],
    ):
        [(path, why)] = violations(await refused(alter(client, "t", *operations)))
        assert path == f"operations[{len(operations) - 1}].retype_column.using"
        assert "one expression, or two requests" in why
    # Neither is over what the other made, and a cast of what an expression made is no expression.
    await alter(
        client, "t", retype("a", "INT64", using="length(a)"), retype("b", "INT64", using="9")
    )
    await alter(client, "t", retype("a", "INT64", using="a + b"), retype("a", "STRING"))
    assert await client.values("SELECT a, b FROM t") == [("10", 9)]


async def test_check_must_hold_for_what_a_retype_makes(plain: Served) -> None:
    client = plain.client()
    await create(client, "t", a_column("a", "DOUBLE", check="a < 2"), a_column("b", unique=True))
    await insert(client, "t", ["a", "b"], [1.9, 1], [0.1, 2])
    operations = [retype("a", "INT64"), retype("b", "INT64", using="1")]
    told = await alter(client, "t", *operations, validate_only=True, allow_loss=True)
    assert [(at, count) for at, _, count, _ in obstacles(told)] == [(0, 1), (1, 2)]
    error = await refused(alter(client, "t", retype("a", "STRING")))
    assert (reason(error), violations(error)[0][0]) == (
        "SQL_INVALID",
        "operations[0].retype_column.type",
    )


async def test_sequence_that_cannot_count_the_rows_is_an_obstacle(plain: Served) -> None:
    client = plain.client()
    await create(client, "t", a_column("a"))
    lines = b"a\n" + b"".join(b"%d\n" % at for at in range(32_769))
    await client.import_file("t", lines)
    column = a_column("n", "INT16", default=function("SEQUENCE"))
    told = await alter(client, "t", add(column), validate_only=True)
    assert obstacles(told) == [(0, "32769 rows, but column 'n' counts to 32767", 2, {})]


REFUSED: list[tuple[Any, str]] = [
    (add(a_column("A")), "add_column.column.name"),
    (add(a_column("_x")), "add_column.column.name"),
    (add(a_column("x", default=literal("y"))), "add_column.column.default.literal"),
    (add(a_column("x", type=of_type("LIST"))), "add_column.column.type"),
    (add(a_column("x"), after="nope"), "add_column.after"),
    (add(a_column("x", check="y > 0")), "add_column.column.check"),
    (add(a_column("x", "JSON", unique=True)), "add_column.column.unique.columns[0]"),
    (drop("nope"), "drop_column.column"),
    (drop("a"), "drop_column.column"),
    (rename("nope", "b"), "rename_column.column"),
    (rename("a", "_b"), "rename_column.new_name"),
    (retype("nope", "INT64"), "retype_column.column"),
    (retype("a", "MAP"), "retype_column.type"),
    (retype("a", "JSON"), "retype_column.type"),
    (set_default("a", function("UUID")), "set_default.default.function"),
    (set_default("nope", None), "drop_default.column"),
    (set_not_null("nope"), "set_not_null.column"),
    (set_not_null("nope", not_null=False), "drop_not_null.column"),
    (add_key("a"), "add_unique_key.key"),
    (add_check("a > 0", name="c"), "add_check.check.name"),
    (add_check("b > 0"), "add_check.check.expression"),
    (drop_key("k"), "drop_unique_key.name"),
    (drop_check("k"), "drop_check.name"),
    (reorder("b"), "reorder_columns.columns[0]"),
]


async def test_operation_that_cannot_be_is_refused_by_its_path(plain: Served) -> None:
    client = plain.client()
    checks = [table_pb2.Check(name="c", expression="a > 0")]
    before = await create(client, "t", a_column("a", unique=True), checks=checks)
    for operation, path in REFUSED:
        error = await refused(alter(client, "t", operation))
        assert violations(error)[0][0] == f"operations[0].{path}"
    assert await get(client, "t") == before


async def test_missing_rule_and_half_an_order_are_refused(plain: Served) -> None:
    client = plain.client()
    await create(client, "t", a_column("a"), a_column("b", default=literal(None)))
    error = await refused(alter(client, "t", reorder("b")))
    assert violations(error) == [
        ("operations[0].reorder_columns.columns", "every column has a place; 'a' has none")
    ]
    error = await refused(alter(client, "t", set_not_null("b")))
    assert violations(error)[0][0] == "operations[0].set_not_null.column.literal"
