"""Single rows read together: each caller gets the answer to its own call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from chassis.faults import Aborted, Fault, InvalidArgument, NotFound
from chassis.values import from_value, to_value
from flux.table.v1 import row_service_pb2, rows_pb2
from table_service.plain_rows import PlainRows
from table_service.store import Store
from table_service.store.point_reads import BATCH_ROWS_MAX, PointReads
from table_service.types import Column
from tests.table_service.serving import Client, Kind, Served, column, reason
from tests.table_service.stores import EVENTS, ITEMS, create, insert, opened

Encoding = rows_pb2.Rows.Encoding
ALL = [Encoding.ENCODING_TYPED, Encoding.ENCODING_JSON, Encoding.ENCODING_ARROW_IPC]


def shown(rows: pa.Table | PlainRows, columns: Sequence[Column]) -> list[str | Fault]:
    """Return each row as a text; one key is a fault, another a bug."""
    assert isinstance(rows, PlainRows)
    found: list[str | Fault] = []
    for row_id, version, key, size in zip(*rows.cells, strict=True):
        if key == "bug":
            raise ZeroDivisionError
        found.append(
            InvalidArgument("QUERY_FAILED", "too large")
            if key == "large"
            else f"{row_id} {version} {key} {size}"
        )
    return found


def opened_reads(store: Store) -> PointReads[str]:
    return PointReads(store.database)


async def test_each_call_gets_its_own_row_or_its_own_fault(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        create(store, ITEMS)
        keys = [f"k{at}" for at in range(1, 301)]
        keys[6], keys[9] = "bug", "large"
        await store.writer.submit(insert(*((key, at) for at, key in enumerate(keys, start=1))))
        reads = opened_reads(store)
        asked = [*range(1, 301), 5, 5, 1000, 0]
        assert len(asked) > BATCH_ROWS_MAX
        found = await asyncio.gather(
            *(reads.read(ITEMS, row_id, shown) for row_id in asked), return_exceptions=True
        )
        for row_id, outcome in zip(asked, found, strict=True):
            if row_id == 7:
                assert isinstance(outcome, ZeroDivisionError)
            elif row_id == 10:
                assert isinstance(outcome, InvalidArgument)
            elif row_id in (0, 1000):
                assert isinstance(outcome, NotFound)
                assert outcome.metadata["row_id"] == str(row_id)
            else:
                assert outcome == f"{row_id} 1 {keys[row_id - 1]} {row_id}"
        reads.close()


async def test_a_read_sees_what_was_answered_before_it(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        create(store, ITEMS)
        reads = opened_reads(store)

        async def write_and_read(at: int) -> None:
            [row_id] = eval(await store.writer.submit(insert((f"k{at}", at))))
            assert (await reads.read(ITEMS, row_id, shown)).endswith(f"k{at} {at}")

        await asyncio.gather(*(write_and_read(at) for at in range(40)))
        reads.close()


async def test_who_has_gone_is_not_answered_and_the_others_are(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        create(store, ITEMS)
        await store.writer.submit(insert(("a", 1), ("b", 2)))
        reads = opened_reads(store)
        calls = [asyncio.create_task(reads.read(ITEMS, row_id, shown)) for row_id in (1, 2)]
        await asyncio.sleep(0)
        calls[0].cancel()
        assert await calls[1] == "2 1 b 2"
        with pytest.raises(asyncio.CancelledError):
            await calls[0]
        reads.close()


async def test_a_table_whose_rows_have_another_place_is_said_to_have_changed(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as store:
        create(store, ITEMS)
        reads = opened_reads(store)
        with pytest.raises((Aborted, InvalidArgument)):
            await reads.read(EVENTS, 1, shown)
        await store.writer.submit(insert(("a", 1)))
        assert await reads.read(ITEMS, 1, shown) == "1 1 a 1"
        reads.close()


async def get(client: Client, table: str, row_id: int, encoding: Any) -> rows_pb2.Rows:
    request = row_service_pb2.GetRowRequest(table=table, row_id=row_id, encoding=encoding)
    answer = await client.call(client.rows.GetRow, request)
    rows: rows_pb2.Rows = answer.rows
    return rows


def values(rows: rows_pb2.Rows) -> list[object]:
    """Return the columns but the server's of the only row, whatever its encoding."""
    if rows.WhichOneof("encoded") == "typed":
        assert list(rows.typed.columns)[:2] == ["_row_id", "_version"]
        return [from_value(value) for value in rows.typed.rows[0].values[2:]]
    if rows.WhichOneof("encoded") == "json":
        fields = rows.json.rows[0].fields
        return [fields["number"].string_value, fields["text"].string_value]
    with pa.ipc.open_stream(rows.arrow_ipc) as reader:
        [row] = reader.read_all().to_pylist()
    return [row["number"], row["text"]]


@pytest.mark.parametrize("kind", [Kind.KIND_INT64, Kind.KIND_INT32, Kind.KIND_DATE])
async def test_rows_come_in_the_encoding_that_each_call_asks_for(served: Served, kind: Any) -> None:
    """The date has the long way: DuckDB's Python values are not its plain cells."""
    client = served.client()
    await client.create_table(
        "mixed",
        column("number", Kind.KIND_INT64),
        column("text", Kind.KIND_STRING),
        column("other", kind),
    )
    count = 30
    typed = rows_pb2.TypedRows(
        columns=["number", "text"],
        rows=[
            rows_pb2.TypedRow(values=[to_value(2**53 + at), to_value(f"text {at}\0")])
            for at in range(count)
        ],
    )
    await client.call(
        client.rows.InsertRows,
        row_service_pb2.InsertRowsRequest(table="mixed", rows=rows_pb2.Rows(typed=typed)),
    )
    asked = [(at, ALL[at % 3]) for at in range(count)]
    found = await asyncio.gather(
        *(get(client, "mixed", at + 1, encoding) for at, encoding in asked)
    )
    for (at, encoding), rows in zip(asked, found, strict=True):
        number: object = str(2**53 + at) if encoding == Encoding.ENCODING_JSON else 2**53 + at
        assert values(rows)[:2] == [number, f"text {at}\0"]
    with pytest.raises(Exception) as raised:  # noqa: PT011  # gRPC's, read below
        await get(client, "mixed", count + 1, Encoding.ENCODING_TYPED)
    assert reason(raised.value) == "ROW_NOT_FOUND"  # type: ignore[arg-type]  # it is gRPC's
