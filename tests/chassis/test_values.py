"""Values survive their journey."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from google.protobuf import timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from chassis.faults import InvalidArgument
from chassis.scalars import Json, Span
from chassis.values import (
    from_struct,
    from_value,
    to_plain_json,
    to_struct,
    to_value,
)
from flux.type.v1 import value_pb2

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**127), max_value=2**127 - 1)
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.uuids()
    | st.builds(
        Span,
        months=st.integers(-(2**31), 2**31 - 1),
        days=st.integers(-(2**31), 2**31 - 1),
        microseconds=st.integers(-(2**63), 2**63 - 1),
    )
    | st.builds(Json, st.text())
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_value_comes_back_as_it_went(value: object) -> None:
    back = from_value(value_pb2.Value.FromString(to_value(value).SerializeToString()))
    assert back == value
    assert type(back) is type(value)


def test_nan_stays_nan() -> None:
    back = from_value(to_value(math.nan))
    assert isinstance(back, float)
    assert math.isnan(back)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
)
def test_moment_at_the_edge_is_exact(moment: datetime) -> None:
    assert from_value(to_value(moment)) == moment


def test_timedelta_travels_as_days_and_microseconds() -> None:
    assert from_value(to_value(timedelta(days=-1, seconds=1))) == Span(
        months=0, days=-1, microseconds=1_000_000
    )


def test_integer_past_128_bits_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="128 bits"):
        to_value(2**127)


def test_deep_nesting_is_refused_both_ways() -> None:
    nested: list[object] = []
    for _ in range(40):
        nested = [nested]
    with pytest.raises(InvalidArgument, match="deeper than 32"):
        to_value(nested)
    wire = value_pb2.Value(int64=1)
    for _ in range(40):
        wire = value_pb2.Value(list=value_pb2.List(values=[wire]))
    with pytest.raises(InvalidArgument, match="deeper than 32"):
        from_value(wire)


@pytest.mark.parametrize(
    "wire",
    [
        value_pb2.Value(decimal="twelve"),
        value_pb2.Value(hugeint="1.5"),
        value_pb2.Value(date="2013-02-30"),
        value_pb2.Value(time="25:00"),
        value_pb2.Value(uuid="no"),
        value_pb2.Value(local_timestamp="yesterday"),
        value_pb2.Value(local_timestamp="2013-01-31T05:15:00Z"),
        value_pb2.Value(local_timestamp="2013-01-31T05:15:00.1234567"),
        value_pb2.Value(date="20130131"),
        value_pb2.Value(time="05:15:00.1234567"),
        value_pb2.Value(time="05:15+01:00"),
        value_pb2.Value(decimal="1_0"),
        value_pb2.Value(decimal="1e99999"),
        value_pb2.Value(hugeint=" 1"),
        value_pb2.Value(hugeint=str(2**127)),
        value_pb2.Value(uuid="{00000000-0000-0000-0000-000000000000}"),
        value_pb2.Value(timestamp=timestamp_pb2.Timestamp(nanos=1)),
        value_pb2.Value(timestamp=timestamp_pb2.Timestamp(nanos=-1000)),
        value_pb2.Value(timestamp=timestamp_pb2.Timestamp(seconds=2**40)),
    ],
)
def test_text_that_is_not_of_its_kind_is_refused(wire: value_pb2.Value) -> None:
    with pytest.raises(InvalidArgument) as caught:
        from_value(wire)
    assert caught.value.reason == "FIELDS_INVALID"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (2**53, 2**53),
        (2**53 + 1, str(2**53 + 1)),
        (math.inf, "Infinity"),
        (Decimal("12.50"), "12.50"),
        (date(2013, 1, 31), "2013-01-31"),
        (time(5, 15), "05:15:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"\x00\xff", "00ff"),
        (Json("[1]"), "[1]"),
        ({"a": [1, None]}, {"a": [1, None]}),
    ],
)
def test_what_json_lacks_becomes_text(value: object, plain: object) -> None:
    assert to_plain_json(value) == plain


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_struct_comes_back_as_it_went(values: dict[str, object]) -> None:
    assert from_struct(to_struct(values)) == values
