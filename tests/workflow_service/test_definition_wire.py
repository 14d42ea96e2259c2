"""Messages as compiled definitions: defaults, and every mistake under its path."""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.protobuf import json_format, struct_pb2

from flux.workflow.v1 import workflow_pb2
from tests.support.definitions import compiled, definition, environment, message, told
from workflow_service.definition import (
    Condition,
    FromStep,
    HttpCall,
    InputType,
    InsertRows,
    QuerySql,
    RetryPolicy,
    RowExpressions,
    TransformExpression,
    TransformSql,
    UpsertRows,
)
from workflow_service.definition_wire import (
    DEFINITION_BYTES_MAX,
    DEPTH_MAX,
    EXPRESSIONS_MAX,
    STEPS_MAX,
    compile_definition,
    from_text,
    size_mistakes,
    to_text,
)

EVERY_KIND = """
    name: w
    description: All there is.
    inputs:
      n: {type: TYPE_NUMBER, default: 2}
      s: {type: TYPE_STRING}
    steps:
      - id: q
        query: {sql: SELECT $a AS a, parameters: {a: input.n}}
        timeout: 1.5s
        retry: {max_attempts: 5, max_interval: 10s}
      - id: t
        transform: {sql: SELECT * FROM q}
      - id: e
        transform: {expression: steps.q.row_count + 1}
      - id: c
        condition:
          cases:
            - name: many
              when: steps.e.value > 1
              steps:
                - id: i
                  action: {insert_rows: {table: x, from_step: t}}
          otherwise:
            steps:
              - id: u
                action:
                  upsert_rows:
                    table: auth.x
                    key_columns: [a]
                    values: {rows: [{values: {a: '1', b: input.s}}]}
      - id: h
        action: {http_call: {method: METHOD_PUT, url: input.s, headers: {X: '"y"'}}}
    output: {o: steps.h.value}
    """


def test_every_kind_of_step_is_compiled() -> None:
    found = definition(EVERY_KIND)
    q, t, e, c, h = found.steps
    assert isinstance(q.kind, QuerySql)
    assert list(q.kind.parameters) == ["a"]
    assert q.timeout == timedelta(seconds=1.5)
    assert q.retry == RetryPolicy(max_attempts=5, max_interval=timedelta(seconds=10))
    assert isinstance(t.kind, TransformSql)
    assert (t.retry, t.timeout) == (RetryPolicy(), timedelta(minutes=5))
    assert isinstance(e.kind, TransformExpression)
    assert isinstance(c.kind, Condition)
    [inner] = c.kind.cases[0].steps
    assert inner.kind == InsertRows(table="x", source=FromStep(step="t"))
    upsert = c.kind.otherwise[0].kind
    assert isinstance(upsert, UpsertRows)
    assert upsert.key_columns == ("a",)
    assert isinstance(upsert.source, RowExpressions)
    assert [sorted(row) for row in upsert.source.rows] == [["a", "b"]]
    assert isinstance(h.kind, HttpCall)
    assert (h.kind.method, h.kind.body) == ("PUT", None)
    assert [(i.name, i.type, i.required, i.default) for i in found.inputs] == [
        ("n", InputType.NUMBER, False, 2.0),
        ("s", InputType.STRING, True, None),
    ]
    assert isinstance(found.inputs[0].default, float)


def test_every_expression_that_does_not_compile_is_named_and_the_rest_is_still_there() -> None:
    found = compiled(
        """
        name: w
        steps:
          - id: q
            query: {sql: SELECT $a, parameters: {a: 1 +}}
          - id: e
            transform: {expression: nope}
          - id: c
            condition:
              cases:
                - {name: x, when: '1'}
                - name: y
                  when: 'true'
                  steps:
                    - id: i
                      action: {insert_rows: {table: x, values: {rows: [{values: {a: '}'}}]}}}
              otherwise: {}
          - id: h
            action: {http_call: {method: METHOD_GET, url: '[', headers: {X: ''}, body: '('}}
        output: {o: 1 ?}
        """
    )
    assert told(found.diagnostics) == [
        ('steps[0].query.parameters["a"]', "EXPRESSION_INVALID"),
        ("steps[1].transform.expression", "EXPRESSION_INVALID"),
        ("steps[2].condition.cases[0].when", "EXPRESSION_INVALID"),
        (
            'steps[2].condition.cases[1].steps[0].action.insert_rows.values.rows[0].values["a"]',
            "EXPRESSION_INVALID",
        ),
        ("steps[3].action.http_call.url", "EXPRESSION_INVALID"),
        ('steps[3].action.http_call.headers["X"]', "EXPRESSION_INVALID"),
        ("steps[3].action.http_call.body", "EXPRESSION_INVALID"),
        ('output["o"]', "EXPRESSION_INVALID"),
    ]
    assert [step.id for step in found.definition.steps] == ["q", "e", "c", "h"]


@pytest.mark.parametrize(
    ("type_", "default", "value"),
    [
        ("TYPE_STRING", "'a'", "a"),
        ("TYPE_INTEGER", "3", 3),
        ("TYPE_INTEGER", "'9007199254740993'", 9007199254740993),
        ("TYPE_NUMBER", "1", 1.0),
        ("TYPE_NUMBER", "1.5", 1.5),
        ("TYPE_BOOL", "false", False),
        ("TYPE_ANY", "null", None),
        ("TYPE_ANY", "{a: [1, x]}", {"a": [1, "x"]}),
    ],
)
def test_a_default_becomes_a_value_of_its_type(type_: str, default: str, value: object) -> None:
    [spec] = definition(_with_default(type_, default)).inputs
    assert not spec.required
    assert spec.default == value
    assert type(spec.default) is type(value)


@pytest.mark.parametrize(
    ("type_", "default"),
    [
        ("TYPE_STRING", "1"),
        ("TYPE_STRING", "null"),
        ("TYPE_INTEGER", "1.5"),
        ("TYPE_INTEGER", "true"),
        ("TYPE_INTEGER", "x"),
        ("TYPE_INTEGER", "'9223372036854775808'"),
        ("TYPE_NUMBER", "'1.5'"),
        ("TYPE_NUMBER", "false"),
        ("TYPE_BOOL", "0"),
        ("TYPE_BOOL", "no"),
    ],
)
def test_a_default_of_another_type_is_refused(type_: str, default: str) -> None:
    found = compiled(_with_default(type_, default))
    assert told(found.diagnostics) == [('inputs["x"].default', "DEFAULT_INVALID")]


def _with_default(type_: str, default: str) -> str:
    return f"""
        name: w
        inputs: {{x: {{type: {type_}, default: {default}}}}}
        steps: [{{id: a, transform: {{expression: '1'}}}}]
        """


@pytest.mark.parametrize(
    "default",
    [
        struct_pb2.Value(number_value=float("nan")),
        struct_pb2.Value(
            list_value=struct_pb2.ListValue(values=[struct_pb2.Value(number_value=float("inf"))])
        ),
    ],
)
def test_a_default_that_json_cannot_say_is_refused_before_it_is_stored(
    default: struct_pb2.Value,
) -> None:
    made = message(_with_default("TYPE_ANY", "1"))
    made.inputs["x"].default.CopyFrom(default)
    assert told(size_mistakes(made)) == [('inputs["x"].default', "DEFAULT_INVALID")]


def test_parameters_of_an_expression_are_refused() -> None:
    found = compiled(
        """
        name: w
        steps: [{id: a, transform: {expression: '1', parameters: {x: '1'}}}]
        """
    )
    assert told(found.diagnostics) == [('steps[0].transform.parameters["x"]', "PARAMETER_UNUSED")]


def _pure(id_: str) -> workflow_pb2.Step:
    return workflow_pb2.Step(id=id_, transform=workflow_pb2.TransformStep(expression="1"))


def _nested(depth: int) -> workflow_pb2.Definition:
    """Return a definition with `depth` conditions one in another and a step inside."""
    step = _pure("inner")
    for level in range(depth):
        case = workflow_pb2.ConditionStep.Case(name="a", when="true", steps=[step])
        condition = workflow_pb2.ConditionStep(
            cases=[case], otherwise=workflow_pb2.ConditionStep.Otherwise()
        )
        step = workflow_pb2.Step(id=f"c{level}", condition=condition)
    return workflow_pb2.Definition(name="w", steps=[step])


def test_conditions_nest_so_deep_and_no_deeper() -> None:
    assert compile_definition(_nested(DEPTH_MAX), environment()).diagnostics == ()
    found = compile_definition(_nested(DEPTH_MAX + 1), environment())
    assert told(found.diagnostics) == [("steps", "NESTED_TOO_DEEP")]


def test_the_deepest_definition_travels_and_is_stored() -> None:
    deepest = _nested(DEPTH_MAX)
    assert workflow_pb2.Definition.FromString(deepest.SerializeToString()) == deepest
    assert from_text(to_text(deepest)) == deepest


def test_steps_are_counted_in_the_whole_definition() -> None:
    made = _nested(1)
    steps = made.steps[0].condition.cases[0].steps
    steps.extend(_pure(f"s{index}") for index in range(STEPS_MAX - 2))
    assert told(compile_definition(made, environment()).diagnostics) == []
    steps.append(_pure("one_too_many"))
    assert told(compile_definition(made, environment()).diagnostics) == [
        ("steps", "TOO_MANY_STEPS")
    ]


def test_expressions_are_counted_in_the_whole_definition() -> None:
    row = workflow_pb2.RowValues.Row(values={f"c{index}": "1" for index in range(1000)})
    values = workflow_pb2.RowValues(rows=[row] * (EXPRESSIONS_MAX // 1000 + 1))
    action = workflow_pb2.ActionStep(
        insert_rows=workflow_pb2.InsertRowsAction(table="x", values=values)
    )
    made = workflow_pb2.Definition(name="w", steps=[workflow_pb2.Step(id="a", action=action)])
    [found] = compile_definition(made, environment()).diagnostics
    assert found.reason == "TOO_MANY_EXPRESSIONS"
    assert found.field.startswith("definition.steps[0].action.insert_rows.values.rows[5].values[")


def test_a_definition_has_a_size() -> None:
    made = message(EVERY_KIND)
    assert size_mistakes(made) == ()
    made.steps[0].query.sql = "x" * DEFINITION_BYTES_MAX
    assert told(size_mistakes(made)) == [("definition", "TOO_LARGE")]


def test_the_same_definition_gives_the_same_text_whatever_the_order_of_its_maps() -> None:
    made = message(EVERY_KIND)
    values = json_format.MessageToDict(made)
    values["inputs"] = dict(reversed(values["inputs"].items()))
    other = json_format.ParseDict(dict(reversed(values.items())), workflow_pb2.Definition())
    assert to_text(other) == to_text(made)
