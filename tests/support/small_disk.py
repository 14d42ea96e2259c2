"""A small disk of its own for a test, in memory, that can be filled and emptied."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_INSIDE = "FLUX_TEST_INSIDE_NAMESPACE"


class SmallDisk:
    """A mounted folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def leave(self, free_bytes: int) -> None:
        """Take all room but so much."""
        size = shutil.disk_usage(self.folder).free - free_bytes
        if self._filler.exists():
            size += self._filler.stat().st_size
        with self._filler.open("ab") as file:
            os.truncate(file.fileno(), 0)
            os.posix_fallocate(file.fileno(), 0, size)

    def make_room(self) -> None:
        """Give back what `leave` took."""
        self._filler.unlink(missing_ok=True)


def runs_elsewhere(test_id: str) -> bool:
    """Run the test of this id where its user may mount disks, unless that is here; return whether it did.

    Root may here. Anybody else may in a namespace of their own, if the machine allows that; else the test is
    skipped.
    """
    if os.geteuid() == 0 or _INSIDE in os.environ:
        return False
    namespace = ("unshare", "--map-root-user", "--mount")
    tried = subprocess.run([*namespace, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"not root, and no namespace to be had: {tried.stderr.strip()}")
    options = ("-q", "-n0", "--no-cov", "-p", "no:cacheprovider", test_id)
    ran = subprocess.run(
        [*namespace, sys.executable, "-m", "pytest", *options],
        env={**os.environ, _INSIDE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return True


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[SmallDisk]:
    """Mount a disk of that size at `folder`; skips the test where that is not allowed."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
