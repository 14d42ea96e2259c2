"""Text from strangers: what is read, and what is refused before anything is made of it."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from workflow_service.documents import (
    DEPTH_MAX,
    NODES_MAX,
    DocumentRefused,
    Plain,
    plain,
    read_document,
)


def read(text: str) -> Plain:
    return plain(read_document(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("'null'", "null"),
        ('"true"', "true"),
        ("'010'", "010"),
        ("2013-01-31", "2013-01-31"),
        ("2013-01-31 05:15:00", "2013-01-31 05:15:00"),
        ("1:30", "1:30"),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("9007199254740993", 9007199254740993),
        ("1.50", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ("<<", "<<"),
        ("|\n  x\n  y\n", "x\ny\n"),
        (">-\n  x\n  y\n", "x y"),
    ],
)
def test_scalars_are_read_as_the_core_schema_reads_them(text: str, value: object) -> None:
    assert read(f"a: {text}") == {"a": value}


@pytest.mark.parametrize("text", ["on", "1", "null", "true", "2013-01-31", "<<"])
def test_keys_are_the_text_that_stands_there(text: str) -> None:
    assert read(f"{text}: 1") == {text: 1}


@pytest.mark.parametrize(
    "number",
    ["010", "-010", "0o17", "0x1F", "0b11", "1_000", "00.5", ".inf", "-.Inf", ".nan", ".NaN"],
)
def test_a_number_that_readers_disagree_about_is_refused(number: str) -> None:
    with pytest.raises(DocumentRefused, match="means different things") as refused:
        read(f"a: 1\nb: {number}")
    assert refused.value.line == 2


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "empty"),
        ("# nothing\n", 0, "empty"),
        ("a: 1\nb: &x 2", 2, "anchors"),
        ("&x a: 1", 1, "anchors"),
        ("a: &x [1]\nb: *x", 1, "anchors"),
        ("a: *x", 1, "aliases"),
        ("a: !!python/object/apply:os.system ['true']", 1, "tags"),
        ("a: !!int 1", 1, "tags"),
        ("a: ! 1", 1, "tags"),
        ("- !local\n  a: 1", 1, "tags"),
        ("%TAG ! tag:example.org,2000:\n---\na: !b 1", 3, "tags"),
        ("a: 1\nb: 2\na: 3", 3, "'a' is given twice"),
        ("a:\n  b: 1\n  'b': 2", 3, "'b' is given twice"),
        ("? [a]\n: 1", 1, "a key must be text"),
        ("? {a: 1}\n: 1", 1, "a key must be text"),
        ("---\na: 1\n---\nb: 2", 3, "more than one document"),
        ("a: 1\n b: 2", 2, "this is not YAML"),
        ("a: 1\n\tb: 2", 2, "this is not YAML"),
        ("a: 'x", 1, "this is not YAML"),
        ("a: \0", 0, "a character that is not allowed"),
        ("a: \x1b[2J", 0, "a character that is not allowed"),
        ("a: \ud800", 0, "a character that is not allowed"),
        ("a: 1e999", 1, "too large"),
        ("a: " + "9" * 5000, 1, "more than 40 characters"),
        ("a: " + "[" * 1_000_000, 1, f"deeper than {DEPTH_MAX}"),
        ("- " * 500_000, 1, f"deeper than {DEPTH_MAX}"),
        ("{a: 1}", 1, "this is not JSON"),
        ('{"a": 1,\n"b": }', 2, "this is not JSON"),
        ('{"a": 1, "a": 2}', 0, "'a' is given twice"),
        ('{"a": {"b": 1, "b": 2}}', 0, "'b' is given twice"),
        ('{"a": NaN}', 0, "NaN is no number"),
        ('{"a": -Infinity}', 0, "-Infinity is no number"),
        ('{"a": 1e999}', 0, "too large"),
        ('{"a": ' + "9" * 5000 + "}", 0, "more than 40 characters"),
        ('{"a": "\\ud83d"}', 0, "lone surrogate"),
        ('{"\\ud83d": 1}', 0, "lone surrogate"),
        ('{"a": ' + "[" * 500_000, 0, f"deeper than {DEPTH_MAX}"),
        ('{"a": ' + "[" * 500 + "]" * 500 + "}", 0, f"deeper than {DEPTH_MAX}"),
        ('{"a": 1} x', 1, "this is not JSON"),
    ],
)
def test_hostile_or_broken_text_is_refused_with_its_line(
    text: str, line: int, message: str
) -> None:
    with pytest.raises(DocumentRefused, match=re.escape(message)) as refused:
        read(text)
    assert refused.value.line == line


@pytest.mark.parametrize(
    "text", ["a: [" + "1," * NODES_MAX + "]", '{"a": [' + "1," * NODES_MAX + "1]}"]
)
def test_a_document_holds_a_bounded_number_of_values(text: str) -> None:
    with pytest.raises(DocumentRefused, match=f"more than {NODES_MAX} values"):
        read(text)


def test_a_billion_laughs_end_at_the_first() -> None:
    laughs = "a: &a [x, x]\n" + "".join(f"{name}: &{name} [*a, *a]\n" for name in "bcdef")
    with pytest.raises(DocumentRefused, match="anchors"):
        read(laughs)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "on", "1", "null"]), _VALUES))
def test_what_json_writes_is_read_back(value: dict[str, object]) -> None:
    assert read(json.dumps(value)) == value
    assert read(json.dumps(value, ensure_ascii=False, indent=2)) == value


@given(_VALUES)
def test_what_a_yaml_writer_writes_is_read_back_or_refused(value: object) -> None:
    text = yaml.safe_dump({"a": value})
    try:
        found = read(text)
    except DocumentRefused:
        return
    assert found == {"a": value}


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(DocumentRefused):
        read_document(text)
