"""Defaults of every type, whichever way rows come in."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest_asyncio

from chassis.scalars import Json, Span
from chassis.tables import typed_rows
from chassis.values import to_value
from flux.table.v1 import row_service_pb2, table_pb2
from tests.table_service import row_calls as calls
from tests.table_service.row_calls import NOW, PER_ROW, SEQUENCE, Mutation, col
from tests.table_service.serving import Client, Kind, create_dataset, serving

LITERALS: dict[str, tuple[Any, object]] = {
    "bool": (Kind.KIND_BOOL, False),
    "small": (Kind.KIND_INT16, -7),
    "huge": (Kind.KIND_INT128, -(2**127)),
    "price": (Kind.KIND_DECIMAL, Decimal("12.50")),
    "float": (Kind.KIND_FLOAT, 0.25),
    "double": (Kind.KIND_DOUBLE, math.inf),
    "text": (Kind.KIND_STRING, 'it\'s\0\n"é"'),
    "bytes": (Kind.KIND_BYTES, b"\x00\\x'\xff"),
    "id": (Kind.KIND_UUID, UUID(int=7)),
    "day": (Kind.KIND_DATE, date(9999, 12, 31)),
    "time": (Kind.KIND_TIME, time(23, 59, 59, 999999)),
    "moment": (Kind.KIND_TIMESTAMP, datetime(1, 1, 1, tzinfo=UTC)),
    "local": (Kind.KIND_LOCAL_TIMESTAMP, datetime.fromisoformat("2026-01-01T02:03:04.000005")),
    "span": (Kind.KIND_INTERVAL, Span(months=1, days=-2, microseconds=3)),
    "doc": (Kind.KIND_JSON, Json('{"a": [1, null]}')),
    "size": (Kind.KIND_ENUM, "large"),
}
EXPECTED = tuple(literal for _, literal in LITERALS.values())


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(tmp_path) as served:
        editor = served.client()
        many = table_pb2.Column(name="many")
        many.type.kind, many.type.element.kind = Kind.KIND_LIST, Kind.KIND_STRING
        many.default.literal.CopyFrom(to_value(["a", None, "b'"]))
        await calls.create(
            editor,
            "t",
            col("a", Kind.KIND_INT64),
            *(
                col(
                    name,
                    kind,
                    default=literal,
                    labels=["small", "large"] if kind == Kind.KIND_ENUM else [],
                    scale=2 if kind == Kind.KIND_DECIMAL else 0,
                )
                for name, (kind, literal) in LITERALS.items()
            ),
            many,
            col("made", Kind.KIND_TIMESTAMP, made=NOW),
            col("number", Kind.KIND_INT128, made=SEQUENCE),
            col("key", Kind.KIND_UUID, made=calls.UUID),
            keys={"a": ["a"], "number": ["number"]},
        )
        yield editor


async def check(client: Client, count: int) -> None:
    rows = await calls.table_rows(client, "t")
    assert [row[0] for row in rows] == list(range(count))
    for row in rows:
        assert row[1:-4] == EXPECTED
        assert row[-4] == ["a", None, "b'"]
        assert isinstance(row[-3], datetime)
    assert len({row[-2] for row in rows}) == len({row[-1] for row in rows}) == count


async def test_rows_get_every_default_whichever_way_they_come(client: Client) -> None:
    request = row_service_pb2.InsertRowsRequest(table="t", rows=typed_rows(("a",), [(0,), (1,)]))
    await client.call(client.rows.InsertRows, request)
    await calls.insert(client, "t", {"a": 2}, {"a": 3}, {"a": 3}, error_mode=PER_ROW)
    await calls.upsert(client, "t", "a", {"a": 3}, {"a": 4})
    await calls.upsert(client, "t", "a", {"a": 5}, {"a": 4}, error_mode=PER_ROW)
    id_ = (await create_dataset(client, "SELECT range + 6 AS a FROM range(3)")).dataset.id
    await calls.transact(client, Mutation(insert=Mutation.Insert(table="t", dataset_id=id_)))
    id_ = (await create_dataset(client, "SELECT range + 8 AS a FROM range(2)")).dataset.id
    upsert = Mutation.Upsert(table="t", key_columns=["a"], dataset_id=id_)
    await calls.transact(client, Mutation(upsert=upsert))
    await check(client, 10)


async def test_a_column_that_only_some_rows_lack_is_filled_there(client: Client) -> None:
    other: dict[str, object] = {
        "text": "other",
        "many": [],
        "size": "small",
        "number": "77",
        "doc": None,
    }
    for mode in (0, PER_ROW):
        await calls.insert(
            client, "t", {"a": mode * 10}, {"a": mode * 10 + 1, **other}, error_mode=mode
        )
        other["number"] = "78"
    rows = await calls.table_rows(client, "t", "text", "many", "size", "doc")
    default = (LITERALS["text"][1], ["a", None, "b'"], "large", Json('{"a": [1, null]}'))
    assert rows == [default, ("other", [], "small", None)] * 2


async def test_a_large_transaction_is_read_beside_other_calls(client: Client) -> None:
    rows = [{"a": at} for at in range(600)]
    mutation = Mutation(insert=Mutation.Insert(table="t", rows=calls.json_rows(*rows)))
    [result] = await calls.transact(client, mutation)
    assert list(result.row_ids) == list(range(1, 601))
    await check(client, 600)
