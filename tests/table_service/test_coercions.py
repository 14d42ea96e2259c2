"""What is taken for a column of another kind, and that nothing is lost by it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.faults import InvalidArgument
from chassis.scalars import Json, Span
from table_service import codec
from table_service.coercions import coerced, text_of
from table_service.types import INTEGER_BITS, Column, Kind, Type
from tests.table_service.encoded import a_list, a_struct, an_enum, as_arrow, as_json, of_kind, typed

ENUM = an_enum("7", "true", "1.5", "x", "2013-01-31")
# Column's type, what comes typed, what is stored; a string is what is said against it.
TYPED: list[tuple[Kind | Type, object, object]] = [
    (Kind.BOOL, 1, True),
    (Kind.BOOL, 0.0, False),
    (Kind.BOOL, "TRUE", True),
    (Kind.INT64, "7", 7),
    (Kind.INT64, "7.0", 7),
    (Kind.INT64, "-7e2", -700),
    (Kind.INT64, 7.0, 7),
    (Kind.INT64, Decimal("7.00"), 7),
    (Kind.INT64, True, 1),
    (Kind.INT64, 2**63 - 1, 2**63 - 1),
    (Kind.INT16, 2.0**15 - 1, 2**15 - 1),
    (Kind.INT128, str(2**127 - 1), str(2**127 - 1)),
    (Kind.INT128, 5.0, "5"),
    (Kind.DECIMAL, "1.5", Decimal("1.50")),
    (Kind.DECIMAL, 0.1, Decimal("0.10")),
    (Kind.DECIMAL, False, Decimal("0.00")),
    (Kind.DOUBLE, "0.1", 0.1),
    (Kind.DOUBLE, "NaN", "nan"),
    (Kind.DOUBLE, Decimal("0.1"), 0.1),
    (Kind.DOUBLE, 2**60, 2.0**60),
    (Kind.DOUBLE, "-0.0", "-0.0"),
    (Kind.FLOAT, "1.5", 1.5),
    (Kind.STRING, 7, "7"),
    (Kind.STRING, 7.5, "7.5"),
    (Kind.STRING, 2**100, str(2**100)),
    (Kind.STRING, True, "true"),
    (Kind.STRING, Decimal("1.50"), "1.50"),
    (Kind.STRING, float("-inf"), "-Infinity"),
    (Kind.STRING, UUID(int=1), str(UUID(int=1))),
    (Kind.STRING, date(2013, 1, 31), "2013-01-31"),
    (Kind.STRING, time(5, 15), "05:15:00"),
    (Kind.STRING, datetime(2013, 1, 31, 5, tzinfo=UTC), "2013-01-31T05:00:00Z"),
    (Kind.STRING, datetime(2013, 1, 31, 5), "2013-01-31T05:00:00"),  # noqa: DTZ001
    (Kind.STRING, Span(months=1, days=2, microseconds=3_500_000), "P1M2DT3.500000S"),
    (Kind.STRING, Json('{"a": 1}'), '{"a": 1}'),
    (Kind.UUID, UUID(int=1).hex, str(UUID(int=1))),
    (Kind.UUID, str(UUID(int=1)).upper(), str(UUID(int=1))),
    (Kind.DATE, "2013-01-31", date(2013, 1, 31)),
    (Kind.DATE, "2013-01-31T00:00:00Z", date(2013, 1, 31)),
    (Kind.DATE, "2013-01-31 00:00", date(2013, 1, 31)),
    (Kind.DATE, datetime(2013, 1, 31), date(2013, 1, 31)),  # noqa: DTZ001
    (Kind.DATE, datetime(2013, 1, 31, tzinfo=UTC), date(2013, 1, 31)),
    (Kind.TIME, "05:15", time(5, 15)),
    (Kind.TIMESTAMP, "2013-01-31T01:00:00+01:00", datetime(2013, 1, 31, tzinfo=UTC)),
    (Kind.LOCAL_TIMESTAMP, "2013-01-31", datetime(2013, 1, 31)),  # noqa: DTZ001
    (Kind.LOCAL_TIMESTAMP, "2013-01-31T05:00", datetime(2013, 1, 31, 5)),  # noqa: DTZ001
    (Kind.LOCAL_TIMESTAMP, date(2013, 1, 31), datetime(2013, 1, 31)),  # noqa: DTZ001
    (Kind.INTERVAL, "P1M2DT3S", (1, 2, 3_000_000_000)),
    (ENUM, 7, "7"),
    (ENUM, True, "true"),
    (ENUM, 1.5, "1.5"),
    (ENUM, date(2013, 1, 31), "2013-01-31"),
    (a_list(Type(kind=Kind.INT64)), ["1", 2.0, None], [1, 2, None]),
    (a_struct(a=Type(kind=Kind.STRING)), {"a": 1}, {"a": "1"}),
]
REFUSED: list[tuple[Kind | Type, object, str]] = [
    (Kind.BOOL, 2, "2 is neither 0 nor 1"),
    (Kind.BOOL, "yes", "'yes' is neither 'true' nor 'false'"),
    (Kind.BOOL, b"1", "a bytes is not a BOOL"),
    (Kind.BOOL, date(2013, 1, 31), "a DATE is not taken for a BOOL"),
    (Kind.INT64, 7.5, "7.5 is not an integer"),
    (Kind.INT64, "7.5", "7.5 is not an integer"),
    (Kind.INT64, " 7", "' 7' is not a decimal number"),
    (Kind.INT64, "0x7", "'0x7' is not a decimal number"),
    (Kind.INT64, "", "'' is not a decimal number"),
    (Kind.INT64, "9" * 200, "has more than 100 digits"),
    (Kind.INT64, 2.0**60, "as a string"),
    (Kind.INT64, float("nan"), "NaN does not fit INT64"),
    (Kind.INT64, "1e9999", "does not fit INT64"),
    (Kind.INT64, str(2**63), "does not fit INT64"),
    (Kind.INT16, 32768, "does not fit INT16"),
    (Kind.INT128, str(2**127), "does not fit INT128"),
    (Kind.DECIMAL, "1.005", "more than 2 digits"),
    (Kind.DECIMAL, 1 / 3, "as a string"),
    (Kind.DECIMAL, float("inf"), "not a decimal number"),
    (Kind.DOUBLE, "0.10000000000000000001", "not exact as a DOUBLE"),
    (Kind.DOUBLE, "1e400", "does not fit DOUBLE"),
    (Kind.DOUBLE, "inf", "'inf' is not a decimal number"),
    (Kind.FLOAT, "1e39", "does not fit FLOAT"),
    (Kind.STRING, b"x", "a bytes is not a STRING"),
    (Kind.STRING, [1], "a list is not a STRING"),
    (Kind.UUID, "x", "'x' is not a UUID"),
    (Kind.UUID, 1, "not taken for a UUID"),
    (Kind.DATE, "2013-01-31T00:00:01", "2013-01-31T00:00:01 is not midnight"),
    (Kind.DATE, "31.01.2013", "not a date such as"),
    (Kind.DATE, 15000, "not taken for a DATE"),
    (Kind.TIME, "24:00", "not a time of day"),
    (Kind.TIME, datetime(2013, 1, 31, tzinfo=UTC), "not taken for a TIME"),
    (Kind.TIMESTAMP, "2013-01-31T05:00", "needs a zone"),
    (Kind.TIMESTAMP, date(2013, 1, 31), "not taken for a TIMESTAMP"),
    (Kind.TIMESTAMP, 0, "not taken for a TIMESTAMP"),
    (Kind.LOCAL_TIMESTAMP, "2013-01-31T05:00Z", "takes no zone"),
    (Kind.LOCAL_TIMESTAMP, datetime(2013, 1, 31, tzinfo=UTC), "not taken for a LOCAL_TIMESTAMP"),
    (Kind.INTERVAL, 5, "not taken for a INTERVAL"),
    (Kind.JSON, "{}", "not taken for a JSON"),
    (Kind.BYTES, "x", "not taken for a BYTES"),
    (ENUM, 8, "'8' is none of the labels"),
    (a_list(Type(kind=Kind.INT64)), "[1]", "not taken for a LIST"),
    (a_list(Type(kind=Kind.INT16)), ["1", "x"], "element 1: 'x' is not a decimal number"),
]


def column(type_: Kind | Type) -> Column:
    """Return a column."""
    return Column(name="v", type=type_) if isinstance(type_, Type) else of_kind(type_)


@pytest.mark.parametrize(("type_", "value", "stored"), TYPED, ids=str)
def test_typed_values_of_other_kinds_are_taken(
    type_: Kind | Type, value: object, stored: object
) -> None:
    decoded = codec.decode(typed(["v"], [value]), (column(type_),), coerce=True)
    [found] = decoded.rows.column("v").to_pylist()
    assert (str(found) if isinstance(found, float) and isinstance(stored, str) else found) == stored


@pytest.mark.parametrize(("type_", "value", "why"), REFUSED, ids=str)
def test_typed_values_that_would_be_bent_are_refused(
    type_: Kind | Type, value: object, why: str
) -> None:
    with pytest.raises(InvalidArgument) as raised:
        codec.decode(typed(["v"], [None], [value]), (column(type_),), coerce=True)
    [violation] = raised.value.violations
    assert why in violation.description
    assert violation.field == "rows.typed.rows[1].values[0]"


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        case[:2]
        for case in TYPED
        if not isinstance(case[1], (list, dict)) and case[1:] != (2**63 - 1, 2**63 - 1)
    ],
    ids=str,
)
def test_nothing_is_taken_unless_asked(type_: Kind | Type, value: object) -> None:
    holds = (Kind.DOUBLE, 2**60), (Kind.INT128, str(2**127 - 1))
    if (type_, value) == holds[0]:
        return
    with pytest.raises(InvalidArgument):
        codec.decode(typed(["v"], [value]), (column(type_),))


JSON: list[tuple[Kind | Type, Any, object]] = [
    (Kind.BOOL, 1, True),
    (Kind.BOOL, "false", False),
    (Kind.INT64, True, 1),
    (Kind.INT64, "7.0", 7),
    (Kind.STRING, 7, "7"),
    (Kind.STRING, 7.5, "7.5"),
    (Kind.STRING, False, "false"),
    (Kind.STRING, "x", "x"),
    (Kind.DATE, "2013-01-31T00:00:00Z", date(2013, 1, 31)),
    (Kind.DOUBLE, "1.5", 1.5),
    (Kind.UUID, UUID(int=1).hex, str(UUID(int=1))),
    (Kind.BYTES, "eA==", b"x"),
    (Kind.JSON, [1], "[1]"),
    (ENUM, 7, "7"),
    (a_list(Type(kind=Kind.STRING)), [1, "x", None], ["1", "x", None]),
    (a_struct(a=Type(kind=Kind.INT64)), {"a": "1"}, {"a": 1}),
]


@pytest.mark.parametrize(("type_", "value", "stored"), JSON, ids=str)
def test_json_values_of_other_kinds_are_taken(
    type_: Kind | Type, value: Any, stored: object
) -> None:
    decoded = codec.decode(as_json({"v": value}), (column(type_),), coerce=True)
    assert decoded.rows.column("v").to_pylist() == [stored]


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (Kind.INT64, 2.0**60, "send it as a string"),
        (Kind.INT64, 1.5, "is not an integer"),
        (Kind.DECIMAL, 123456789012345678, "as a string"),
        (Kind.STRING, [1], "a list is not a STRING"),
        (Kind.DATE, True, "not taken for a DATE"),
        (Kind.UUID, 1, "not taken for a UUID"),
    ],
)
def test_json_that_would_be_bent_is_refused(kind: Kind, value: Any, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        codec.decode(as_json({"v": value}), (of_kind(kind),), coerce=True)


ARROW: list[tuple[Kind | Type, pa.Array, list[object]]] = [
    (Kind.INT64, pa.array(["7", None, "8.0"]), [7, None, 8]),
    (Kind.INT64, pa.array([7.0, 8.0], pa.float32()), [7, 8]),
    (Kind.INT128, pa.array(["7.0", "8"]), ["7", "8"]),
    (Kind.BOOL, pa.array([0, 1], pa.uint8()), [False, True]),
    (Kind.STRING, pa.array([1, 2**64 - 1], pa.uint64()), ["1", str(2**64 - 1)]),
    (Kind.STRING, pa.array([Decimal("1.50")]), ["1.50"]),
    (Kind.STRING, pa.array([date(2013, 1, 31)], pa.date64()), ["2013-01-31"]),
    (Kind.STRING, pa.array([time(5)], pa.time32("s")), ["05:00:00"]),
    (Kind.STRING, pa.array([(1, 2, 3000)], pa.month_day_nano_interval()), ["P1M2DT0.000003S"]),
    (Kind.DATE, pa.array([datetime(2013, 1, 31, tzinfo=UTC)]), [date(2013, 1, 31)]),
    (Kind.DATE, pa.array(["2013-01-31"], pa.string_view()), [date(2013, 1, 31)]),
    (Kind.UUID, pa.array([UUID(int=1).hex, str(UUID(int=2))]), [str(UUID(int=n)) for n in (1, 2)]),
    (Kind.STRING, pa.array([UUID(int=1).bytes], pa.uuid()), [str(UUID(int=1))]),
    (ENUM, pa.array([7]), ["7"]),
    (a_list(Type(kind=Kind.STRING)), pa.array([[1], None]), [["1"], None]),
    (a_struct(a=Type(kind=Kind.INT64)), pa.array([{"a": "1"}]), [{"a": 1}]),
]


@pytest.mark.parametrize(("type_", "values", "stored"), ARROW, ids=str)
def test_arrow_values_of_other_kinds_are_taken(
    type_: Kind | Type, values: pa.Array, stored: list[object]
) -> None:
    decoded = codec.decode(as_arrow(v=values), (column(type_),), coerce=True)
    assert decoded.rows.column("v").to_pylist() == stored
    with pytest.raises(InvalidArgument):
        codec.decode(as_arrow(v=values), (column(type_),))


def test_arrow_values_that_would_be_bent_are_refused_by_row() -> None:
    decoded = codec.decode(
        as_arrow(v=pa.array(["1", "x", "2.5", "3"])),
        (of_kind(Kind.INT64),),
        coerce=True,
        per_row=True,
    )
    assert decoded.rows.column("v").to_pylist() == [1, 3]
    assert [fault.message for fault in decoded.faults] == [
        "row 1, column 'v': 'x' is not a decimal number",
        "row 2, column 'v': 2.5 is not an integer",
    ]
    with pytest.raises(InvalidArgument, match="Arrow's string is not a BYTES"):
        codec.decode(as_arrow(v=pa.array(["x"])), (of_kind(Kind.BYTES),), coerce=True)


_NUMBER_TEXT = st.from_regex(
    r"[+-]?[0-9]{1,25}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True
)
NUMBERS: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.BOOL: st.booleans(),
    Kind.INT64: st.integers(-(2**70), 2**70) | st.integers(-40_000, 40_000),
    Kind.DECIMAL: st.decimals(allow_nan=False, allow_infinity=False, places=3)
    | st.just(Decimal(0)),
    Kind.DOUBLE: st.floats(allow_nan=False) | st.integers(-100, 100).map(float),
    Kind.STRING: _NUMBER_TEXT,
}
TARGETS = [
    *(Type(kind=kind) for kind in INTEGER_BITS),
    Type(kind=Kind.DECIMAL, precision=30, scale=5),
    Type(kind=Kind.DOUBLE),
    Type(kind=Kind.BOOL),
]


@pytest.mark.parametrize("source", NUMBERS, ids=str)
@given(drawn=st.data(), type_=st.sampled_from(TARGETS))
def test_a_number_that_is_taken_is_the_number_that_came(
    source: Kind, drawn: st.DataObject, type_: Type
) -> None:
    item = drawn.draw(NUMBERS[source])
    try:
        taken = coerced(item, source, type_)
    except ValueError:
        return
    # A float stands for the number that it is, and for the one that it is written as.
    assert written(item) in (written(taken), Decimal(taken))  # type: ignore[arg-type] # a number


def written(number: Any) -> Decimal:
    """Return a number, or its text, as the decimal that it is written as."""
    if isinstance(number, float):
        return Decimal(repr(number))
    return Decimal(int(number)) if isinstance(number, bool) else Decimal(number)


PLAIN: dict[Kind, st.SearchStrategy[Any]] = {
    **{kind: values for kind, values in NUMBERS.items() if kind is not Kind.STRING},
    Kind.UUID: st.uuids().map(str),
    Kind.DATE: st.integers(-719162, 2932896),
    Kind.TIME: st.integers(0, 86_400_000_000 - 1),
    Kind.TIMESTAMP: st.integers(-(10**16), 10**16),
    Kind.LOCAL_TIMESTAMP: st.integers(-(10**16), 10**16),
    Kind.INTERVAL: st.tuples(
        st.integers(-1000, 1000),
        st.integers(-1000, 1000),
        st.integers(-(10**15), 10**15).map(lambda n: n * 1000),
    ),
}


@pytest.mark.parametrize("source", PLAIN, ids=str)
@given(drawn=st.data())
def test_what_is_text_can_be_read_back(source: Kind, drawn: st.DataObject) -> None:
    item = drawn.draw(PLAIN[source])
    text = coerced(item, source, Type(kind=Kind.STRING))
    assert text == text_of(item, source)
    back = Type(kind=Kind.INT128 if source is Kind.INT64 else source, precision=38, scale=3)
    try:
        read = coerced(text, Kind.STRING, back)
    except ValueError:
        # More digits than a decimal has.
        assert source is Kind.DECIMAL
        return
    assert read == (str(item) if source is Kind.INT64 else item)


@given(text=st.text(max_size=30), kind=st.sampled_from(list(Kind)))
def test_any_text_is_taken_or_refused(text: str, kind: Kind) -> None:
    type_ = Type(kind=kind, labels=("x",))
    with suppress(ValueError):
        coerced(text, Kind.STRING, type_)


def test_what_is_not_text_says_so() -> None:
    with pytest.raises(ValueError, match="a BYTES is not text"):
        text_of(b"x", Kind.BYTES)
