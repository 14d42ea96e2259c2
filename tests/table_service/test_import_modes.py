"""What becomes of a file's rows: new tables, upserts, replacements, defaults and constraints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest

from chassis.values import to_value
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import table_pb2
from tests.support.waiting import eventually_true
from tests.table_service.serving import (
    Client,
    Kind,
    Served,
    column,
    new_request_id,
    reason,
    refused,
    serving,
)
from tests.table_service.test_transfers import arrow_file, parquet_file, violations

Mode = messages.ImportHeader.Mode
Answer = messages.ImportRowsResponse
CSV = messages.FILE_FORMAT_CSV
PARQUET = messages.FILE_FORMAT_PARQUET
ARROW = messages.FILE_FORMAT_ARROW_IPC
JSON_LINES = messages.FILE_FORMAT_JSON_LINES


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        await served.client().create_table(
            "prices",
            column("sku", Kind.KIND_STRING, not_null=True),
            column("price", Kind.KIND_DECIMAL, precision=9, scale=2),
            column("note", Kind.KIND_STRING),
            keys=[["sku"]],
        )
        yield served
        await eventually_true(lambda: not list(served.store.spool.iterdir()))


async def load(
    client: Client, content: bytes, mode: Any, table: str = "prices", **header: Any
) -> list[Answer]:
    header.setdefault("format", CSV)
    return await client.import_answers(
        messages.ImportHeader(table=table, mode=mode, **header), content
    )


async def prices(client: Client) -> list[Any]:
    return await client.values("SELECT sku, price, note FROM prices ORDER BY sku")


async def stored_tables(served: Served) -> list[str]:
    sql = "SELECT table_name FROM duckdb_tables() WHERE schema_name IN ('main', 'datasets')"
    return await served.store.readers.read(
        lambda cursor: [name for (name,) in cursor.execute(sql).fetchall()]
    )


async def test_progress_is_told_until_it_is_done(served: Served) -> None:
    lines = b"".join(b"sku%07d,1.5,%s\n" % (n, b"x" * 80) for n in range(60_000))
    answers = await load(served.client(), b"sku,price,note\n" + lines, Mode.MODE_APPEND)
    phases = [answer.phase for answer in answers]
    assert phases[-2:] == [Answer.PHASE_LOADING, Answer.PHASE_DONE]
    assert set(phases[:-2]) == {Answer.PHASE_RECEIVING}
    told = [answer.file_bytes for answer in answers[:-2]]
    assert told == sorted(told)
    assert 3 <= len(told) <= 6
    assert answers[-1].row_count == 60_000
    assert answers[-1].file_bytes == len(lines) + 15


@pytest.mark.parametrize(
    ("file_format", "content"),
    [
        (CSV, b"sku,price\na,1.5\nb,\n"),
        (PARQUET, parquet_file({"sku": ["a", "b"], "price": [1.5, None]})),
        (ARROW, arrow_file({"sku": ["a", "b"], "price": [1.5, None]})),
        (JSON_LINES, b'{"sku": "a", "price": 1.5}\n{"sku": "b"}\n'),
    ],
)
async def test_new_table_is_made_of_what_the_file_holds(
    served: Served, file_format: Any, content: bytes
) -> None:
    client = served.client()
    [*_, done] = await load(client, content, Mode.MODE_CREATE, "made", format=file_format)
    assert done.row_count == 2
    assert await client.values("SELECT sku, price::DOUBLE FROM made ORDER BY sku") == [
        ("a", 1.5),
        ("b", None),
    ]
    # It is a table like any other.
    await client.import_file("made", b"sku\nc\n")
    row_ids = await client.values("SELECT _row_id FROM made ORDER BY _row_id")
    assert len({row_id for (row_id,) in row_ids}) == 3


async def test_new_table_has_the_columns_that_are_given(served: Served) -> None:
    client = served.client()
    columns = [
        table_pb2.Column(name="sku", type=table_pb2.Type(kind=Kind.KIND_STRING), unique=True),
        column("price", Kind.KIND_DECIMAL, precision=12, scale=4),
        table_pb2.Column(
            name="n",
            type=table_pb2.Type(kind=Kind.KIND_INT64),
            default=table_pb2.Default(function=table_pb2.Default.FUNCTION_SEQUENCE),
        ),
    ]
    await load(client, b"price,sku\n1.5,a\n2,b\n", Mode.MODE_CREATE, "made", columns=columns)
    assert await client.values("SELECT sku, price, n FROM made ORDER BY n") == [
        ("a", Decimal("1.5000"), 1),
        ("b", Decimal("2.0000"), 2),
    ]
    error = await refused(client.import_file("made", b"sku\na\n"))
    assert reason(error) == "DUPLICATE_KEY"
    await client.import_file("made", b"sku\nc\n")
    assert (await client.values("SELECT max(n) FROM made"))[0][0] > 2


async def test_new_table_has_the_checks_of_its_columns(served: Served) -> None:
    client = served.client()
    price = column("price", Kind.KIND_INT32)
    price.check = "price > 0"
    bad = b"price\n1\n-2\n"
    error = await refused(load(client, bad, Mode.MODE_CREATE, "made", columns=[price]))
    assert violations(error) == [("rows[2].price", "row 2 breaks check 'price_check': price > 0")]
    await load(client, b"price\n1\n", Mode.MODE_CREATE, "made", columns=[price])
    error = await refused(client.import_file("made", b"price\n-2\n"))
    assert reason(error) == "CHECK_FAILED"
    price.check = "price >"
    error = await refused(load(client, bad, Mode.MODE_CREATE, "other", columns=[price]))
    assert (reason(error), violations(error)[0][0]) == ("SQL_INVALID", "header.columns[0].check")


async def test_new_table_whose_name_is_taken_or_whose_rows_are_bad_is_not_made(
    served: Served,
) -> None:
    client = served.client()
    before = await stored_tables(served)
    error = await refused(load(client, b"a\n1\n", Mode.MODE_CREATE))
    assert (error.code(), reason(error)) == (grpc.StatusCode.ALREADY_EXISTS, "TABLE_EXISTS")
    columns = [table_pb2.Column(name="a", type=table_pb2.Type(kind=Kind.KIND_INT32), unique=True)]
    error = await refused(load(client, b"a\n1\nx\n1\n", Mode.MODE_CREATE, "made", columns=columns))
    assert violations(error) == [
        ("rows[2].a", "row 2, column 'a': 'x' is not an integer"),
        ("rows[3].a", "row 3: row 1 has a: 1 too"),
    ]
    error = await refused(load(client, b"a\n1\n", Mode.MODE_CREATE, "auth.users"))
    assert reason(error) == "NAMESPACE_CLOSED"
    error = await refused(
        load(client, b"a\n1\n", Mode.MODE_CREATE, "made", columns=[column("_a", Kind.KIND_INT32)])
    )
    assert (reason(error), violations(error)[0][0]) == ("SCHEMA_INVALID", "header.columns[0].name")
    assert await stored_tables(served) == before


async def test_two_new_tables_of_one_name_are_one(served: Served) -> None:
    client = served.client()
    before = await stored_tables(served)
    outcomes = await asyncio.gather(
        *(load(client, b"a\n%d\n" % n, Mode.MODE_CREATE, "made") for n in range(4)),
        return_exceptions=True,
    )
    errors = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
    assert [reason(error) for error in errors] == ["TABLE_EXISTS"] * 3
    assert await client.values("SELECT count(*) FROM made") == [(1,)]
    assert len(await stored_tables(served)) == len(before) + 1


async def test_upsert_creates_and_updates(served: Served) -> None:
    client = served.client()
    await client.import_file("prices", b"sku,price,note\na,1,old\nb,2,old\n")
    first = await client.values("SELECT _row_id, _version FROM prices WHERE sku = 'b'")
    [*_, done] = await load(client, b"sku,price\nc,3\nb,9\n", Mode.MODE_UPSERT, key="sku")
    assert (done.row_count, done.created_count) == (2, 1)
    assert await prices(client) == [
        ("a", Decimal("1.00"), "old"),
        ("b", Decimal("9.00"), "old"),
        ("c", Decimal("3.00"), None),
    ]
    [[row_id, version]] = first
    assert await client.values("SELECT _row_id, _version FROM prices WHERE sku = 'b'") == [
        (row_id, version + 1)
    ]


async def test_upsert_of_json_keeps_what_a_row_lacks_and_takes_null(served: Served) -> None:
    client = served.client()
    await client.import_file("prices", b"sku,price,note\na,1,old\nb,2,old\n")
    content = b'{"sku": "a", "price": 5}\n{"sku": "b", "note": null}\n{"sku": "c"}\n'
    [*_, done] = await load(client, content, Mode.MODE_UPSERT, key="sku", format=JSON_LINES)
    assert (done.row_count, done.created_count) == (3, 1)
    assert await prices(client) == [
        ("a", Decimal("5.00"), "old"),
        ("b", Decimal("2.00"), None),
        ("c", None, None),
    ]


async def test_upsert_refuses_keys_that_are_twice_in_the_file_or_not_in_it(served: Served) -> None:
    client = served.client()
    await client.import_file("prices", b"sku,price\na,1\n")
    error = await refused(
        load(client, b"sku,price\na,2\nb,3\na,4\nb,5\n", Mode.MODE_UPSERT, key="sku")
    )
    assert (error.code(), reason(error)) == (grpc.StatusCode.ALREADY_EXISTS, "DUPLICATE_KEY")
    assert violations(error) == [
        ("rows[3].sku", "row 3: row 1 has sku: a too"),
        ("rows[4].sku", "row 4: row 2 has sku: b too"),
    ]
    error = await refused(load(client, b"price\n2\n", Mode.MODE_UPSERT, key="sku"))
    assert reason(error) == "COLUMN_NOT_FOUND"
    error = await refused(load(client, b"sku\na\n", Mode.MODE_UPSERT, key="nope"))
    assert reason(error) == "KEY_NOT_FOUND"
    assert await prices(client) == [("a", Decimal("1.00"), None)]


async def test_replacement_takes_the_place_of_all_rows(served: Served) -> None:
    client = served.client()
    await client.import_file("prices", b"sku,price\na,1\nb,2\nc,3\n")
    [*_, done] = await load(client, b"sku,price\nb,7\nd,8\n", Mode.MODE_REPLACE)
    assert (done.row_count, done.replaced_count) == (2, 3)
    assert await prices(client) == [("b", Decimal("7.00"), None), ("d", Decimal("8.00"), None)]
    row_ids = await client.values("SELECT min(_row_id) FROM prices")
    assert row_ids[0][0] > 3
    [*_, done] = await load(client, b"sku,price\n", Mode.MODE_REPLACE)
    assert (done.row_count, done.replaced_count) == (0, 2)
    assert await prices(client) == []


async def test_replacement_that_fails_leaves_the_rows(served: Served) -> None:
    client = served.client()
    await client.import_file("prices", b"sku,price\na,1\n")
    before = await stored_tables(served)
    error = await refused(load(client, b"sku,price\nb,1\nb,x\na,1\n,1\n", Mode.MODE_REPLACE))
    assert violations(error) == [
        ("rows[2].price", "row 2, column 'price': 'x' is not a decimal number"),
        ("rows[4].sku", "row 4, column 'sku': null in a column that refuses it"),
    ]
    error = await refused(load(client, b"sku,price\nb,1\nb,2\na,1\n", Mode.MODE_REPLACE))
    assert violations(error) == [("rows[2].sku", "row 2: row 1 has sku: b too")]
    error = await refused(load(client, b"sku,price\nb,1\n,2\n", Mode.MODE_REPLACE))
    assert violations(error) == [
        ("rows[2].sku", "row 2, column 'sku': null in a column that refuses it")
    ]
    assert await prices(client) == [("a", Decimal("1.00"), None)]
    assert await stored_tables(served) == before


@pytest.mark.parametrize("mode", [Mode.MODE_UPSERT, Mode.MODE_REPLACE, Mode.MODE_CREATE])
async def test_same_request_id_loads_once(served: Served, mode: Any) -> None:
    client, id_ = served.client(), new_request_id()
    table = "made" if mode == Mode.MODE_CREATE else "prices"
    header = {"request_id": id_, "key": "sku" if mode == Mode.MODE_UPSERT else ""}
    [*_, first] = await load(client, b"sku,price\na,1\n", mode, table, **header)
    tables = await stored_tables(served)
    [*_, again] = await load(client, b"sku,price\na,1\n", mode, table, **header)
    assert first == again
    assert await client.values(f"SELECT count(*) FROM {table}") == [(1,)]
    assert await stored_tables(served) == tables


async def test_header_that_contradicts_itself_is_refused(served: Served) -> None:
    client = served.client()
    one = [column("a", Kind.KIND_INT32)]
    for header in (
        {"mode": Mode.MODE_UPSERT},
        {"mode": Mode.MODE_APPEND, "key": "sku"},
        {"mode": Mode.MODE_REPLACE, "columns": one},
        {"mode": Mode.MODE_APPEND, "format": PARQUET, "csv": messages.CsvOptions(delimiter=";")},
        {"mode": Mode.MODE_APPEND, "csv": messages.CsvOptions(delimiter="\n")},
    ):
        error = await refused(load(client, b"sku\na\n", **header))
        assert reason(error) == "FIELDS_INVALID"


async def test_rights_are_those_of_the_mode(served: Served) -> None:
    from flux.table.v1 import grant_pb2, table_service_pb2  # noqa: PLC0415

    owner, other = served.client(), served.client("usr_2")
    error = await refused(load(other, b"sku\na\n", Mode.MODE_APPEND))
    assert reason(error) == "TABLE_NOT_FOUND"
    await owner.call(
        owner.tables.GrantAccess,
        table_service_pb2.GrantAccessRequest(
            table="prices",
            grant=grant_pb2.Grant(user_id="usr_2", rights=[grant_pb2.RIGHT_INSERT]),
        ),
    )
    await load(other, b"sku\na\n", Mode.MODE_APPEND)
    for mode, key in ((Mode.MODE_UPSERT, "sku"), (Mode.MODE_REPLACE, "")):
        error = await refused(load(other, b"sku\nb\n", mode, key=key))
        assert reason(error) == "RIGHT_REQUIRED"


async def test_defaults_fill_what_a_file_lacks(served: Served) -> None:
    client = served.client()
    literal = table_pb2.Default(literal=to_value("new"))
    await client.create_table(
        "events",
        column("id", Kind.KIND_INT64),
        table_pb2.Column(
            name="state",
            type=table_pb2.Type(kind=Kind.KIND_STRING),
            not_null=True,
            default=literal,
        ),
        table_pb2.Column(
            name="made",
            type=table_pb2.Type(kind=Kind.KIND_TIMESTAMP),
            default=table_pb2.Default(function=table_pb2.Default.FUNCTION_NOW),
        ),
        table_pb2.Column(
            name="key",
            type=table_pb2.Type(kind=Kind.KIND_UUID),
            default=table_pb2.Default(function=table_pb2.Default.FUNCTION_UUID),
        ),
        table_pb2.Column(
            name="n",
            type=table_pb2.Type(kind=Kind.KIND_INT32),
            default=table_pb2.Default(function=table_pb2.Default.FUNCTION_SEQUENCE),
        ),
    )
    await client.import_file("events", b"id\n1\n2\n")
    await client.import_file("events", parquet_file({"id": [3, 4]}), PARQUET)
    content = b'{"id": 5}\n{"id": 6, "state": "old", "made": null}\n'
    await client.import_file("events", content, JSON_LINES)
    found = await client.values("SELECT id, state, made, key, n FROM events ORDER BY id")
    assert [state for _, state, _, _, _ in found] == ["new"] * 5 + ["old"]
    assert [at is None for _, _, at, _, _ in found] == [False] * 5 + [True]
    assert len({key for _, _, _, key, _ in found}) == 6
    numbers = [n for _, _, _, _, n in found]
    assert len(set(numbers)) == 6
    assert numbers[:2] == [1, 2]


async def test_columns_go_by_the_names_that_a_table_would_give_them(served: Served) -> None:
    client = served.client()
    await load(client, b" Unit Price ,_id,\n1,2,3\n", Mode.MODE_CREATE, "made")
    await client.import_file("made", b" Unit Price ,_id,\n4,5,6\n")
    found = await client.values('SELECT "Unit Price", id, column_3 FROM made ORDER BY id')
    assert found == [(1, 2, 3), (4, 5, 6)]
