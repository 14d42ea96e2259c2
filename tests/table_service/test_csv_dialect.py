"""How CSV files are written, found out from their beginnings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from table_service.csv_dialect import (
    DELIMITERS,
    AskedDialect,
    Dialect,
    detected,
    dialect_violations,
    first_rows,
)

ANYTHING = AskedDialect(detect=True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n1,2\n", Dialect()),
        (b"", Dialect()),
        (b"\xef\xbb\xbfa,b\n1,2\n", Dialect()),
        (b"a;b\n1,5;2\n", Dialect(delimiter=";")),
        (b"a\tb\n1\t2\n", Dialect(delimiter="\t")),
        (b"a|b\n'x|y'|2\n", Dialect(delimiter="|", quote="'")),
        (b'a,b\n"x, ""y""",2\n', Dialect()),
        (b'a,b\n"x \\"y\\"",2\n', Dialect(escape="\\")),
        (b"1,2\n3,4\n", Dialect(header=False)),
        (b"x,x\ny,z\n", Dialect(header=False)),
        (b"2013-01-01,UA\n2013-01-02,AA\n", Dialect(header=False)),
        (b"month,price\n1,NA\n2,1.5\n", Dialect(null_text="NA")),
        (b"name,price\nNA,1\nx,2\n", Dialect()),
        (b"day\n31.12.2013\n01.02.2013\n", Dialect(date_format="%d.%m.%Y")),
        (b"day\n12/31/2013\n2/1/2013\n", Dialect(date_format="%m/%d/%Y")),
        # Either could be the month: nothing is guessed.
        (b"day\n01/02/2013\n03/04/2013\n", Dialect()),
        (b"at\n31.12.2013 05:15\n", Dialect(timestamp_format="%d.%m.%Y %H:%M")),
        (b"at\n31.12.2013 05:15:30\n", Dialect(timestamp_format="%d.%m.%Y %H:%M:%S")),
        (b"a,b\n" + b"x" * 300_000, Dialect()),
        (b'a,b\n"' + b"x" * 300_000, Dialect()),
        (b'"' * 400_000, Dialect()),
    ],
)
def test_dialect_is_found_in_the_beginning_of_a_file(content: bytes, expected: Dialect) -> None:
    assert detected(content, ANYTHING) == expected


def test_what_is_said_of_a_file_is_not_looked_for() -> None:
    asked = AskedDialect(detect=True, delimiter=",", header=True, null_text="-", quote='"')
    found = detected(b"1;2\n3;NA\n", asked)
    assert found == Dialect(null_text="-")


def test_usual_dialect_stands_where_nothing_is_said() -> None:
    assert AskedDialect().plain() == Dialect()
    assert AskedDialect(header=False, delimiter="|").plain() == Dialect(header=False, delimiter="|")


@pytest.mark.parametrize(
    ("asked", "field", "why"),
    [
        (AskedDialect(delimiter="\n"), "delimiter", "one ASCII character"),
        (AskedDialect(delimiter="é"), "delimiter", "one ASCII character"),
        (AskedDialect(quote="\0"), "quote", "one ASCII character"),
        (AskedDialect(delimiter='"'), "delimiter", "the quote cannot separate"),
        (AskedDialect(delimiter="|", escape="|"), "delimiter", "the escape cannot separate"),
        (AskedDialect(null_text="a,b"), "null_text", "a delimiter, a quote, an escape"),
        (AskedDialect(null_text="\\N", escape="\\"), "null_text", "an escape"),
        (AskedDialect(date_format="%d.%m.%Q"), "date_format", "%Q is not for it"),
        (AskedDialect(date_format="%H"), "date_format", "%H is not for it"),
        (AskedDialect(date_format="%"), "date_format", "% is not for it"),
        (AskedDialect(timestamp_format="day"), "timestamp_format", "no % in it"),
        (AskedDialect(timestamp_format="%Y\0"), "timestamp_format", "a NUL"),
    ],
)
def test_dialect_that_cannot_be_is_refused(asked: AskedDialect, field: str, why: str) -> None:
    [violation] = dialect_violations(asked, "csv")
    assert violation.field == f"csv.{field}"
    assert why in violation.description


def test_usual_and_unusual_dialects_are_taken() -> None:
    asked = AskedDialect(
        delimiter="\t",
        quote="'",
        escape="\\",
        null_text="NULL",
        date_format="%-d. %B %Y",
        timestamp_format="%Y-%m-%dT%H:%M:%S.%f%z",
    )
    assert dialect_violations(asked, "csv") == []


@given(
    st.sampled_from(DELIMITERS),
    st.lists(st.lists(st.text("ab c", min_size=1, max_size=6), min_size=3, max_size=3), min_size=4),
)
def test_delimiter_of_even_rows_is_found(delimiter: str, rows: list[list[str]]) -> None:
    content = "".join(delimiter.join(row) + "\n" for row in rows).encode()
    assert detected(content, ANYTHING).delimiter == delimiter


@given(st.binary(max_size=2000))
def test_any_bytes_have_a_dialect(content: bytes) -> None:
    found = detected(content, ANYTHING)
    assert not dialect_violations(
        AskedDialect(
            delimiter=found.delimiter,
            quote=found.quote,
            escape=found.escape,
            null_text=found.null_text,
            date_format=found.date_format,
            timestamp_format=found.timestamp_format,
        ),
        "csv",
    )


def test_first_rows_are_read_in_the_dialect() -> None:
    content = b"\xef\xbb\xbfa|b\n'x|y'|2\n"
    assert first_rows(content, Dialect(delimiter="|", quote="'"), 5) == [["a", "b"], ["x|y", "2"]]
