"""Files on their way in or out, in the one folder that SQL may reach."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from chassis.faults import ResourceExhausted, Unavailable
from chassis.ids import IdMaker


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
            ResourceExhausted: FILE_TOO_LARGE.
            Unavailable: STORE_UNAVAILABLE if the disk is full.
        """
        self.byte_count += len(chunk)
        if self.byte_count > self._spool.file_bytes_max:
            raise self._spool.too_large()
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


@contextmanager
def disk_faults() -> Iterator[None]:
    """Turn a full disk into a fault."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Unavailable("STORE_UNAVAILABLE", "the disk has no room for the file") from error
