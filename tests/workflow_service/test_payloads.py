from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_service.payloads import decode, depth, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = TEXT | st.sampled_from(["$t", "$f", "$m", "$", "$s", "$b"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | TEXT
    | st.sampled_from(["$t", '"$', '{"$t":1}'])
    | st.binary()
    | st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0))
    | st.timedeltas()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)
)


@given(value=VALUES)
def test_every_value_comes_back_as_it_was(value: object) -> None:
    text = encode(value)
    back = decode(text)
    assert back == value
    assert repr(back) == repr(value)
    json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> object:
    raise AssertionError(f"{name} is no JSON")


def test_nan_comes_back() -> None:
    back = decode(encode([math.nan, math.inf, -math.inf]))
    assert repr(back) == "[nan, inf, -inf]"


def test_plain_values_are_plain_json() -> None:
    assert encode({"value": [1, "é", None, True]}) == '{"value":[1,"é",null,true]}'


def test_a_date_is_midnight_as_in_expressions() -> None:
    assert decode(encode(date(2013, 1, 2))) == datetime(2013, 1, 2, tzinfo=UTC)


def test_a_span_keeps_its_microseconds() -> None:
    assert decode(encode(timedelta.max)) == timedelta.max


def test_what_cannot_be_journalled_is_refused() -> None:
    with pytest.raises(TypeError, match="Decimal"):
        encode({"x": [Decimal(1)]})


@pytest.mark.parametrize(
    ("value", "levels"), [(1, 0), ([], 1), ({}, 1), ([1, [2]], 2), ({"a": {"b": [1]}}, 3)]
)
def test_depth_counts_lists_and_maps(value: object, levels: int) -> None:
    assert depth(value) == levels
