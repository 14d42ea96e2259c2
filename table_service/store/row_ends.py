"""Where rows of text files end: a line end within quotes ends none."""

from __future__ import annotations

import os
import re
from pathlib import Path

from table_service.csv_dialect import Dialect

# So many values with line ends in them are looked at before it is given up.
_STEPS_MAX = 10_000


def last_row_end(content: bytes, dialect: Dialect | None) -> int:
    """Return where the last row ends that is whole, -1 if none is. `content` begins a file.

    Without a dialect every line is a row.
    """
    end = _line_end_before(content, len(content))
    if dialect is None or end < 0:
        return end
    inside = _quotes(content, 0, end, dialect) % 2 == 1
    return _leave_value(content, end, dialect) if inside else end


def first_row_hides_its_end(content: bytes, dialect: Dialect) -> bool:
    """Return whether the first row ends by a newline alone and has carriage returns within its values.

    DuckDB takes the first line end that it meets for that of the file, even within quotes.
    """
    end = quotes = 0
    for _ in range(_STEPS_MAX):
        newline = content.find(b"\n", end)
        if newline < 0:
            return False
        found = content.find(b"\r", end, newline)
        found = newline if found < 0 else found
        quotes += _quotes(content, end, found, dialect)
        end = found + 1
        if quotes % 2 == 0:
            return found == newline and b"\r" in content[:newline]
    return False


def last_row_fits(path: Path, dialect: Dialect, bytes_max: int) -> bool:
    """Return whether the file's last row is certainly no longer than so many bytes.

    DuckDB leaves out, without a word, a last row that is longer than its buffer.
    """
    size = path.stat().st_size
    if size <= bytes_max:
        return True
    with path.open("rb") as file:
        file.seek(-bytes_max, os.SEEK_END)
        tail = file.read()
    end = _line_end_before(tail, len(tail) - 1)
    if end < 0:
        return False
    # What is open after it was not opened before it, unless it is within a value.
    inside = _quotes(tail, end, len(tail), dialect) % 2 == 1
    return not inside or _leave_value(tail, end, dialect) >= 0


def _leave_value(content: bytes, end: int, dialect: Dialect) -> int:
    """Return the last line end that is outside a value, before one that is inside; -1 if none is found."""
    quote = dialect.quote.encode()
    for _ in range(_STEPS_MAX):
        opening = content.rfind(quote, 0, end)
        before = _line_end_before(content, opening) if opening >= 0 else -1
        if before < 0:
            return -1
        if _quotes(content, before, end, dialect) % 2 == 1:
            return before
        end = before
    return -1


def _line_end_before(content: bytes, until: int) -> int:
    newline = content.rfind(b"\n", 0, until)
    # Not sought further back than need be.
    return max(newline, content.rfind(b"\r", max(newline, 0), until))


def _quotes(content: bytes, start: int, until: int, dialect: Dialect) -> int:
    """Return how many quotes there are that begin or end a value."""
    count = content.count(dialect.quote.encode(), start, until)
    if count and dialect.escape not in ("", dialect.quote):
        escape = re.escape(dialect.escape.encode())
        escaped = re.compile(escape + b"(.)", re.DOTALL)
        count -= escaped.findall(content, start, until).count(dialect.quote.encode())
    return count
