"""Files on their way in or out, in the one folder that SQL may reach."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from chassis.faults import ResourceExhausted, Unavailable
from chassis.ids import IdMaker
from table_service.store.file_bytes import FileBytes, Format

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
        if size > self.file_bytes_max:
            return too_large(self.file_bytes_max)
        return disk_nearly_full(self._folder)


class SpooledFile:
    """A file being received, and what was seen of its bytes on the way."""

    def __init__(
        self, path: Path, spool: Spool, format_: Format, *, bytes_max: int | None = None
    ) -> None:
        """`bytes_max`: how large it may be if that is less than any file."""
        self.path = path
        self.bytes_max = min(bytes_max or spool.file_bytes_max, spool.file_bytes_max)
        self.byte_count = 0
        self.seen = FileBytes(format_)
        self._spool = spool
        self._file: BinaryIO = path.open("wb")

    def write(self, chunks: Sequence[bytes]) -> None:
        """Add bytes.

        Raises:
            InvalidArgument: FILE_INVALID.
            ResourceExhausted: FILE_TOO_LARGE; QUERY_LIMIT if the disk is nearly full.
            Unavailable: STORE_UNAVAILABLE if the disk is full.
        """
        self.byte_count += sum(map(len, chunks))
        if self.byte_count > self.bytes_max:
            raise too_large(self.bytes_max)
        if fault := disk_nearly_full(self.path.parent):
            raise fault
        kept = [self.seen.see(chunk) for chunk in chunks]
        with disk_faults():
            self._file.writelines(kept)

    def end(self, *, partial: bool = False) -> None:
        """Write what is left, after the last bytes. `partial`: the file goes on elsewhere.

        Raises:
            InvalidArgument: FILE_INVALID.
            Unavailable: STORE_UNAVAILABLE if the disk is full.
        """
        kept = self.seen.end(partial=partial)
        with disk_faults():
            self._file.write(kept)
            self._file.flush()

    def close(self) -> None:
        """Let go of the file; it stays where it is."""
        with disk_faults():
            self._file.close()


def too_large(limit: int) -> ResourceExhausted:
    """Return the fault of a file past a limit."""
    return ResourceExhausted(
        "FILE_TOO_LARGE", f"the file is larger than {limit} bytes", bytes=limit
    )


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
