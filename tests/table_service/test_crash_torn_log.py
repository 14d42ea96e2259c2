"""A log whose end did not reach the disk before the power went."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from table_service.store.database import DatabaseUnusable, open_database
from tests.table_service.stores import ITEMS, LIMITS, create, insert, opened, receipt, stored

FILE, LOG = "flux.duckdb", "flux.duckdb.wal"
ANSWERED = ["a", "b", "c"]


def torn(folder: Path) -> tuple[Path, bytes, int]:
    """Return the files of a store with three commits that were answered and one that was not yet.

    That is the folder with the file, the log, and where in it the last commit begins.
    """
    with opened(folder / "whole") as store:
        create(store, ITEMS)
        store.database.checkpoint()
        for key in ANSWERED:
            store.writer.run(insert((key, 1), key=receipt(key)))
        log = folder / "whole" / LOG
        begin = log.stat().st_size
        # Longer than the pieces of 4 KiB in which DuckDB writes.
        store.writer.run(insert(*((f"{n:0100}", n) for n in range(100)), key=receipt("last")))
        kept = folder / "kept"
        kept.mkdir()
        shutil.copy(folder / "whole" / FILE, kept)
        return kept, log.read_bytes(), begin


def test_commit_that_was_cut_off_anywhere_never_happened(tmp_path: Path) -> None:
    kept, log, begin = torn(tmp_path)
    step = (len(log) - begin) // 16
    for cut in [*range(begin, len(log), step), begin + 1, len(log) - 1]:
        here = tmp_path / f"cut_{cut}"
        shutil.copytree(kept, here)
        (here / LOG).write_bytes(log[:cut])
        with opened(here) as store:
            assert [key for key, _, _ in stored(store).values()] == ANSWERED
            # A retry of what was not answered is done, once, and row ids are not given twice.
            for _ in range(2):
                answer = store.writer.run(insert(("again", 1), key=receipt("last")))
            assert answer.decode().strip("[]").isdigit()
            assert len(stored(store)) == len(ANSWERED) + 1
        shutil.rmtree(here)


def test_log_with_a_hole_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    kept, log, begin = torn(tmp_path)
    with_hole = log[: begin + 64] + bytes(len(log) - begin - 64)
    (kept / LOG).write_bytes(with_hole)
    with pytest.raises(DatabaseUnusable, match=r"flux\.duckdb cannot be opened"):
        open_database(kept, LIMITS)
    assert (kept / LOG).read_bytes() == with_hole
    # Whoever cuts it off there loses nothing that was answered.
    (kept / LOG).write_bytes(log[:begin])
    with opened(kept) as store:
        assert [key for key, _, _ in stored(store).values()] == ANSWERED
