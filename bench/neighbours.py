"""What small reads and writes wait while others do much: a long query, and ten million rows in and out.

It takes some minutes: `make bench-long`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from bench import heavy_work
from bench.measurement import Measurement, percentile
from bench.table_client import Metadata, TableClient, small_row

_LOOK_EVERY_S = 0.1
_SMALL_ROWS = 1_000
_TABLE = "light"


async def measure_neighbours(
    address: str, metadata: Metadata, folder: Path, process_id: int
) -> list[Measurement]:
    """Return the p99 of small calls beside heavy work, and the memory that table_service takes for that."""
    file = folder / "heavy.arrows"
    await asyncio.to_thread(heavy_work.write_file, file)
    [(_, token)] = metadata
    async with grpc.aio.insecure_channel(address) as channel:
        client = TableClient(channel, metadata)
        await client.create(_TABLE)
        await client.insert(_TABLE, *(small_row(number) for number in range(1, _SMALL_ROWS + 1)))
        await client.create(heavy_work.TABLE)
        alone_s = await _small_calls_s(client, asyncio.sleep(heavy_work.QUERY_SECONDS))
        before_mib = _resident_mib(process_id)
        async with _watched(process_id) as peak:
            beside_s = {
                name: await _small_calls_s(client, _process(work, address, token))
                for name, work in (("import", f"import:{file}"), ("export", "export"))
            }
        beside_s["query"] = await _small_calls_s(client, _process("query", address, token))
    return [
        Measurement(
            metric=f"noisy_neighbour_ratio_{name}",
            value=1000 * percentile(taken_s, 99),
            unit="ms",
            baseline=1000 * percentile(alone_s, 99),
            baseline_name="p99 of the same small reads and writes alone",
        )
        for name, taken_s in beside_s.items()
    ] + [
        Measurement(
            metric="bulk_10m_rss_mb",
            value=peak.mib,
            unit="MiB",
            baseline=before_mib,
            baseline_name="table_service's memory before ten million rows went in and out",
        )
    ]


async def _small_calls_s(client: TableClient, work: Awaitable[None]) -> list[float]:
    """Return the seconds of each small read and write, one after the other, while the work is done."""
    working = asyncio.ensure_future(work)
    taken = []
    for number in itertools.count(1):
        if working.done():
            break
        start = time.perf_counter()
        await client.insert(_TABLE, small_row(number))
        written = time.perf_counter()
        await client.get(_TABLE, number % _SMALL_ROWS + 1)
        taken += [written - start, time.perf_counter() - written]
    await working
    return taken


async def _process(work: str, address: str, token: str) -> None:
    """Have heavy work done elsewhere.

    Raises:
        RuntimeError: If it failed; it has said why on standard error.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.heavy_work",
        work,
        address,
        env={**os.environ, heavy_work.TOKEN: token},
    )
    if await process.wait() != 0:
        raise RuntimeError(f"heavy work failed: {work}")


@dataclass(slots=True, kw_only=True)
class _Peak:
    mib: float


@asynccontextmanager
async def _watched(process_id: int) -> AsyncIterator[_Peak]:
    """Keep the most memory that the process has while the block runs."""
    peak = _Peak(mib=_resident_mib(process_id))

    async def look() -> None:
        # Ends when the block does, which cancels it.
        while True:
            peak.mib = max(peak.mib, _resident_mib(process_id))
            await asyncio.sleep(_LOOK_EVERY_S)

    looking = asyncio.create_task(look())
    try:
        yield peak
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def _resident_mib(process_id: int) -> float:
    """Return how much memory a process has, as Linux tells."""
    for line in Path(f"/proc/{process_id}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {process_id} has no memory")
