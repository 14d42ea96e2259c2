"""Who may speak of what: each wrong name under its path, each right one left alone."""

from __future__ import annotations

import pytest

from tests.support.definitions import definition, told
from workflow_service.references import check_references, placed_steps

# `sql` makes a dataset, `cel` a value, `wrote` rows, `called` a value, `chose` a choice; `in_case` and
# `in_other` are done in some runs only, `late` comes after the step that the cases below put in.
AROUND = """
    name: w
    inputs:
      n: {{type: TYPE_NUMBER}}
      any: {{type: TYPE_ANY}}
    steps:
      - id: sql
        query: {{sql: SELECT 1 AS a}}
      - id: cel
        transform: {{expression: '1'}}
      - id: wrote
        action: {{insert_rows: {{table: x, from_step: sql}}}}
      - id: called
        action: {{http_call: {{method: METHOD_GET, url: '"http://localhost"'}}}}
      - id: chose
        condition:
          cases:
            - name: a
              when: 'true'
              steps:
                - id: in_case
                  query: {{sql: SELECT 1 AS a}}
            - name: b
              when: 'true'
              steps:
                - id: in_other
                  transform: {{expression: '1'}}
          otherwise: {{}}
      - id: here
        {here}
      - id: late
        query: {{sql: SELECT 1 AS a}}
    """


def in_expression(expression: str) -> list[tuple[str, str]]:
    here = f"transform: {{expression: {expression!r}}}"
    return told(check_references(definition(AROUND.format(here=here))))


@pytest.mark.parametrize(
    "expression",
    [
        "input.n",
        "input.any.deep.down",
        "has(input.any.x) ? input.any.x : 1",
        "input",
        "steps",
        "run.id + run.workflow",
        "run.version",
        "run.start_time",
        "steps.sql.rows[0].a",
        "steps.sql.row_count",
        "steps.sql",
        "steps.cel.value.x.y",
        "steps.wrote.row_count",
        "steps.called.value.status",
        "steps.chose.chosen",
        'steps["sql"]["rows"]',
        "has(steps.in_case) ? steps.in_case.row_count : 0",
        "steps.?in_case.?row_count.orValue(0)",
        'steps[?"in_other"].?value.orValue(0)',
        "[1].map(sql, sql + 1)",
        "steps.sql.rows.map(row, row.a)",
    ],
)
def test_what_is_there_may_be_named(expression: str) -> None:
    assert in_expression(expression) == []


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("input.m", "INPUT_UNKNOWN"),
        ("has(input.m)", "INPUT_UNKNOWN"),
        ("input.?m.orValue(1)", "INPUT_UNKNOWN"),
        ("input.n.x", "FIELD_UNKNOWN"),
        ("run.name", "FIELD_UNKNOWN"),
        ("steps.sqll.rows", "STEP_UNKNOWN"),
        ("steps.?nothing.?rows.orValue([])", "STEP_UNKNOWN"),
        ("steps.late.rows", "STEP_LATER"),
        ("has(steps.late) ? 1 : 2", "STEP_LATER"),
        ("steps.here.value", "STEP_LATER"),
        ("steps.in_case.row_count", "STEP_UNCERTAIN"),
        ("has(steps.in_case.row_count) ? 1 : 2", "STEP_UNCERTAIN"),
        ("has(steps.in_case) ? steps.in_other.value : 1", "STEP_UNCERTAIN"),
        ("steps.sql.value", "STEP_HAS_NO_SUCH_RESULT"),
        ("steps.sql.columns", "STEP_HAS_NO_SUCH_RESULT"),
        ("steps.cel.rows", "STEP_HAS_NO_SUCH_RESULT"),
        ("steps.wrote.rows", "STEP_HAS_NO_SUCH_RESULT"),
        ("steps.called.status", "STEP_HAS_NO_SUCH_RESULT"),
        ("steps.chose.value", "STEP_HAS_NO_SUCH_RESULT"),
        ("steps.?in_case.?value.orValue(0)", "STEP_HAS_NO_SUCH_RESULT"),
    ],
)
def test_what_is_not_there_is_refused(expression: str, reason: str) -> None:
    assert in_expression(expression) == [("steps[5].transform.expression", reason)]


def test_the_sentences_help() -> None:
    found = check_references(
        definition(
            AROUND.format(
                here="transform: {expression: '[steps.sqll.rows, input.nn, steps.cel.rows]'}"
            )
        )
    )
    assert [one.description for one in found] == [
        "no input 'nn'; did you mean 'n'?",
        "step 'cel' has no 'rows'; it has value",
        "no step 'sqll'; did you mean 'sql'?",
    ]


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("sql", None),
        ("cel", "STEP_HAS_NO_SUCH_RESULT"),
        ("chose", "STEP_HAS_NO_SUCH_RESULT"),
        ("in_case", "STEP_UNCERTAIN"),
        ("late", "STEP_LATER"),
        ("here", "STEP_LATER"),
        ("nothing", "STEP_UNKNOWN"),
    ],
)
@pytest.mark.parametrize(
    ("action", "more"), [("insert_rows", ""), ("upsert_rows", "key_columns: [a], ")]
)
def test_rows_come_from_a_dataset_that_is_there_in_every_run(
    action: str, more: str, step: str, reason: str | None
) -> None:
    here = f"action: {{{action}: {{table: x, {more}from_step: {step}}}}}"
    found = told(check_references(definition(AROUND.format(here=here))))
    assert found == ([(f"steps[5].action.{action}.from_step", reason)] if reason else [])


def test_every_place_of_an_expression_is_looked_at() -> None:
    found = check_references(
        definition(
            """
            name: w
            steps:
              - id: q
                query: {sql: SELECT $a, parameters: {a: input.x}}
              - id: t
                transform: {sql: SELECT $a, parameters: {a: input.x}}
              - id: c
                condition:
                  cases:
                    - name: a
                      when: input.x
                      steps:
                        - id: h
                          action:
                            http_call:
                              method: METHOD_POST
                              url: input.x
                              headers: {X: input.x}
                              body: input.x
                  otherwise:
                    steps:
                      - id: i
                        action: {insert_rows: {table: x, values: {rows: [{values: {a: input.x}}]}}}
            output: {o: input.x}
            """
        )
    )
    inside = "steps[2].condition.cases[0].steps[0].action.http_call"
    assert told(found) == [
        (path, "INPUT_UNKNOWN")
        for path in (
            'steps[0].query.parameters["a"]',
            'steps[1].transform.parameters["a"]',
            "steps[2].condition.cases[0].when",
            f"{inside}.url",
            f'{inside}.headers["X"]',
            f"{inside}.body",
            'steps[2].condition.otherwise.steps[0].action.insert_rows.values.rows[0].values["a"]',
            'output["o"]',
        )
    ]


BLOCKS = """
    name: w
    steps:
      - id: first
        transform: {{expression: '1'}}
      - id: chose
        condition:
          cases:
            - name: a
              when: {when}
              steps:
                - id: one
                  transform: {{expression: steps.first.value}}
                - id: two
                  transform: {{expression: {two}}}
            - name: b
              when: 'true'
              steps:
                - id: three
                  transform: {{expression: {three}}}
          otherwise: {{}}
    output: {{o: {output}}}
    """


def in_blocks(
    *, when: str = "'true'", two: str = "'1'", three: str = "'1'", output: str = "'1'"
) -> list[tuple[str, str]]:
    text = BLOCKS.format(when=when, two=two, three=three, output=output)
    return told(check_references(definition(text)))


def test_a_block_sees_what_came_before_and_what_was_chosen() -> None:
    assert in_blocks(two="steps.one.value", three="steps.chose.chosen") == []


def test_a_condition_does_not_see_its_own_blocks() -> None:
    path = "steps[1].condition.cases[0].when"
    assert in_blocks(when="steps.one.value") == [(path, "STEP_LATER")]
    assert in_blocks(when="steps.chose.chosen == 'a'") == [(path, "STEP_LATER")]


def test_a_case_does_not_see_another() -> None:
    path = "steps[1].condition.cases[1].steps[0].transform.expression"
    assert in_blocks(three="steps.one.value") == [(path, "STEP_UNCERTAIN")]


def test_the_output_sees_every_step_but_asks_for_those_in_blocks() -> None:
    assert in_blocks(output="steps.chose.chosen") == []
    assert in_blocks(output="steps.one.value") == [('output["o"]', "STEP_UNCERTAIN")]
    assert in_blocks(output="steps.?one.?value.orValue(0)") == []


def test_names_are_unique_in_the_whole_definition_and_no_words_of_cel() -> None:
    found = check_references(
        definition(
            """
            name: w
            inputs: {in: {type: TYPE_ANY}}
            steps:
              - id: a
                transform: {expression: '1'}
              - id: "true"
                condition:
                  cases:
                    - {name: x, when: 'true'}
                    - {name: otherwise, when: 'true'}
                    - name: x
                      when: 'true'
                      steps: [{id: a, transform: {expression: '1'}}]
                  otherwise:
                    steps: [{id: a, transform: {expression: '1'}}]
            """
        )
    )
    assert told(found) == [
        ('inputs["in"]', "NAME_RESERVED"),
        ("steps[1].id", "NAME_RESERVED"),
        ("steps[1].condition.cases[1].name", "NAME_RESERVED"),
        ("steps[1].condition.cases[2].name", "NAME_TAKEN"),
        ("steps[1].condition.cases[2].steps[0].id", "NAME_TAKEN"),
        ("steps[1].condition.otherwise.steps[0].id", "NAME_TAKEN"),
    ]


def test_a_place_knows_what_is_certain_and_what_is_only_possible() -> None:
    places = {
        place.step.id: (sorted(place.certain), sorted(place.sometimes))
        for place in placed_steps(
            definition(BLOCKS.format(when="'true'", two="'1'", three="'1'", output="'1'"))
        )
    }
    assert places == {
        "first": ([], []),
        "chose": (["first"], []),
        "one": (["chose", "first"], []),
        "two": (["chose", "first", "one"], []),
        "three": (["chose", "first"], ["one", "two"]),
    }
