"""Files on their way in or out, in the one folder that SQL may reach."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from chassis.faults import ResourceExhausted, Unavailable
from chassis.ids import IdMaker

# Below this, the disk is for what people write, not for results and files on their way.
FREE_BYTES_MIN = 256 * 1024 * 1024


class Spool:
    """Makes files that go when they are done with."""

    def __init__(self, folder: Path, ids: IdMaker, *, file_bytes_max: int) -> None:
        self.file_bytes_max = file_bytes_max
        self._folder = folder.resolve()
        self._ids = ids

    def clear(self) -> int:
        """Remove what an earlier process left; return how many files. Nothing may be in use."""
        stale = [path for path in self._folder.iterdir() if path.is_file()]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    @contextmanager
    def file(self) -> Iterator[Path]:
        """Make an empty file of a name that nobody has had, and remove it at the end."""
        path = self._folder / self._ids.new_id("file")
        with disk_faults():
            path.touch(mode=0o600, exist_ok=False)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def passed(self, path: Path) -> ResourceExhausted | None:
        """Return the fault of the limit that a file being written has passed, if any; it may be gone."""
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        return self.too_large() if size > self.file_bytes_max else disk_nearly_full(self._folder)

    def too_large(self) -> ResourceExhausted:
        """Return the fault of a file past the limit."""
        limit = self.file_bytes_max
        return ResourceExhausted(
            "FILE_TOO_LARGE", f"the file is larger than {limit} bytes", bytes=limit
        )


class SpooledFile:
    """A file being received, and what was seen of its bytes on the way.

    `line_count_max` is no less than the number of its lines; `fractions` is false if no number in it can
    have a fraction.
    """

    def __init__(self, path: Path, spool: Spool, *, text: bool) -> None:
        """`text`: its lines matter."""
        self.path = path
        self._text = text
        self.byte_count = 0
        self.fractions = False
        self._spool = spool
        self._file: BinaryIO = path.open("wb")
        self._newlines = self._returns = 0
        self._last = b""

    @property
    def line_count_max(self) -> int:
        """Return a number of lines that the file does not exceed."""
        return max(self._newlines, self._returns) + 1

    def write(self, chunk: bytes) -> None:
        """Add bytes.

        Raises:
            ResourceExhausted: FILE_TOO_LARGE; QUERY_LIMIT if the disk is nearly full.
            Unavailable: STORE_UNAVAILABLE if the disk is full.
        """
        self.byte_count += len(chunk)
        if self.byte_count > self._spool.file_bytes_max:
            raise self._spool.too_large()
        if fault := disk_nearly_full(self.path.parent):
            raise fault
        if self._text:
            self._look_at(chunk)
        with disk_faults():
            self._file.write(chunk)

    def close(self) -> None:
        """Let go of the file; it stays where it is."""
        with disk_faults():
            self._file.close()

    def _look_at(self, chunk: bytes) -> None:
        self._newlines += chunk.count(b"\n")
        self._returns += chunk.count(b"\r")
        if not self.fractions:
            # A point, or an exponent below zero, which two chunks may share.
            seen = self._last + chunk
            self.fractions = b"." in chunk or b"e-" in seen or b"E-" in seen
            self._last = chunk[-1:]


def disk_nearly_full(folder: Path) -> ResourceExhausted | None:
    """Return the fault of a disk that must be left to the store, if it is one."""
    if shutil.disk_usage(folder).free >= FREE_BYTES_MIN:
        return None
    return ResourceExhausted("QUERY_LIMIT", "the disk is nearly full")


@contextmanager
def disk_faults() -> Iterator[None]:
    """Turn a full disk into a fault."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Unavailable("STORE_UNAVAILABLE", "the disk has no room for the file") from error
