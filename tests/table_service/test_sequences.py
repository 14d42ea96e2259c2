"""Numbers of sequences: none is given twice, and none is lost to what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chassis.tables import typed_rows
from flux.table.v1 import row_service_pb2
from tests.table_service.row_calls import (
    PER_ROW,
    SEQUENCE,
    Mutation,
    col,
    create,
    failure,
    insert,
    row_errors,
    table_rows,
    transact,
)
from tests.table_service.serving import Client, Kind, reason, serving

# What a column of 16 bits counts to.
LARGEST = 32_767


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(tmp_path) as served:
        editor = served.client()
        columns = [col("a", Kind.KIND_INT32), col("n", Kind.KIND_INT16, made=SEQUENCE)]
        await create(editor, "t", *columns, keys={"a": ["a"]})
        yield editor


async def numbers(client: Client) -> list[object]:
    return [row[0] for row in await table_rows(client, "t", "n")]


def lines(count: int) -> bytes:
    return b"a\n" + b"".join(b"%d\n" % (at + 10) for at in range(count))


async def test_rows_past_the_last_number_are_refused_and_take_none(client: Client) -> None:
    await insert(client, "t", {"a": 1})
    error = await failure(client.import_file("t", lines(LARGEST)))
    assert reason(error) == "ROW_INVALID"
    assert "its sequence would come to 32768" in (error.details() or "")
    rows = typed_rows(("a",), [(at + 10,) for at in range(LARGEST)])
    error = await failure(transact(client, Mutation(insert=Mutation.Insert(table="t", rows=rows))))
    assert reason(error) == "ROW_INVALID"
    await insert(client, "t", {"a": 2})
    assert await numbers(client) == [1, 2]
    await client.import_file("t", lines(LARGEST - 2))
    assert reason(await failure(insert(client, "t", {"a": 3}))) == "ROW_INVALID"
    assert await client.values("SELECT max(n) FROM t") == [(LARGEST,)]


async def test_what_fails_gives_its_numbers_back(client: Client) -> None:
    await insert(client, "t", {"a": 1})
    for _ in range(3):
        error = await failure(insert(client, "t", {"a": 2}, {"a": 1}))
        assert reason(error) == "DUPLICATE_KEY"
    await insert(client, "t", {"a": 2})
    assert await numbers(client) == [1, 2]


async def test_rows_that_stand_alone_take_numbers_if_they_are_written(client: Client) -> None:
    answer = await insert(
        client, "t", *({"a": at if at > 990 else "x"} for at in range(1_000)), error_mode=PER_ROW
    )
    assert len(row_errors(answer)) == 991
    assert await numbers(client) == list(range(1, 10))


async def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as served:
        await create(served.client(), "t", col("n", Kind.KIND_INT16, made=SEQUENCE))
        empty = row_service_pb2.FILE_FORMAT_JSON_LINES
        await served.client().import_file("t", b"{}\n" * 3, empty)
    async with serving(tmp_path / "s") as served:
        await served.client().import_file("t", b"{}\n", empty)
        assert await numbers(served.client()) == [1, 2, 3, 4]
