"""ListRows: every order page by page, while rows come and go; filters, columns and counts."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from chassis.scalars import Span
from chassis.tables import typed_rows
from chassis.values import from_value, to_value
from flux.table.v1 import row_service_pb2
from tests.table_service.row_calls import (
    TYPED,
    col,
    create,
    delete_rows,
    failure,
    insert,
    selection,
    table_rows,
    update_rows,
)
from tests.table_service.serving import Client, Kind, reason, serving

NAN, INFINITY = math.nan, math.inf
START = datetime(2026, 1, 1, tzinfo=UTC)
VALUES: dict[str, tuple[Any, Sequence[Any]]] = {
    "b": (Kind.KIND_BOOL, [True, False]),
    "i": (Kind.KIND_INT16, [-32768, 0, 7, 32767]),
    "h": (Kind.KIND_INT128, [2**127 - 1, -(2**127), 10, 9, 100]),
    "d": (Kind.KIND_DECIMAL, [Decimal("9.50"), Decimal("10.00"), Decimal("-1.25")]),
    "f": (Kind.KIND_FLOAT, [1.5, NAN, INFINITY, -INFINITY, 0.0, -0.0]),
    "g": (Kind.KIND_DOUBLE, [0.1, 1e300, NAN, INFINITY, -INFINITY, 0.0, -0.0, 5e-324]),
    "s": (Kind.KIND_STRING, ["", "a", "B", "é", "a\0b", "a\nb", "\\x41", "'", "zz"]),
    "y": (Kind.KIND_BYTES, [b"", b"\x00", b"\xff\\x", b"ab", b"'"]),
    "u": (Kind.KIND_UUID, [UUID(int=at << 100) for at in (0, 1, 2**27, 2**28 - 1)]),
    "a": (Kind.KIND_DATE, [date(1, 1, 1), date(9999, 12, 31), date(2026, 1, 1)]),
    "t": (Kind.KIND_TIME, [time(0), time(23, 59, 59, 999999), time(5, 1)]),
    "m": (
        Kind.KIND_TIMESTAMP,
        [START, START + timedelta(microseconds=1), datetime(1, 1, 1, tzinfo=UTC)],
    ),
    "l": (
        Kind.KIND_LOCAL_TIMESTAMP,
        [datetime.fromisoformat(text) for text in ("2026-01-01T02:00:00", "9999-12-31T23:00:00")],
    ),
    "v": (
        Kind.KIND_INTERVAL,
        [
            Span(months=1, days=0, microseconds=0),
            Span(months=0, days=30, microseconds=0),
            Span(months=-1, days=2, microseconds=-3),
            Span(months=0, days=0, microseconds=1),
        ],
    ),
    "e": (Kind.KIND_ENUM, ["small", "large", "huge"]),
}


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(tmp_path) as served:
        yield served.client()


async def create_things(client: Client, count: int) -> None:
    columns = [
        col(name, kind, labels=["small", "large", "huge"])
        if kind == Kind.KIND_ENUM
        else col(name, kind, scale=2)
        if kind == Kind.KIND_DECIMAL
        else col(name, kind)
        for name, (kind, _) in VALUES.items()
    ]
    await create(client, "things", *columns)
    await add_things(client, count, random.Random(7))


async def add_things(client: Client, count: int, chance: random.Random) -> list[int]:
    rows = [[chance.choice([*values, None]) for _, values in VALUES.values()] for _ in range(count)]
    request = row_service_pb2.InsertRowsRequest(
        table="things", rows=typed_rows(tuple(VALUES), rows)
    )
    return list((await client.call(client.rows.InsertRows, request)).row_ids)


async def paged(
    client: Client,
    between: Callable[[list[int]], Any] | None = None,
    *,
    page_size: int = 7,
    **fields: Any,
) -> list[int]:
    request = row_service_pb2.ListRowsRequest(
        table="things", encoding=TYPED, page_size=page_size, **fields
    )
    seen: list[int] = []
    while True:
        answer = await client.call(client.rows.ListRows, request)
        assert len(answer.rows.typed.rows) <= page_size
        seen += [row.values[0].int64 for row in answer.rows.typed.rows]
        if not answer.next_page_token:
            return seen
        request.page_token = answer.next_page_token
        if between is not None:
            await between(seen)


async def test_pages_put_together_are_the_whole_in_every_order(client: Client) -> None:
    await create_things(client, 60)
    orders = [f"{name}{way}" for name in VALUES for way in ("", " desc")]
    orders += [
        "b, e desc, g",
        "f desc, i",
        "s, y desc, _row_id desc",
        "_row_id desc",
        "_version, b",
    ]
    for order in orders:
        whole = await paged(client, page_size=1000, order_by=order)
        assert len(whole) == len(set(whole)) == 60
        assert await paged(client, order_by=order) == whole, order


async def test_null_is_last_and_first_downwards_and_row_ids_break_ties(client: Client) -> None:
    await create(
        client, "t", col("n", Kind.KIND_INT32), col("e", Kind.KIND_ENUM, labels=["z", "a"])
    )
    rows = [(2, "a"), (None, "z"), (1, None), (2, "z"), (None, "a")]
    await insert(client, "t", *[{"n": n, "e": e} for n, e in rows])
    assert await table_rows(client, "t", order_by="n") == [
        (1, None),
        (2, "a"),
        (2, "z"),
        (None, "z"),
        (None, "a"),
    ]
    assert await table_rows(client, "t", order_by="n desc") == [
        (None, "z"),
        (None, "a"),
        (2, "a"),
        (2, "z"),
        (1, None),
    ]
    # An enum is ordered as its labels are.
    assert await table_rows(client, "t", order_by="e, n") == [
        (2, "z"),
        (None, "z"),
        (2, "a"),
        (None, "a"),
        (1, None),
    ]


@pytest.mark.parametrize("order", ["", "g desc, e", "s", "v desc", "h, b desc"])
async def test_rows_that_come_and_go_move_no_others(client: Client, order: str) -> None:
    await create_things(client, 40)
    chance, new, gone = random.Random(3), set[int](), set[int]()

    async def between(seen: list[int]) -> None:
        new.update(await add_things(client, 3, chance))
        # Also the row where the page ended, and one that was not seen yet.
        unseen = [id_ for id_ in range(1, 41) if id_ not in seen and id_ not in gone]
        for row_id in {seen[-1], *unseen[:1]} - gone:
            gone.add(row_id)
            await delete_rows(client, "things", selection(row_ids=[row_id]))

    before = await paged(client, page_size=1000, order_by=order)
    seen = await paged(client, between, order_by=order)
    assert len(seen) == len(set(seen))
    old = [row_id for row_id in seen if row_id not in new]
    assert old == [row_id for row_id in before if row_id in set(old)]
    assert set(before) - set(seen) <= gone


async def test_a_long_value_does_not_have_to_fit_into_a_token(client: Client) -> None:
    await create(client, "things", col("s", Kind.KIND_STRING))
    await insert(client, "things", *[{"s": "long" * 1000 + str(at % 3)} for at in range(9)])
    whole = await paged(client, page_size=1000, order_by="s")
    assert await paged(client, page_size=2, order_by="s") == whole
    request = row_service_pb2.ListRowsRequest(
        table="things", encoding=TYPED, page_size=2, order_by="s"
    )
    answer = await client.call(client.rows.ListRows, request)
    request.page_token = answer.next_page_token
    last = answer.rows.typed.rows[-1].values[0].int64
    await update_rows(client, "things", selection(row_ids=[last]), values={"s": "other"})
    error = await failure(client.call(client.rows.ListRows, request))
    assert (error.code().name, reason(error)) == ("OUT_OF_RANGE", "PAGE_TOKEN_INVALID")


async def test_a_filter_and_an_order_go_together(client: Client) -> None:
    await create_things(client, 50)
    whole = await paged(client, page_size=1000, order_by="g desc", filter="i > 0 OR b")
    for written, parameters in (
        ("i > $After_0 OR b", {"after_0": 0}),
        ("i > ? OR b", {"1": 0}),
        ("i > $1 OR b = $2", {"1": 0, "2": True}),
    ):
        bound = {name: to_value(value) for name, value in parameters.items()}
        assert await paged(client, order_by="g desc", filter=written, parameters=bound) == whole


async def test_all_rows_are_counted_when_asked(client: Client) -> None:
    await create_things(client, 30)
    request = row_service_pb2.ListRowsRequest(table="things", page_size=4, filter="b", count=True)
    answer = await client.call(client.rows.ListRows, request)
    assert answer.total_count == len(await paged(client, filter="b"))
    request.page_token, request.count = answer.next_page_token, False
    assert not (await client.call(client.rows.ListRows, request)).HasField("total_count")


async def test_chosen_columns_come_in_their_order(client: Client) -> None:
    await create_things(client, 3)
    request = row_service_pb2.ListRowsRequest(
        table="things", columns=["s", "b"], order_by="g", encoding=TYPED
    )
    answer = await client.call(client.rows.ListRows, request)
    assert list(answer.rows.typed.columns) == ["_row_id", "_version", "s", "b"]
    request.columns.append("nope")
    assert reason(await failure(client.call(client.rows.ListRows, request))) == "COLUMN_NOT_FOUND"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("doc", "FIELDS_INVALID"),
        ("many desc", "FIELDS_INVALID"),
        ("parts", "FIELDS_INVALID"),
        ("nope", "COLUMN_NOT_FOUND"),
        ("a,", "FIELDS_INVALID"),
    ],
)
async def test_what_has_no_order_is_refused_by_name(
    client: Client, order: str, expected: str
) -> None:
    many = col("many", Kind.KIND_LIST)
    many.type.element.kind = Kind.KIND_INT64
    parts = col("parts", Kind.KIND_STRUCT)
    parts.type.fields.add(name="x").type.kind = Kind.KIND_INT64
    await create(
        client, "things", col("a", Kind.KIND_INT64), col("doc", Kind.KIND_JSON), many, parts
    )
    error = await failure(paged(client, order_by=order))
    assert reason(error) == expected
    assert order.split(maxsplit=1)[0].strip(",") in (error.details() or "")


async def test_a_token_belongs_to_its_request(client: Client) -> None:
    await create_things(client, 10)
    request = row_service_pb2.ListRowsRequest(table="things", page_size=3, order_by="g")
    token = (await client.call(client.rows.ListRows, request)).next_page_token
    for change in (
        {"order_by": "g desc"},
        {"filter": "true"},
        {"columns": ["g"]},
        {"order_by": ""},
    ):
        other = row_service_pb2.ListRowsRequest(table="things", page_size=3, order_by="g")
        other.page_token = token
        other.MergeFrom(row_service_pb2.ListRowsRequest(**change))
        if "order_by" in change:
            other.order_by = str(change["order_by"])
        assert (
            reason(await failure(client.call(client.rows.ListRows, other))) == "PAGE_TOKEN_INVALID"
        )
    request.page_token, request.page_size = token, 100
    assert len((await client.call(client.rows.ListRows, request)).rows.json.rows) == 7


async def test_large_rows_come_on_smaller_pages(client: Client) -> None:
    await create(client, "things", col("s", Kind.KIND_STRING))
    for _ in range(6):
        await insert(client, "things", {"s": "x" * 3_000_000})
    request = row_service_pb2.ListRowsRequest(table="things", encoding=TYPED, order_by="s desc")
    answer = await client.call(client.rows.ListRows, request)
    assert 0 < len(answer.rows.typed.rows) < 6
    assert [from_value(row.values[0]) for row in answer.rows.typed.rows] == [1, 2, 3]
    request.page_token = answer.next_page_token
    answer = await client.call(client.rows.ListRows, request)
    assert [from_value(row.values[0]) for row in answer.rows.typed.rows] == [4, 5, 6]
