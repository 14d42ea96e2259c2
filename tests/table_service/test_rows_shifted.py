"""Changes after which rows have the keys that others had before: right, in whatever order DuckDB does them.

DuckDB changes 2,048 rows at a time and looks at the keys after each, so the tables here are larger.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chassis.tables import typed_rows
from flux.table.v1 import row_service_pb2 as messages
from tests.table_service.row_calls import (
    SEQUENCE,
    Mutation,
    col,
    create,
    failure,
    row_errors,
    selection,
    transact,
    update_rows,
    upsert,
)
from tests.table_service.serving import Client, Kind, create_dataset, reason, serving

COUNT = 5_000


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(tmp_path) as served:
        editor = served.client()
        await create(
            editor,
            "queue",
            col("name", Kind.KIND_INT64),
            col("place", Kind.KIND_INT64),
            col("note", Kind.KIND_STRING),
            keys={"name": ["name"], "place": ["place"]},
            checks={"there": f"place <= {COUNT}"},
        )
        lines = "".join(f"{at},{at},kept\n" for at in range(COUNT))
        await editor.import_file("queue", f"name,place,note\n{lines}".encode())
        yield editor


async def shifted(client: Client, *, added: int = 0) -> bool:
    """Return whether every row has moved up by one place, and is otherwise as it was."""
    rows = await client.values("SELECT name, place, note, _version FROM queue ORDER BY _row_id")
    moved = [(at, at + 1, "kept", 2) for at in range(COUNT)]
    return bool(rows == moved + [(COUNT, 0, None, 1)] * added)


async def test_by_a_filter(client: Client) -> None:
    count = await update_rows(
        client, "queue", selection("true"), expressions={"place": "place + 1"}
    )
    assert count == COUNT
    assert await shifted(client)


@pytest.mark.parametrize("per_row", [False, True])
async def test_by_upserts_in_either_mode(client: Client, per_row: bool) -> None:
    rows = [{"name": at, "place": at + 1} for at in range(COUNT)] + [{"name": COUNT, "place": 0}]
    mode = messages.ERROR_MODE_PER_ROW if per_row else messages.ERROR_MODE_ALL_OR_NOTHING
    answer = await upsert(client, "queue", "name", *rows, error_mode=mode)
    assert (answer.created_count, answer.updated_count) == (1, COUNT)
    assert await shifted(client, added=1)


async def test_by_a_dataset(client: Client) -> None:
    made = await create_dataset(
        client, f"SELECT range AS name, (range + 1) % {COUNT + 1} AS place FROM range({COUNT + 1})"
    )
    [result] = await transact(
        client,
        Mutation(
            upsert=Mutation.Upsert(table="queue", key_columns=["name"], dataset_id=made.dataset.id)
        ),
    )
    assert (result.inserted_count, result.updated_count) == (1, COUNT)
    assert await shifted(client, added=1)


async def test_by_a_file(client: Client) -> None:
    lines = "".join(f"{at},{(at + 1) % (COUNT + 1)}\n" for at in range(COUNT + 1))
    header = messages.ImportHeader(
        table="queue",
        format=messages.FILE_FORMAT_CSV,
        mode=messages.ImportHeader.MODE_UPSERT,
        key="name",
    )
    [*_, done] = await client.import_answers(header, f"name,place\n{lines}".encode())
    assert (done.row_count, done.created_count) == (COUNT + 1, 1)
    assert await shifted(client, added=1)


async def test_what_is_taken_after_all_is_refused_and_nothing_moves(client: Client) -> None:
    moved = {"place": f"CASE WHEN name = {COUNT - 1} THEN 1 ELSE place + 1 END"}
    error = await failure(update_rows(client, "queue", selection("true"), expressions=moved))
    assert reason(error) == "DUPLICATE_KEY"
    lines = "".join(f"{at},{at + 1 if at < COUNT - 1 else 1}\n" for at in range(COUNT))
    header = messages.ImportHeader(
        table="queue",
        format=messages.FILE_FORMAT_CSV,
        mode=messages.ImportHeader.MODE_UPSERT,
        key="name",
    )
    error = await failure(client.import_answers(header, f"name,place\n{lines}".encode()))
    assert reason(error) == "DUPLICATE_KEY"
    assert await client.values("SELECT DISTINCT _version FROM queue") == [(1,)]


async def test_what_comes_before_a_shift_in_a_transaction_gets_its_numbers_once(
    client: Client,
) -> None:
    columns = [col("spot", Kind.KIND_INT64), col("n", Kind.KIND_INT16, made=SEQUENCE)]
    await create(client, "numbered", *columns, keys={"spot": ["spot"]})
    await client.import_file("numbered", b"spot\n" + b"".join(b"%d\n" % at for at in range(COUNT)))
    new = typed_rows(("spot",), [(at + 100_000,) for at in range(13_000)])
    every = Mutation.UpdateSelected(
        table="numbered", selection=selection("true"), expressions={"spot": "spot + 1"}
    )
    await transact(
        client,
        Mutation(insert=Mutation.Insert(table="numbered", rows=new)),
        Mutation(update_selected=every),
    )
    sql = "SELECT count(*), max(n), max(_row_id), sum(spot) FROM numbered"
    count = COUNT + 13_000
    places = sum(range(COUNT)) + sum(range(13_000)) + 13_000 * 100_000 + count
    assert await client.values(sql) == [(count, count, count, places)]


async def test_rows_that_cannot_move_up_as_the_last_one_cannot_are_told_one_by_one(
    client: Client,
) -> None:
    rows = [{"name": at, "place": at + 1 if at < COUNT - 1 else COUNT + 1} for at in range(COUNT)]
    new = [{"name": COUNT, "place": COUNT}]
    per_row = messages.ERROR_MODE_PER_ROW
    answer = await upsert(client, "queue", "name", *rows, *new, error_mode=per_row)
    assert row_errors(answer) == [
        *((at, "place", "DUPLICATE_KEY") for at in range(COUNT - 1)),
        (COUNT - 1, "place", "CHECK_FAILED"),
    ]
    assert (answer.created_count, answer.updated_count) == (1, 0)
