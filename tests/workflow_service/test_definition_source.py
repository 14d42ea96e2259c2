"""Source text as a message: every error of its form with path and line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st

from chassis.interceptors.validation import Validation
from flux.workflow.v1 import workflow_pb2
from tests.support.definitions import environment, told
from workflow_service.definition_source import Source, read_source
from workflow_service.definition_wire import compile_definition, from_text, to_text
from workflow_service.diagnostics import with_lines
from workflow_service.references import check_references

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
VALIDATION = Validation()


def read(text: str) -> Source:
    return read_source(dedent(text), VALIDATION)


def test_yaml_and_json_say_the_same() -> None:
    text = """
        name: w
        inputs:
          threshold: {type: TYPE_NUMBER, default: 15.5}
        steps:
          - id: a
            transform: {expression: '1'}
            timeout: 30s
            retry: {max_attempts: 2, initialInterval: 0.5s}
        """
    source = read(text)
    assert source.violations == ()
    assert source.definition.steps[0].timeout.seconds == 30
    assert source.definition.steps[0].retry.initial_interval.nanos == 500_000_000
    as_json = read(json.dumps(yaml.safe_load(dedent(text))))
    assert as_json.definition == source.definition
    assert as_json.lines == {}


@pytest.mark.parametrize(
    ("text", "path", "line", "words"),
    [
        ("- a", "definition", 1, "expects fields by name, not a list"),
        ("hello", "definition", 1, "expects fields by name, not text"),
        ("name: w\nnme: x\nsteps: []", "definition.nme", 2, "did you mean name?"),
        ("name: w\nzzz: x", "definition.zzz", 2, "there are name, description, inputs"),
        (
            "name: 1\nsteps: []",
            "definition.name",
            1,
            "expects text, not a number; put it in quotes",
        ),
        ("name: true", "definition.name", 1, "not true or false; put it in quotes"),
        ("name: [w]", "definition.name", 1, "expects text, not a list"),
        ("steps: {id: a}", "definition.steps", 1, "expects a list, not fields by name"),
        ("steps:\n- id: a\n-", "definition.steps[1]", 3, "expects fields by name, not null"),
        ("inputs: [a]", "definition.inputs", 1, "expects fields by name, not a list"),
        (
            "inputs:\n  a:\n    type: number",
            'definition.inputs["a"].type',
            3,
            "expects one of TYPE_STRING",
        ),
        ("inputs: {a: {type: 2}}", 'definition.inputs["a"].type', 1, "expects one of TYPE_STRING"),
        (
            "inputs: {a: {type: TYPE_UNSPECIFIED}}",
            'definition.inputs["a"].type',
            1,
            "expects one of TYPE_STRING",
        ),
        (
            "inputs: {a: {default: 9007199254740993}}",
            'definition.inputs["a"].default',
            1,
            "would be rounded",
        ),
        (
            "inputs: {a: {default: " + "[" * 40 + "]" * 40 + "}}",
            'definition.inputs["a"].default',
            1,
            "nests deeper than 32",
        ),
        ("steps:\n- id: a\n  timeout: 30", "definition.steps[0].timeout", 3, "such as 30s"),
        ("steps: [{timeout: 5m}]", "definition.steps[0].timeout", 1, "such as 30s"),
        (
            "steps: [{retry: {max_attempts: 1.5}}]",
            "definition.steps[0].retry.max_attempts",
            1,
            "a whole number of 32 bits",
        ),
        (
            "steps: [{retry: {max_attempts: 3000000000}}]",
            "definition.steps[0].retry.max_attempts",
            1,
            "a whole number of 32 bits",
        ),
        (
            "steps: [{retry: {multiplier: two}}]",
            "definition.steps[0].retry.multiplier",
            1,
            "expects a number, not text",
        ),
        (
            "steps:\n- query: {sql: x}\n  action: {}",
            "definition.steps[0].action",
            3,
            "only one of query and action",
        ),
        (
            "steps: [{retry: {max_attempts: 1, maxAttempts: 2}}]",
            "definition.steps[0].retry.max_attempts",
            1,
            "only one of max_attempts and maxAttempts",
        ),
        ("output: {a: 1}", 'definition.output["a"]', 1, "put it in quotes"),
        ("output: {a: null}", 'definition.output["a"]', 1, "expects text, not null"),
        ("a: &x 1", "definition", 1, "anchors"),
    ],
)
def test_a_wrong_form_is_named_by_path_and_line(
    text: str, path: str, line: int, words: str
) -> None:
    source = read_source(text, VALIDATION)
    [found] = with_lines(source.violations, source.lines)
    assert found.field == path
    assert found.reason == "SOURCE_INVALID"
    assert found.description.startswith(f"line {line}: ")
    assert words in found.description


def test_all_errors_of_form_are_found_at_once() -> None:
    source = read(
        """
        name: 1
        steps:
          - idd: a
          - query: {sql: 2}
        """
    )
    assert told(source.violations) == [
        ("name", "SOURCE_INVALID"),
        ("steps[0].idd", "SOURCE_INVALID"),
        ("steps[1].query.sql", "SOURCE_INVALID"),
    ]


def test_limits_of_the_contract_hold_for_source_under_the_paths_of_a_message() -> None:
    source = read(
        """
        name: Upper
        steps:
          - id: a
            query:
              sql: ''
          - id: b
          - id: c
            condition:
              cases:
                - name: x
                  when: 'true'
                  steps:
                    - id: D
                      transform: {expression: '1'}
        """
    )
    found = with_lines(source.violations, source.lines)
    assert {(one.field, one.reason) for one in found} >= {
        ("definition.name", "string.pattern"),
        ("definition.steps[0].query.sql", "string.min_len"),
        ("definition.steps[2].condition.otherwise", "required"),
        ("definition.steps[2].condition.cases[0].steps[0].id", "string.pattern"),
    }
    by_path = {one.field: one.description for one in found}
    assert by_path["definition.steps[0].query.sql"].startswith("line 6: ")
    assert by_path["definition.steps[2].condition.otherwise"].startswith("line 10: ")


def test_a_duration_past_protobufs_range_is_refused() -> None:
    source = read('{"name": "w", "steps": [{"id": "a", "timeout": "999999999999s"}]}')
    assert [one.field for one in source.violations] == ["definition"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_well_formed(path: Path) -> None:
    source = read_source(path.read_text(encoding="utf-8"), VALIDATION)
    assert source.violations == ()
    assert source.definition.name == path.stem


_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
_TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
_KINDS = st.one_of(
    st.fixed_dictionaries(
        {
            "query": st.fixed_dictionaries(
                {"sql": _TEXTS, "parameters": st.dictionaries(_NAMES, _TEXTS, max_size=2)}
            )
        }
    ),
    st.fixed_dictionaries({"transform": st.fixed_dictionaries({"expression": _TEXTS})}),
    st.fixed_dictionaries(
        {
            "action": st.fixed_dictionaries(
                {
                    "http_call": st.fixed_dictionaries(
                        {
                            "method": st.just("METHOD_POST"),
                            "url": _TEXTS,
                            "headers": st.dictionaries(_NAMES, _TEXTS, max_size=2),
                        }
                    )
                }
            )
        }
    ),
)


def _step(kind: st.SearchStrategy[Mapping[str, object]]) -> st.SearchStrategy[dict[str, object]]:
    return st.builds(
        lambda id_, kind_, timeout: {"id": id_, **kind_, "timeout": timeout},
        _NAMES,
        kind,
        st.sampled_from(["1s", "0.5s", "3600s"]),
    )


_STEPS = st.recursive(
    _step(_KINDS),
    lambda inner: _step(
        st.builds(
            lambda when, then, otherwise: {
                "condition": {
                    "cases": [{"name": "a", "when": when, "steps": then}],
                    "otherwise": {"steps": otherwise},
                }
            },
            _TEXTS,
            st.lists(inner, max_size=2),
            st.lists(inner, max_size=2),
        )
    ),
    max_leaves=5,
)
_DEFINITIONS = st.builds(
    lambda name, inputs, steps, output: json_format.ParseDict(
        {"name": name, "inputs": inputs, "steps": steps, "output": output},
        workflow_pb2.Definition(),
    ),
    _NAMES,
    st.dictionaries(
        _NAMES, st.fixed_dictionaries({"type": st.just("TYPE_ANY"), "default": _JSON}), max_size=2
    ),
    st.lists(_STEPS, min_size=1, max_size=4),
    st.dictionaries(_NAMES, _TEXTS, max_size=2),
)


@given(_DEFINITIONS)
def test_a_definition_comes_back_from_json_yaml_and_storage(
    definition: workflow_pb2.Definition,
) -> None:
    values = json_format.MessageToDict(definition)
    snake = json_format.MessageToDict(definition, preserving_proto_field_name=True)
    for text in (json.dumps(values), json.dumps(snake, indent=1), yaml.safe_dump(snake)):
        source = read_source(text, VALIDATION)
        assert source.violations == ()
        assert source.definition == definition
    stored = to_text(definition)
    assert from_text(stored) == definition
    assert to_text(from_text(stored)) == stored


def _kinds(kind: Descriptor) -> set[Descriptor]:
    """Return a message's descriptor and those of all that it can hold."""
    found, waiting = {kind}, [kind]
    while waiting:
        for field in waiting.pop().fields:
            if field.message_type is not None and field.message_type not in found:
                found.add(field.message_type)
                waiting.append(field.message_type)
    return found


# Names of the contract, so that arbitrary documents come near to being definitions.
_FIELDS = st.sampled_from(
    sorted(
        {field.name for kind in _kinds(workflow_pb2.Definition.DESCRIPTOR) for field in kind.fields}
    )
)
_ALMOST = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["1s", "a", "1 +", "input.a"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_FIELDS | _NAMES, inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(_FIELDS, _ALMOST, max_size=5))
def test_whatever_a_document_holds_is_answered_with_what_is_wrong(value: dict[str, object]) -> None:
    source = read_source(yaml.safe_dump(value), VALIDATION)
    if not source.violations:
        compilation = compile_definition(source.definition, environment())
        check_references(compilation.definition)
