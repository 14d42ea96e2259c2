"""What reading a large Arrow stream keeps in memory."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from table_service.store.arrow_files import MappedStream

BATCHES = 48
BATCH_BYTES = 2 * 1024 * 1024
STATUS = Path("/proc/self/status")


def mapped_bytes() -> int:
    [line] = [line for line in STATUS.read_text("ascii").splitlines() if "RssFile:" in line]
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux says what a process has of files")
def test_little_of_a_stream_is_in_memory_at_any_time(tmp_path: Path) -> None:
    file = tmp_path / "stream"
    values = pa.array(range(BATCH_BYTES // 8), pa.int64())
    batch = pa.record_batch({"n": values})
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(BATCHES):
            writer.write_batch(batch)
    before, most, count = mapped_bytes(), 0, 0
    # The one before is read again, as by whoever puts several together.
    for earlier, later in pairwise(MappedStream(file).batches()):
        assert earlier.equals(batch)
        assert later.equals(batch)
        most = max(most, mapped_bytes() - before)
        count += 1
    assert count == BATCHES - 1
    assert most < BATCHES * BATCH_BYTES / 3
