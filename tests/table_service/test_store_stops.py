"""What the store keeps when its process is killed, its disk is full, or its file is not its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from table_service.store.database import DatabaseUnusable, open_database
from tests.table_service.stores import LIMITS, insert, opened, receipt, stored


def test_the_file_has_one_owner(tmp_path: Path) -> None:
    with opened(tmp_path):
        code = f"""
from pathlib import Path
from table_service.store.database import Limits, open_database
open_database(Path({str(tmp_path)!r}), Limits(memory="100MB", spill="1GB", threads=1))
"""
        second = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    assert "only one table_service may own it" in second.stderr


def test_a_damaged_file_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "flux.duckdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(DatabaseUnusable, match="cannot be opened"):
        open_database(tmp_path, LIMITS)


_WRITES_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from tests.table_service.stores import ITEMS, create, insert, opened, receipt

async def client(store, name):
    at = 0
    while True:
        answer = await store.writer.submit(
            insert((f"{name}-{at}", at), key=receipt(f"{name}-{at}"))
        )
        print(f"{name}-{at}", answer.decode()[1:-1], flush=True)
        at += 1

async def main(folder):
    with opened(folder) as store:
        if ("main", "items") not in store.writer.catalog.active:
            create(store, ITEMS)
        names = [f"{sys.argv[2]}{at}" for at in range(8)]
        await asyncio.gather(*[client(store, name) for name in names])

asyncio.run(main(Path(sys.argv[1])))
"""


def test_what_was_answered_survives_kill_nine_exactly_once(tmp_path: Path) -> None:
    answered: dict[str, int] = {}
    for turn in "abc":
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITES_FOR_EVER, str(tmp_path), turn],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):
                key, given = line.split()
                answered[key] = int(given)
            if len(answered) % 200 == 150 and process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert len(set(answered.values())) == len(answered) > 300
    with opened(tmp_path) as store:
        rows = {key: row_id for row_id, (key, _, _) in stored(store).items()}
        assert answered.items() <= rows.items()
        for key, row_id in list(answered.items())[:: len(answered) // 20]:
            retried = insert((key, int(key.rpartition("-")[2])), key=receipt(key))
            assert store.writer.run(retried) == f"[{row_id}]".encode()
        assert len(stored(store)) == len(rows)


_FILLS_THE_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from chassis.faults import Unavailable
from tests.table_service.stores import ITEMS, create, insert, opened

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with opened(Path(sys.argv[1])) as store:
    create(store, ITEMS)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    try:
        for at in range(1000):
            store.writer.run(insert((f"{at}" + "x" * 10_000, at)))
    except Unavailable as fault:
        print(fault.reason, store.writer.broken, at, flush=True)
    import os
    os._exit(0)
"""


def test_a_disk_that_is_full_stops_the_store_and_loses_nothing(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", _FILLS_THE_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    reason, broken, count = process.stdout.splitlines()[-1].split()
    assert (reason, broken) == ("STORE_UNAVAILABLE", "True")
    with opened(tmp_path) as store:
        assert {size for _, size, _ in stored(store).values()} >= set(range(int(count)))


_FILLS_THE_DISK_IN_BULK = """
import asyncio, os, resource, signal, sys
from hashlib import md5
from pathlib import Path
from flux.table.v1 import row_service_pb2
from tests.support.waiting import eventually_true
from tests.table_service.serving import Kind, answered, column, create_dataset, reason, refused, serving

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def main(folder, kind):
    async with serving(folder) as served:
        client = served.client()
        await client.create_table("t", column("n", Kind.KIND_INT64), column("s", Kind.KIND_STRING))
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))

        async def upload():
            # The file itself is received whole, in pieces that are written as they come.
            header = row_service_pb2.ImportHeader(table="t", format=row_service_pb2.FILE_FORMAT_CSV)
            yield row_service_pb2.ImportRowsRequest(header=header)
            content = b"n,s\\n" + b"".join(
                b"%d,%s\\n" % (n, md5(b"%d" % n).hexdigest().encode()) for n in range(250_000)
            )
            content = content[: content.rindex(b"\\n", 0, 8 << 20)].ljust(8 << 20, b"x")
            for at in range(0, 8 << 20, 1 << 20):
                yield row_service_pb2.ImportRowsRequest(chunk=content[at : at + (1 << 20)])
            await eventually_true(
                lambda: sum(file.stat().st_size for file in served.store.spool.iterdir()) == 8 << 20
            )
            limit()

        if kind == "import":
            call = answered(client.rows.ImportRows(upload(), metadata=client.metadata))
        else:
            limit()
            call = create_dataset(client, "SELECT range, md5(range::VARCHAR) FROM range(2000000)")
        error = await refused(call)
        print(reason(error), served.store.writer.broken, flush=True)
        os._exit(0)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


@pytest.mark.parametrize("kind", ["import", "dataset"])
def test_a_file_that_bulk_work_cannot_write_stops_the_store(tmp_path: Path, kind: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", _FILLS_THE_DISK_IN_BULK, str(tmp_path), kind],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout.splitlines()[-1:] == ["STORE_UNAVAILABLE True"], process.stderr
