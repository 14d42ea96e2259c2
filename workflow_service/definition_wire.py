"""Definitions between the contract's messages and what the engine runs.

Compiles every expression. An expression that does not compile is noted and stands as null, so that
everything else in the definition can still be checked in the same pass.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from google.protobuf import duration_pb2, json_format

from chassis.faults import FieldViolation, InvalidArgument
from chassis.values import from_struct_value
from flux.workflow.v1 import workflow_pb2
from workflow_service.definition import (
    TIMEOUT_DEFAULT,
    Case,
    Condition,
    Definition,
    FromStep,
    HttpCall,
    InputSpec,
    InputType,
    InsertRows,
    QuerySql,
    RetryPolicy,
    RowExpressions,
    RowSource,
    Step,
    StepKind,
    TransformExpression,
    TransformSql,
    UpsertRows,
)
from workflow_service.diagnostics import ROOT, Reason, diagnostic, keyed
from workflow_service.expressions import Environment, Expression
from workflow_service.runs import check_input

# As large as a source text may be; what takes time is bounded by it.
DEFINITION_BYTES_MAX = 1_000_000
# In the whole definition; the contract's annotations bound each list.
STEPS_MAX = 1000
# Half a millisecond each.
EXPRESSIONS_MAX = 5000
# Conditions in conditions. A message may nest 100 deep in all, three for each condition.
DEPTH_MAX = 16

_NOT_JSON = "the default holds a number that is not finite, which JSON cannot say"

_INPUT_TYPES = {
    workflow_pb2.Input.TYPE_STRING: InputType.STRING,
    workflow_pb2.Input.TYPE_INTEGER: InputType.INTEGER,
    workflow_pb2.Input.TYPE_NUMBER: InputType.NUMBER,
    workflow_pb2.Input.TYPE_BOOL: InputType.BOOL,
    workflow_pb2.Input.TYPE_ANY: InputType.ANY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """A definition with what is wrong with it; to be run only if nothing is."""

    definition: Definition
    diagnostics: tuple[FieldViolation, ...]


def compile_definition(message: workflow_pb2.Definition, environment: Environment) -> Compilation:
    """Return `message`, which keeps the contract's limits, compiled."""
    extent = _extent_mistakes(message)
    compiler = _Compiler(environment)
    definition = Definition(
        name=message.name,
        description=message.description,
        inputs=tuple(
            compiler.compile_input(name, message.inputs[name]) for name in sorted(message.inputs)
        ),
        # Too large a tree is not walked again.
        steps=() if extent else compiler.compile_steps(message.steps, f"{ROOT}.steps"),
        output=compiler.compile_values(message.output, f"{ROOT}.output"),
    )
    return Compilation(definition=definition, diagnostics=(*extent, *compiler.diagnostics))


def to_text(message: workflow_pb2.Definition) -> str:
    """Return a definition as JSON text; the same definition gives the same text, whatever its maps' order."""
    values = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def from_text(text: str) -> workflow_pb2.Definition:
    """Return the definition that `to_text` made `text` from."""
    return json_format.Parse(text, workflow_pb2.Definition())


def size_mistakes(message: workflow_pb2.Definition) -> tuple[FieldViolation, ...]:
    """Return what is wrong with a definition that is too large even to be looked at, or with its numbers."""
    if message.ByteSize() > DEFINITION_BYTES_MAX:
        text = f"the definition is larger than {DEFINITION_BYTES_MAX} bytes"
        return (diagnostic(ROOT, Reason.TOO_LARGE, text),)
    return tuple(
        diagnostic(f"{keyed(f'{ROOT}.inputs', name)}.default", Reason.DEFAULT_INVALID, _NOT_JSON)
        for name in sorted(message.inputs)
        if not _is_finite(from_struct_value(message.inputs[name].default))
    )


def _extent_mistakes(message: workflow_pb2.Definition) -> tuple[FieldViolation, ...]:
    """Return what is too much in the tree of steps; it is measured without recursion."""
    step_count = 0
    level = [list(message.steps)]
    for depth in range(DEPTH_MAX + 1):
        step_count += sum(map(len, level))
        if step_count > STEPS_MAX:
            break
        level = [
            list(block)
            for steps in level
            for step in steps
            if step.HasField("condition")
            for block in _blocks(step.condition)
        ]
        if depth == DEPTH_MAX and level:
            text = f"conditions nest deeper than {DEPTH_MAX}"
            return (diagnostic(f"{ROOT}.steps", Reason.NESTED_TOO_DEEP, text),)
    if step_count > STEPS_MAX:
        text = f"there are more than {STEPS_MAX} steps in all"
        return (diagnostic(f"{ROOT}.steps", Reason.TOO_MANY_STEPS, text),)
    return ()


def _blocks(
    condition: workflow_pb2.ConditionStep,
) -> Iterable[Iterable[workflow_pb2.Step]]:
    yield from (case.steps for case in condition.cases)
    yield condition.otherwise.steps


class _Compiler:
    """Makes each part of a definition and notes what is wrong under its path."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._placeholder = environment.compile("dyn(null)")
        self._expression_count = 0
        self.diagnostics: list[FieldViolation] = []

    def compile_input(self, name: str, message: workflow_pb2.Input) -> InputSpec:
        spec = InputSpec(
            name=name,
            type=_INPUT_TYPES[message.type],
            required=True,
            description=message.description,
        )
        if not message.HasField("default"):
            return spec
        default = from_struct_value(message.default)
        # A default is held to what a run's own value is held to.
        filled, mistakes = check_input([spec], {name: default}, "")
        if mistakes:
            path = f"{keyed(f'{ROOT}.inputs', name)}.default"
            text = f"the default is not of the input's type, {spec.type}"
            self.diagnostics.append(diagnostic(path, Reason.DEFAULT_INVALID, text))
        return replace(spec, required=False, default=filled[name])

    def compile_steps(self, messages: Iterable[workflow_pb2.Step], path: str) -> tuple[Step, ...]:
        return tuple(
            self._compile_step(message, f"{path}[{index}]")
            for index, message in enumerate(messages)
        )

    def compile_values(self, texts: Mapping[str, str], path: str) -> dict[str, Expression]:
        # Sorted, because the order of a map's entries is nobody's.
        return {name: self._compile(texts[name], keyed(path, name)) for name in sorted(texts)}

    def _compile_step(self, message: workflow_pb2.Step, path: str) -> Step:
        timeout = message.timeout.ToTimedelta() if message.HasField("timeout") else TIMEOUT_DEFAULT
        return Step(
            id=message.id,
            kind=self._compile_kind(message, path),
            description=message.description,
            retry=_retry(message.retry),
            timeout=timeout,
        )

    def _compile_kind(self, message: workflow_pb2.Step, path: str) -> StepKind:
        match message.WhichOneof("kind"):
            case "query":
                parameters = self.compile_values(
                    message.query.parameters, f"{path}.query.parameters"
                )
                return QuerySql(sql=message.query.sql, parameters=parameters)
            case "transform":
                return self._compile_transform(message.transform, f"{path}.transform")
            case "condition":
                return self._compile_condition(message.condition, f"{path}.condition")
            case kind:
                assert kind == "action", "the contract's annotations ask for one"
                return self._compile_action(message.action, f"{path}.action")

    def _compile_transform(self, message: workflow_pb2.TransformStep, path: str) -> StepKind:
        if message.HasField("sql"):
            parameters = self.compile_values(message.parameters, f"{path}.parameters")
            return TransformSql(sql=message.sql, parameters=parameters)
        for name in sorted(message.parameters):
            where = keyed(f"{path}.parameters", name)
            text = "only SQL has parameters; an expression reads input and steps itself"
            self.diagnostics.append(diagnostic(where, Reason.PARAMETER_UNUSED, text))
        expression = self._compile(message.expression, f"{path}.expression")
        return TransformExpression(expression=expression)

    def _compile_condition(self, message: workflow_pb2.ConditionStep, path: str) -> Condition:
        cases = [
            Case(
                name=case.name,
                when=self._compile(case.when, f"{path}.cases[{index}].when", condition=True),
                steps=self.compile_steps(case.steps, f"{path}.cases[{index}].steps"),
            )
            for index, case in enumerate(message.cases)
        ]
        otherwise = self.compile_steps(message.otherwise.steps, f"{path}.otherwise.steps")
        return Condition(cases=tuple(cases), otherwise=otherwise)

    def _compile_action(self, message: workflow_pb2.ActionStep, path: str) -> StepKind:
        match message.WhichOneof("kind"):
            case "insert_rows":
                insert = message.insert_rows
                source = self._compile_source(insert, f"{path}.insert_rows")
                return InsertRows(table=insert.table, source=source)
            case "upsert_rows":
                upsert = message.upsert_rows
                source = self._compile_source(upsert, f"{path}.upsert_rows")
                keys = tuple(upsert.key_columns)
                return UpsertRows(table=upsert.table, key_columns=keys, source=source)
            case kind:
                assert kind == "http_call", "the contract's annotations ask for one"
                return self._compile_http_call(message.http_call, f"{path}.http_call")

    def _compile_source(
        self, message: workflow_pb2.InsertRowsAction | workflow_pb2.UpsertRowsAction, path: str
    ) -> RowSource:
        if message.HasField("from_step"):
            return FromStep(step=message.from_step)
        rows = [
            self.compile_values(row.values, f"{path}.values.rows[{index}].values")
            for index, row in enumerate(message.values.rows)
        ]
        return RowExpressions(rows=tuple(rows))

    def _compile_http_call(self, message: workflow_pb2.HttpCallAction, path: str) -> HttpCall:
        method = workflow_pb2.HttpCallAction.Method.Name(message.method)
        return HttpCall(
            method=method.removeprefix("METHOD_"),
            url=self._compile(message.url, f"{path}.url"),
            headers=self.compile_values(message.headers, f"{path}.headers"),
            body=self._compile(message.body, f"{path}.body") if message.body else None,
        )

    def _compile(self, text: str, path: str, *, condition: bool = False) -> Expression:
        self._expression_count += 1
        if self._expression_count > EXPRESSIONS_MAX:
            if self._expression_count == EXPRESSIONS_MAX + 1:
                what = (
                    f"there are more than {EXPRESSIONS_MAX} expressions; this is the first too many"
                )
                self.diagnostics.append(diagnostic(path, Reason.TOO_MANY_EXPRESSIONS, what))
            return self._placeholder
        try:
            if condition:
                return self._environment.compile_condition(text)
            return self._environment.compile(text)
        except InvalidArgument as fault:
            self.diagnostics.append(diagnostic(path, fault.reason, fault.message))
            return self._placeholder


def _retry(message: workflow_pb2.RetryPolicy) -> RetryPolicy:
    """Return a policy with the contract's defaults where the message says nothing."""
    unset = RetryPolicy()
    return RetryPolicy(
        max_attempts=message.max_attempts or unset.max_attempts,
        initial_interval=_interval(message, "initial_interval", unset.initial_interval),
        multiplier=message.multiplier or unset.multiplier,
        max_interval=_interval(message, "max_interval", unset.max_interval),
    )


def _interval(message: workflow_pb2.RetryPolicy, name: str, unset: timedelta) -> timedelta:
    interval: duration_pb2.Duration = getattr(message, name)
    return interval.ToTimedelta() if message.HasField(name) else unset  # type: ignore[arg-type]  # a field's name


def _is_finite(value: object) -> bool:
    """Return whether JSON can say the value: it has no NaN and no infinity."""
    match value:
        case float():
            return math.isfinite(value)
        case list():
            return all(map(_is_finite, value))
        case dict():
            return all(map(_is_finite, value.values()))
        case _:
            return True
