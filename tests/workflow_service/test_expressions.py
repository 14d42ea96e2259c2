from __future__ import annotations

import enum
import math
import re
import threading
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.faults import InvalidArgument
from workflow_service.expression_values import (
    CONTEXT_CHARS_MAX,
    CONTEXT_ITEMS_MAX,
    RESULT_CHARS_MAX,
    RESULT_ITEMS_MAX,
)
from workflow_service.expressions import TEXT_CHARS_MAX, Environment, ExpressionFailed

ENVIRONMENT = Environment()
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


class State(enum.StrEnum):
    DONE = "done"


def evaluate(text: str, /, **inputs: object) -> object:
    return ENVIRONMENT.compile(text).evaluate({"input": inputs, "steps": {}, "run": {}})


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("1 + 2", set()),
        ("input.threshold > 1", {("input", "threshold")}),
        (
            "steps.delays.row_count > 0 && input.t < 1.0",
            {("steps", "delays", "row_count"), ("input", "t")},
        ),
        ('steps["a-b"].value.x', {("steps", "a-b", "value", "x")}),
        ("steps.q.rows[0].total", {("steps", "q", "rows")}),
        ("steps[input.x]", {("steps",), ("input", "x")}),
        ("has(input.x)", {("input", "x")}),
        ("input.?x.orValue(1)", {("input", "x")}),
        ('input[?"x"].?y.orValue(1)', {("input", "x", "y")}),
        ("input.?x.optMap(v, v + input.y).orValue(0)", {("input", "x"), ("input", "y")}),
        ("input.l.map(input, input.x)", {("input", "l")}),
        ("[{'x': 1}].map(input, .input.x)", {("input", "x")}),
        ("input.l.all(a, a > run.low)", {("input", "l"), ("run", "low")}),
        ("cel.bind(d, steps.d, d.value + d.other)", {("steps", "d")}),
        ("{'a': input.a, input.k: [input.b]}", {("input", "a"), ("input", "k"), ("input", "b")}),
        ("input.s.matches('x')", {("input", "s")}),
        ("(input.a ? run : run).id", {("input", "a"), ("run",)}),
        ("google.protobuf.Int64Value{value: input.x}", {("input", "x")}),
        ("[{'a': 1}][0].a == 1 && type(1) == int && 1.5 < 2.0 && b'a' == b'b'", set()),
    ],
)
def test_references_are_the_constant_paths_that_an_expression_reads(
    text: str, references: set[tuple[str, ...]]
) -> None:
    assert ENVIRONMENT.compile(text).references == references


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 +", "line 1, column 4: Syntax error"),
        ("true &&\n  unknown", "line 2, column 3: undeclared reference to 'unknown'"),
        ("'a' + 1", "line 1, column 5: found no matching overload"),
        ("", "Syntax error"),
        ("(" * 100 + "1" + ")" * 100, "Expression recursion limit exceeded. limit: 32"),
        ("+".join("1" * 100), "Exceeded max recursion depth of 32 when parsing"),
        ("true" + " " * TEXT_CHARS_MAX, "at most 8192 characters"),
        ("true\0 garbage", "no NUL"),
        ("'\ud800'", "lone surrogate"),
        ("type(1)", "no value"),
        ("input.?x", "orValue"),
        ("[1].map(a, [1].map(b, [1].map(c, c)))", "nest at most 2"),
        ("input.a.map(a, input.b.map(b, [b].join(input.c)))", "nest at most 2"),
        ("input.s.replace('a', input.t)", "literals"),
        ("input.s.replace(input.t, 'a')", "literals"),
        ("input.s" + ".replace('a', 'aaaaaaaaaa')" * 2, "64 times longer"),
        ("input.s.replace('', '" + "a" * 64 + "')", "64 times longer"),
    ],
)
def test_what_cannot_be_compiled_says_why_and_where(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)) as caught:
        ENVIRONMENT.compile(text)
    assert caught.value.reason == "EXPRESSION_INVALID"
    found = re.match(r"line (\d+), column (\d+)", caught.value.message)
    assert caught.value.metadata == ({"line": found[1], "column": found[2]} if found else {})


def test_doubling_through_binds_is_counted_written_out() -> None:
    text = "h"
    for name, before in zip("hgfedcba", "gfedcba" + "s", strict=True):
        bound = "input.s" if before == "s" else before
        text = f"cel.bind({name}, {bound} + {bound}, {text})"
    with pytest.raises(InvalidArgument, match="at most 100 `\\+`"):
        ENVIRONMENT.compile(text)


@pytest.mark.parametrize("text", ["1", "'true'", "[true]", "null"])
def test_a_condition_that_can_never_be_a_bool_does_not_compile(text: str) -> None:
    with pytest.raises(InvalidArgument, match="must be a bool"):
        ENVIRONMENT.compile_condition(text)


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("input.n > 1", True),
        ("input.flag", False),
        ("input.n < 10.0", True),
        ("input.gone == 1 || true", True),
        ("has(input.gone)", False),
    ],
)
def test_a_condition_is_a_bool(text: str, truth: bool) -> None:
    condition = ENVIRONMENT.compile_condition(text)
    assert condition.evaluate_condition({"input": {"n": 3, "flag": False}}) is truth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # An error's `.value()` is a truthy string.
        ("1 / 0 == 1", "^divide by zero$"),
        ("input.gone", "^Key not found in map"),
        ("input.text", "must be a bool, this is a CEL string"),
        ("input.number", "must be a bool, this is a CEL int"),
        ("run.id == 'a'", 'No value with name "run"'),
    ],
)
def test_a_condition_is_never_merely_truthy(text: str, message: str) -> None:
    condition = ENVIRONMENT.compile_condition(text)
    with pytest.raises(ExpressionFailed, match=message):
        condition.evaluate_condition({"input": {"text": "true", "number": 1}})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("1.25"), 1.25),
        (Decimal("Infinity"), math.inf),
        (date(2026, 3, 1), datetime(2026, 3, 1, tzinfo=UTC)),
        (NOON.astimezone(timezone(timedelta(hours=2))), NOON),
        (datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)),
        (datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
        (timedelta(microseconds=-1), timedelta(microseconds=-1)),
        (2**63, 2**63),
        (2**64 - 1, 2**64 - 1),
        (2**64, float(2**64)),
        (-(2**63) - 1, -float(2**63)),
        ((1, "a"), [1, "a"]),
        (State.DONE, "done"),
        ("a\0b", "a\0b"),
        (b"a\0b", b"a\0b"),
        (bytearray(b"x"), b"x"),
    ],
)
def test_what_cel_has_no_type_for_becomes_the_nearest_it_has(
    value: object, expected: object
) -> None:
    result = evaluate("[{'v': input.v}]", v=[{"deep": value}])
    assert result == [{"v": [{"deep": expected}]}]


def test_a_decimal_nan_is_a_nan() -> None:
    assert evaluate("input.v != input.v", v=Decimal("sNaN")) is True


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (datetime(2026, 1, 1), "time zone"),  # noqa: DTZ001  # what is refused
        (timedelta.max, "above maximum allowed duration"),
        (10**400, "larger than a double"),
        (Decimal("1e400"), "larger than a double"),
        ("\ud800", "surrogate"),
        ({1: 2}, "keys must be text"),
        ({"a\0": 2}, "keys must be text"),
        ({"\ud800": 2}, "keys must be text"),
        (object(), "a object cannot enter"),
        ([0] * (CONTEXT_ITEMS_MAX + 1), "more than 100000 items"),
        ("a" * (CONTEXT_CHARS_MAX + 1), "more than 8388608 characters"),
    ],
)
def test_what_cannot_enter_an_expression_fails_it(value: object, message: str) -> None:
    with pytest.raises(ExpressionFailed, match=message):
        evaluate("size(input) > 0", v=value)


def test_a_value_nested_too_deep_fails() -> None:
    value: object = 1
    for _ in range(10_000):
        value = [value]
    with pytest.raises(ExpressionFailed, match="nested deeper than 32"):
        evaluate("input.v", v=value)


def test_only_what_is_read_is_converted() -> None:
    expression = ENVIRONMENT.compile(
        "steps.q.row_count + size(steps.q.value) + size(steps.q.value.a)"
    )
    steps = {"q": {"row_count": 3, "rows": object(), "value": {"a": "xy"}}, "other": object()}
    assert expression.evaluate({"steps": steps, "run": object()}) == 6


def test_a_path_through_what_is_not_a_map_is_cels_to_refuse() -> None:
    with pytest.raises(ExpressionFailed, match="SELECT"):
        evaluate("input.x.y", x=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'a': input.n, 'a': 2}", "duplicate key"),
        ("{1: 2}", "keys must be strings, this one is 1"),
        ("{true: {'a': 1}}", "keys must be strings"),
        ("[type(1)]", "no value"),
        ("dyn(optional.of(1))", "orValue"),
        ("[optional.none()]", "orValue"),
        ("dyn(type(1))", "no value"),
        ("input.n + 1.0", "No matching overloads"),
        ("9223372036854775807 + input.n", "integer overflow"),
        ("[1 / 0]", "divide by zero"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('100s')", "timestamp overflow"),
        ("input.l.map(x, x)", "could loop over 20000 items of this context, the limit is 1000"),
        ("(input.m + input.m).filter(x, true)", "could loop over 2000 items"),
        ("input.hundred.map(x, input.m + input.m).map(x, x.map(y, y))", "could loop over"),
        ("input.m.map(x, input.m.map(y, y))", "Iteration budget exceeded"),
        ("input.hundred.map(x, input.m)", f"more than {RESULT_ITEMS_MAX} items"),
        ("input.big + input.big", f"more than {RESULT_CHARS_MAX} characters"),
        ("{input.big + input.big: 1}", f"more than {RESULT_CHARS_MAX} characters"),
        ("input.m.map(x, input.big + 'x')", "could copy"),
        ("input.m.join(input.big)", "could copy"),
        ("input.m.map(x, input.hundred.map(y, input.big))", "could copy"),
        ("input.big.split('').map(x, input.big)", "could loop over"),
    ],
)
def test_an_expression_without_a_value_in_bounds_fails(text: str, message: str) -> None:
    with pytest.raises(ExpressionFailed, match=message):
        evaluate(
            text,
            n=1,
            l=[1] * 20_000,
            m=["a"] * 1_000,
            hundred=[1] * 100,
            big="a" * (RESULT_CHARS_MAX - 9),
        )


def test_a_result_nested_too_deep_fails() -> None:
    value: object = 1
    for _ in range(30):
        value = [value]
    with pytest.raises(ExpressionFailed, match="the result is nested deeper than 64"):
        evaluate(
            "cel.bind(a, "
            + "[" * 20
            + "input.v"
            + "]" * 20
            + ", "
            + "[" * 20
            + "a"
            + "]" * 20
            + ")",
            v=value,
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'a,b'.split(',').map(s, s.upperAscii()).join('-')", "A-B"),
        ("'%s is %d'.format(['x', 3])", "x is 3"),
        ('input.name.replace("\'", "\'\'")', "O''Neil"),
        ("math.greatest(input.n, 7)", 7),
        ("base64.encode(b'hi')", "aGk="),
        ("input.?gone.orValue('none')", "none"),
        ("cel.bind(x, input.n * 2, x + x)", 12),
        ("[1, 2, 3].filter(x, x > 1)", [2, 3]),
        ("{'n': 1u, 'b': b'\\000'}", {"n": 1, "b": b"\0"}),
        ("timestamp('2026-03-01T12:00:00.1234569Z')", NOON),
        ("duration('1500ms')", timedelta(seconds=1.5)),
        ("'aaaa'.matches('(a+)+$')", True),
        ("null", None),
        ("'é\\000'", "é\0"),
        ("google.protobuf.Struct{}", {}),
    ],
)
def test_the_language_has_its_extensions(text: str, expected: object) -> None:
    assert evaluate(text, name="O'Neil", n=3) == expected


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.timedeltas(timedelta(days=-3_652_499), timedelta(days=3_652_499))
)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    SCALARS, lambda part: st.lists(part) | st.dictionaries(KEYS, part), max_leaves=20
)


@given(VALUES)
def test_a_value_comes_back_as_it_went_in(value: object) -> None:
    expression = ENVIRONMENT.compile("input.v")
    result = expression.evaluate({"input": {"v": value}})
    assert result == value
    assert type(result) is type(value)


@given(st.text(max_size=40))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        ENVIRONMENT.compile(text)
    except InvalidArgument as fault:
        assert fault.reason == "EXPRESSION_INVALID"  # noqa: PT017  # most texts raise


def test_threads_share_a_compiled_expression() -> None:
    expression = ENVIRONMENT.compile("input.l.map(x, x * input.n)")
    wrong: list[object] = []

    def work(number: int) -> None:
        for _ in range(300):
            result = expression.evaluate({"input": {"l": [1, 2], "n": number}})
            if result != [number, 2 * number]:
                wrong.append(result)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
