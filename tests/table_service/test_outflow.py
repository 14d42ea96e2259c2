"""Files on their way out: through memory for who keeps up, by the disk for who does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.faults import ResourceExhausted
from table_service.store.outflow import CHUNK_BYTES, Outflow
from table_service.store.watch import Abandoned

PARTS = st.lists(
    st.sampled_from([0, 1, 7, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5])
)
BYTES_MAX = 1024 * 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.touch()
    return file


def parts(sizes: Iterable[int]) -> list[bytes]:
    return [bytes([at % 251]) * size for at, size in enumerate(sizes)]


def size(path: Path) -> int:
    return path.stat().st_size


def written(flow: Outflow, made: Iterable[bytes | pa.Buffer]) -> None:
    """Do what the thread does."""
    try:
        for part in made:
            flow.write(part)
        flow.finish()
    finally:
        flow.end()


async def taken(flow: Outflow) -> list[bytes]:
    return [chunk async for chunk in flow.chunks()]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(PARTS, st.sampled_from([0.0, 60.0]))
def test_what_goes_in_comes_out_in_full_chunks(
    path: Path, sizes: list[int], patience_s: float
) -> None:
    path.write_bytes(b"")

    async def through() -> list[bytes]:
        flow = Outflow(path, bytes_max=BYTES_MAX, patience_s=patience_s)
        writing = asyncio.create_task(asyncio.to_thread(written, flow, parts(sizes)))
        chunks = await taken(flow)
        await writing
        return chunks

    chunks = asyncio.run(through())
    assert b"".join(chunks) == b"".join(parts(sizes))
    assert all(len(chunk) <= CHUNK_BYTES for chunk in chunks)


async def test_nothing_of_the_disks_is_used_for_who_keeps_up(path: Path) -> None:
    flow = Outflow(path, bytes_max=BYTES_MAX, patience_s=60)
    made = [pa.py_buffer(part) for part in parts([CHUNK_BYTES] * 40)]
    writing = asyncio.create_task(asyncio.to_thread(written, flow, made))
    chunks = await taken(flow)
    await writing
    assert b"".join(chunks) == b"".join(made)
    assert size(path) == 0


async def test_who_takes_nothing_is_waited_for_only_for_a_time(path: Path) -> None:
    flow = Outflow(path, bytes_max=BYTES_MAX, patience_s=0.01)
    made = parts([CHUNK_BYTES] * 20)
    # Ends, though nobody takes anything.
    await asyncio.to_thread(written, flow, made)
    assert size(path) > 0
    assert b"".join(await taken(flow)) == b"".join(made)


async def test_who_came_late_takes_from_memory_and_then_from_the_file_as_it_grows(
    path: Path,
) -> None:
    flow = Outflow(path, bytes_max=BYTES_MAX, patience_s=0)
    made = parts([CHUNK_BYTES] * 12)
    await asyncio.to_thread(lambda: [flow.write(part) for part in made])
    chunks = flow.chunks()
    got = [await anext(chunks) for _ in made]
    await asyncio.to_thread(written, flow, [b"the rest"])
    got += [chunk async for chunk in chunks]
    assert b"".join(got) == b"".join([*made, b"the rest"])


async def test_chunks_end_where_making_the_file_failed(path: Path) -> None:
    flow = Outflow(path, bytes_max=BYTES_MAX)
    flow.write(b"x" * (CHUNK_BYTES + 1))
    flow.end()
    assert await taken(flow) == [b"x" * CHUNK_BYTES]


@pytest.mark.parametrize("patience_s", [0.0, 60.0])
async def test_what_nobody_takes_any_more_is_not_made(path: Path, patience_s: float) -> None:
    flow = Outflow(path, bytes_max=BYTES_MAX, patience_s=patience_s)
    made = (b"x" * CHUNK_BYTES for _ in range(400))
    writing = asyncio.create_task(asyncio.to_thread(written, flow, made))
    await anext(flow.chunks())
    flow.abandon()
    with pytest.raises(Abandoned):
        await writing


@pytest.mark.parametrize(
    "write",
    [lambda flow, part: flow.write(part), lambda flow, part: flow.write(pa.py_buffer(part))],
)
async def test_a_file_has_a_limit_that_it_meets_exactly(
    path: Path, write: Callable[[Outflow, bytes], int]
) -> None:
    flow = Outflow(path, bytes_max=10)
    assert write(flow, b"x" * 10) == 10
    with pytest.raises(ResourceExhausted) as refused:
        write(flow, b"x")
    assert refused.value.reason == "FILE_TOO_LARGE"
