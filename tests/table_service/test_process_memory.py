"""What DuckDB's limit does not count: a process of its own meets the wall, and goes on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from table_service.process_memory import byte_count

MEGABYTES = 600
ATTACK = f"""
from pathlib import Path
import duckdb
from table_service.process_memory import bound_memory
connection = duckdb.connect()
connection.execute("SET memory_limit = '200MB'; SET threads = 2")
bound_memory({MEGABYTES} * 1000 * 1000)
for sql in (
    "SELECT max(len(l || l || l || l || l || l || l || l)) FROM (SELECT list(range) l FROM range(10000000))",
    "SELECT max(len(x || x || x || x || x || x || x || x || x || x || x || x))"
    " FROM (SELECT string_agg(repeat('a', 10000), '') x FROM range(10000))",
):
    try:
        connection.execute(sql).fetchall()
    except duckdb.OutOfMemoryException:
        print("refused")
print(connection.execute("SELECT 42").fetchall())
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024 < {MEGABYTES})
"""


@pytest.mark.parametrize(
    ("size", "expected"),
    [("1KB", 1000), ("1.5GB", 1_500_000_000), ("2KiB", 2048), ("1TiB", 1024**4)],
)
def test_sizes_are_read_as_duckdb_does(size: str, expected: int) -> None:
    assert byte_count(size) == expected


def test_what_wants_too_much_fails_and_the_process_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ATTACK],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split("\n")[:4] == ["refused", "refused", "[(42,)]", "True"]
