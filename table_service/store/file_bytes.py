"""What is seen of a file's bytes while they come: whether they can be of its format, and facts for reading.

Nothing here understands rows. What is refused here is refused before the whole file has come.
"""

from __future__ import annotations

import codecs
from enum import StrEnum

from chassis.faults import InvalidArgument


class Format(StrEnum):
    """The formats of files; the names are those of flux.table.v1.FileFormat without the prefix."""

    CSV = "CSV"
    PARQUET = "PARQUET"
    ARROW_IPC = "ARROW_IPC"
    JSON_LINES = "JSON_LINES"


TEXTS = frozenset({Format.CSV, Format.JSON_LINES})
_BOM = codecs.BOM_UTF8
# How other files begin than those that are read here.
_OTHERS = (
    (b"\x1f\x8b", "it is compressed with gzip; send it unpacked"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with Zstandard; send it unpacked"),
    (b"BZh", "it is compressed with bzip2; send it unpacked"),
    (b"\xfd7zXZ\x00", "it is compressed with xz; send it unpacked"),
    (b"\x04\x22\x4d\x18", "it is compressed with LZ4; send it unpacked"),
    (b"PK\x03\x04", "it is a ZIP archive or a workbook; send the file in it as CSV"),
    (b"SQLite format 3\x00", "it is an SQLite database"),
    (b"ARROW1\x00\x00", "it is an Arrow file; send the stream that it holds"),
    (b"PAR1", "it is a Parquet file"),
    (codecs.BOM_UTF16_LE, "it is in UTF-16; only UTF-8 is read"),
    (codecs.BOM_UTF16_BE, "it is in UTF-16; only UTF-8 is read"),
)
_MAGIC_BYTES = max(len(magic) for magic, _ in _OTHERS)


class FileBytes:
    """What the bytes of one file have shown so far."""

    def __init__(self, format_: Format) -> None:
        self.format = format_
        # A number with a point, or an exponent below zero, may have a fraction.
        self.fractions = False
        self.newlines = self.returns = 0
        # A line longer than a chunk is as long as this at the least.
        self.longest_line = 0
        self._line = 0
        self._start = b""
        self._checked = False
        self._last = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @property
    def line_count_max(self) -> int:
        """Return a number of lines that the file does not exceed."""
        return max(self.newlines, self.returns) + 1

    def see(self, chunk: bytes) -> bytes:
        """Look at the next bytes and return what of them is to be kept.

        Raises:
            InvalidArgument: FILE_INVALID.
        """
        if not self._checked:
            self._start += chunk
            if len(self._start) < _MAGIC_BYTES:
                return b""
            return self._begin()
        if self.format in TEXTS:
            self._look(chunk)
        return chunk

    def end(self, *, partial: bool = False) -> bytes:
        """Say that the file has ended, and return what is still to be kept of it.

        Raises:
            InvalidArgument: FILE_INVALID.
        """
        kept = b"" if self._checked else self._begin()
        if self.format in TEXTS and not partial and self._decoder.getstate()[0]:
            raise file_invalid("it ends in the middle of a character")
        self.longest_line = max(self.longest_line, self._line)
        return kept

    def _begin(self) -> bytes:
        self._checked = True
        start, self._start = self._start, b""
        for magic, why in _OTHERS:
            if start.startswith(magic) and not (magic == b"PAR1" and self.format is Format.PARQUET):
                raise file_invalid(why)
        if self.format not in TEXTS:
            return start
        if self.format is Format.JSON_LINES:
            # Its reader takes no mark of the byte order.
            start = start.removeprefix(_BOM)
        self._look(start)
        return start

    def _look(self, chunk: bytes) -> None:
        if not chunk.isascii() or self._decoder.getstate()[0]:
            self._check_utf8(chunk)
        self.newlines += chunk.count(b"\n")
        self.returns += chunk.count(b"\r")
        if not self.fractions:
            # Two chunks may share an exponent.
            seen = self._last + chunk
            self.fractions = b"." in chunk or b"e-" in seen or b"E-" in seen
            self._last = chunk[-1:]
        first, last = chunk.find(b"\n"), chunk.rfind(b"\n")
        self._line += len(chunk) if first < 0 else first
        self.longest_line = max(self.longest_line, self._line)
        if last >= 0:
            self._line = len(chunk) - last - 1

    def _check_utf8(self, chunk: bytes) -> None:
        before = len(self._decoder.getstate()[0])
        try:
            self._decoder.decode(chunk)
        except UnicodeDecodeError as error:
            line = self.newlines + chunk.count(b"\n", 0, max(error.start - before, 0)) + 1
            raise file_invalid(
                f"line {line} is not UTF-8: byte 0x{error.object[error.start]:02x}"
            ) from error


def file_invalid(why: str) -> InvalidArgument:
    """Return the fault of a file that is damaged or not of its format."""
    return InvalidArgument("FILE_INVALID", f"the file is not valid: {why}")
