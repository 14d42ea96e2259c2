"""How CSV files are written: what a caller says of it, and what the beginning of a file shows.

Pure. Looking is bounded: by `SAMPLE_BYTES_MAX` of the file and `SAMPLE_ROWS_MAX` of its rows.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from chassis.faults import FieldViolation

SAMPLE_BYTES_MAX = 256 * 1024
SAMPLE_ROWS_MAX = 1_000
DELIMITERS = (",", ";", "\t", "|")
_LINE_ENDS = ("\r", "\n")
# The texts that are looked for where nothing else says what stands for null.
_NULL_TEXTS = ("NA", "N/A", "NULL", "null", "\\N", "None", "nan", "NaN", "-")
_DAY_FORMATS = (
    (re.compile(r"(\d{1,2})\.(\d{1,2})\.\d{4}"), "%d.%m.%Y", "%m.%d.%Y"),
    (re.compile(r"(\d{1,2})/(\d{1,2})/\d{4}"), "%d/%m/%Y", "%m/%d/%Y"),
    (re.compile(r"(\d{1,2})-(\d{1,2})-\d{4}"), "%d-%m-%Y", "%m-%d-%Y"),
    (re.compile(r"\d{4}/(\d{1,2})/(\d{1,2})"), "%Y/%d/%m", "%Y/%m/%d"),
)
_TIME_FORMATS = (
    (re.compile(r" \d{1,2}:\d\d:\d\d"), " %H:%M:%S"),
    (re.compile(r" \d{1,2}:\d\d"), " %H:%M"),
)
_MONTHS = 12
_VALUE = re.compile(
    r"[+-]?(\d+([.,]\d*)?|\.\d+)([eE][+-]?\d+)?|true|false"
    r"|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([T ]\d{1,2}:\d\d.*)?|\d{1,2}:\d\d(:\d\d)?(\.\d+)?",
    re.ASCII | re.IGNORECASE,
)
_SPECIFIER = re.compile(r"%(-?.|$)", re.DOTALL)
_OF_DAYS = frozenset("aAbBdmyYjUW%") | {"-d", "-m", "-y", "-j"}
_OF_TIMES = frozenset("HIpMSfgzZ") | {"-H", "-I", "-M", "-S"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a file is written. An empty `escape` means the quote, doubled; an empty format ISO 8601."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    header: bool = True
    null_text: str = ""
    date_format: str = ""
    timestamp_format: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedDialect:
    """What a caller says of a file: what is empty or None is not said. `detect`: find it out then."""

    delimiter: str = ""
    quote: str = ""
    escape: str = ""
    header: bool | None = None
    null_text: str = ""
    date_format: str = ""
    timestamp_format: str = ""
    detect: bool = False

    def plain(self) -> Dialect:
        """Return the dialect with the usual in place of what is not said."""
        return Dialect(
            delimiter=self.delimiter or ",",
            quote=self.quote or '"',
            escape=self.escape,
            header=self.header is not False,
            null_text=self.null_text,
            date_format=self.date_format,
            timestamp_format=self.timestamp_format,
        )


def dialect_violations(asked: AskedDialect, path: str) -> list[FieldViolation]:
    """Return what is wrong with what a caller says."""
    found: list[FieldViolation] = []

    def refuse(name: str, why: str) -> None:
        found.append(FieldViolation(field=f"{path}.{name}", description=f"{path}.{name}: {why}"))

    plain = asked.plain()
    for name, character in (
        ("delimiter", plain.delimiter),
        ("quote", plain.quote),
        ("escape", plain.escape),
    ):
        if character in _LINE_ENDS or character == "\0" or len(character.encode()) > 1:
            refuse(name, "it must be one ASCII character that ends no line")
    if plain.delimiter == plain.quote:
        refuse("delimiter", "the quote cannot separate values")
    elif plain.delimiter == plain.escape:
        refuse("delimiter", "the escape cannot separate values")
    if any(
        character in plain.null_text
        for character in (plain.delimiter, plain.quote, plain.escape or "\0", *_LINE_ENDS, "\0")
    ):
        refuse("null_text", "it has a delimiter, a quote, an escape or a line end in it")
    for name, written, allowed in (
        ("date_format", plain.date_format, _OF_DAYS),
        ("timestamp_format", plain.timestamp_format, _OF_DAYS | _OF_TIMES),
    ):
        wrong = [one for one in _SPECIFIER.findall(written) if one not in allowed]
        if wrong:
            refuse(name, f"%{wrong[0]} is not for it")
        elif written and not _SPECIFIER.search(written):
            refuse(name, "it has no % in it")
        elif "\0" in written:
            refuse(name, "it has a NUL in it")
    return found


def detected(start: bytes, asked: AskedDialect) -> Dialect:
    """Return how a file seems to be written that begins with `start`; what was asked stays so."""
    whole = len(start) < SAMPLE_BYTES_MAX
    text = start[:SAMPLE_BYTES_MAX].decode("utf-8-sig", errors="replace")
    if not whole and "\n" in text:
        text = text[: text.rindex("\n") + 1]
    delimiter, quote, escape = _punctuation(text, asked)
    rows = _rows(text, delimiter, quote, escape)
    header = asked.header if asked.header is not None else _has_header(rows)
    columns = _columns(rows[1:] if header else rows)
    null_text = asked.null_text or _null_text(columns, barred=f"{delimiter}{quote}{escape}")
    columns = [[cell for cell in cells if cell != null_text] for cells in columns]
    return Dialect(
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        header=header,
        null_text=null_text,
        date_format=asked.date_format or _day_format(columns),
        timestamp_format=asked.timestamp_format or _timestamp_format(columns),
    )


def first_rows(start: bytes, dialect: Dialect, count: int) -> list[list[str]]:
    """Return the first rows in `start`, the header among them.

    Raises:
        csv.Error: If a value is longer than Python's module takes.
    """
    text = start.decode("utf-8-sig", errors="replace")
    reader = _reader(text, dialect.delimiter, dialect.quote, dialect.escape)
    return list(itertools.islice(reader, count))


def _punctuation(text: str, asked: AskedDialect) -> tuple[str, str, str]:
    """Return the delimiter, quote and escape under which the rows are alike and have most values."""
    best: tuple[tuple[float, int], tuple[str, str, str]] | None = None
    for quote in [asked.quote] if asked.quote else ['"', "'"]:
        escape = asked.escape or ("\\" if _escapes_by_backslash(text, quote) else "")
        for delimiter in [asked.delimiter] if asked.delimiter else DELIMITERS:
            if delimiter == quote:
                continue
            if quote == "'" and not asked.quote and not _encloses(text, quote, delimiter):
                continue
            rows = _rows(text, delimiter, quote, escape)
            widths = Counter(len(row) for row in rows if row)
            width, alike = widths.most_common(1)[0] if widths else (1, 0)
            score = (alike / max(sum(widths.values()), 1) if width > 1 else 0.0, width)
            if best is None or score > best[0]:
                best = (score, (delimiter, quote, escape))
    assert best is not None
    return best[1]


def _escapes_by_backslash(text: str, quote: str) -> bool:
    return f"\\{quote}" in text and f"{quote}{quote}" not in text.replace(f"\\{quote}", "")


def _encloses(text: str, quote: str, delimiter: str) -> bool:
    """Return whether values stand between such quotes."""
    edge = re.escape(delimiter)
    value = rf"(?:^|{edge}){quote}[^{quote}\n]*{quote}(?:$|{edge})"
    return '"' not in text and re.search(value, text, re.MULTILINE) is not None


def _reader(text: str, delimiter: str, quote: str, escape: str) -> Iterable[list[str]]:
    return csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quotechar=quote,
        doublequote=escape in ("", quote),
        escapechar=escape if escape not in ("", quote) else None,
    )


def _rows(text: str, delimiter: str, quote: str, escape: str) -> list[list[str]]:
    rows: list[list[str]] = []
    with suppress(csv.Error):
        # A value as long as Python refuses is not separated by what is tried; what came before counts.
        rows.extend(itertools.islice(_reader(text, delimiter, quote, escape), SAMPLE_ROWS_MAX))
    return rows


def _columns(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return what stands in each column, without what is empty; ragged rows are left out."""
    width = max(map(len, rows), default=0)
    even = [row for row in rows if len(row) == width]
    return [[row[at] for row in even if row[at]] for at in range(width)]


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row names the columns: it has no values, and the others do or it has names."""
    first = [cell.strip() for cell in rows[0]] if rows else []
    if any(_VALUE.fullmatch(cell) for cell in first):
        return False
    if all(first) and len(set(first)) == len(first):
        return True
    return any(cells and all(map(_VALUE.fullmatch, cells)) for cells in _columns(rows[1:]))


def _null_text(columns: Sequence[Sequence[str]], barred: str) -> str:
    """Return the text that alone stands between some column and being one of values."""
    for text in _NULL_TEXTS:
        if any(character in text for character in barred):
            continue
        for cells in columns:
            others = [cell for cell in cells if cell != text]
            if others and len(others) < len(cells) and all(map(_VALUE.fullmatch, others)):
                return text
    return ""


def _day_format(columns: Sequence[Sequence[str]]) -> str:
    """Return how dates are written that are not ISO 8601, if that can be said without a doubt."""
    for pattern, day_first, month_first in _DAY_FORMATS:
        first = second = 0
        for cells in columns:
            matches = [match for cell in cells if (match := pattern.fullmatch(cell))]
            if cells and len(matches) == len(cells):
                first = max(first, *(int(match[1]) for match in matches))
                second = max(second, *(int(match[2]) for match in matches))
        if first > _MONTHS >= second > 0:
            return day_first
        if second > _MONTHS >= first > 0:
            return month_first
    return ""


def _timestamp_format(columns: Sequence[Sequence[str]]) -> str:
    for pattern, written in _TIME_FORMATS:
        of_days = [
            [cell[: -len(match[0])] for cell in cells if (match := _ending(pattern, cell))]
            for cells in columns
        ]
        whole = [
            days for days, cells in zip(of_days, columns, strict=True) if len(days) == len(cells)
        ]
        if found := _day_format(whole):
            return found + written
    return ""


def _ending(pattern: re.Pattern[str], cell: str) -> re.Match[str] | None:
    space = cell.find(" ")
    return pattern.fullmatch(cell, space) if space >= 0 else None
