"""Imports and datasets against kill -9: nothing is kept of what was not answered, all of what was."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from flux.table.v1 import query_service_pb2 as messages
from flux.table.v1 import row_service_pb2
from tests.support.waiting import eventually
from tests.table_service.serving import Client, Kind, column, serving

ROWS = 2_000_000
IDS = [f"00000000-0000-4000-8000-00000000000{at}" for at in range(3)]
SQL = f"SELECT range AS n, md5(range::VARCHAR) AS h FROM range({ROWS})"


async def make_dataset(client: Client, request_id: str, sql: str = SQL) -> Any:
    request = messages.CreateDatasetRequest(sql=sql, request_id=request_id)
    return await client.call(client.queries.CreateDataset, request)


async def import_rows(client: Client, request_id: str, rows: int) -> Any:
    def chunks() -> Any:
        yield b"n,s\n"
        for at in range(0, rows, 10_000):
            yield b"".join(b"%d,text%d\n" % (n, n) for n in range(at, min(at + 10_000, rows)))

    return await client.import_file(
        "t", chunks(), row_service_pb2.FILE_FORMAT_CSV, request_id=request_id
    )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def work(folder: Path, point: str) -> None:
    """Do one thing that is answered, say so, and then one that will not be."""
    async with serving(folder) as served:
        client = served.client()
        await client.create_table("t", column("n", Kind.KIND_INT64), column("s", Kind.KIND_STRING))
        if point == "import":
            await import_rows(client, IDS[0], 1000)
            say("answered")
            await import_rows(client, IDS[1], ROWS)
        else:
            made = await make_dataset(client, IDS[0], "SELECT 7 AS n")
            say(f"answered {made.dataset.id}")
            await make_dataset(client, IDS[1])
        say("too late")


@pytest.mark.parametrize("point", ["import", "dataset"])
async def test_kill_in_the_middle_keeps_what_was_answered_and_nothing_else(
    tmp_path: Path, point: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.table_service.test_heavy_crashes", str(tmp_path), point),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    lines: list[bytes] = []
    # Ends when the first thing is answered.
    while not lines or not lines[-1].startswith(b"answered"):
        lines.append(await process.stdout.readline())
        assert lines[-1], "the process ended"
    file = tmp_path / "flux.duckdb"
    before = file.stat().st_size

    async def writes() -> bool:
        return file.stat().st_size > before

    # DuckDB writes rows of a large transaction into the file before the commit.
    await eventually(writes)
    os.kill(process.pid, signal.SIGKILL)
    rest = await process.stdout.read()
    await process.wait()
    assert b"too late" not in rest
    async with serving(tmp_path) as served:
        client = served.client()
        assert list(served.store.spool.iterdir()) == []
        if point == "import":
            assert await client.values("SELECT count(*), max(n) FROM t") == [(1000, 999)]
            assert (await import_rows(client, IDS[0], 1000)).row_count == 1000
            assert await client.values("SELECT count(*) FROM t") == [(1000,)]
            assert (await import_rows(client, IDS[1], 50)).row_count == 50
            found = await client.values("SELECT count(*), count(DISTINCT _row_id) FROM t")
            assert found == [(1050, 1050)]
            return
        made = await make_dataset(client, IDS[0], "SELECT 7 AS n")
        assert made.dataset.id in lines[-1].decode()
        assert list(served.store.datasets) == [made.dataset.id]
        tables = served.store.database.cursor().execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'datasets'"
        )
        assert tables.fetchall() == [(made.dataset.id,)]
        assert (await make_dataset(client, IDS[1])).dataset.row_count == ROWS


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2]))
