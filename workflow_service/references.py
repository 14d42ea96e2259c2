"""Who may speak of what in a definition: names, and what stands before each step on every way to it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from chassis.faults import FieldViolation
from workflow_service.definition import (
    OTHERWISE,
    Condition,
    Definition,
    FromStep,
    HttpCall,
    InputSpec,
    InputType,
    InsertRows,
    QuerySql,
    Step,
    StepKind,
    TransformExpression,
    TransformSql,
    UpsertRows,
)
from workflow_service.diagnostics import ROOT, Reason, diagnostic, keyed
from workflow_service.expressions import Expression

# CEL reads them as values or operators even after a dot.
_CEL_WORDS = frozenset({"true", "false", "null", "in"})
# What expressions see of the run.
RUN_FIELDS = ("id", "workflow", "version", "start_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedStep:
    """A step, its path in the definition, and the steps that are done whenever it begins, by id.

    `certain` holds a condition for the steps of its blocks: it has chosen when they begin. `sometimes`
    are the ids of those that come before it in the text but are done in some runs only.
    """

    step: Step
    path: str
    certain: Mapping[str, Step]
    sometimes: frozenset[str]


def placed_steps(definition: Definition) -> Iterator[PlacedStep]:
    """Yield every step in the order of the text."""
    yield from _place(definition.steps, f"{ROOT}.steps", {}, set())


def _place(
    steps: tuple[Step, ...], path: str, before: Mapping[str, Step], seen: set[str]
) -> Iterator[PlacedStep]:
    """Yield the steps of one block; `seen` gathers every id met so far, in any block."""
    certain = dict(before)
    for index, step in enumerate(steps):
        step_path = f"{path}[{index}]"
        sometimes = frozenset(seen - certain.keys() - {step.id})
        yield PlacedStep(step=step, path=step_path, certain=dict(certain), sometimes=sometimes)
        certain[step.id] = step
        seen.add(step.id)
        if isinstance(step.kind, Condition):
            for block, block_path in _blocks(step.kind, f"{step_path}.condition"):
                yield from _place(block, block_path, certain, seen)


def _blocks(condition: Condition, path: str) -> Iterator[tuple[tuple[Step, ...], str]]:
    for index, case in enumerate(condition.cases):
        yield case.steps, f"{path}.cases[{index}].steps"
    yield condition.otherwise, f"{path}.otherwise.steps"


def makes_dataset(kind: StepKind) -> bool:
    """Return whether a step leaves rows that SQL and `from_step` can name."""
    return isinstance(kind, QuerySql | TransformSql)


def fields_of(kind: StepKind) -> tuple[str, ...]:
    """Return what expressions see of a finished step."""
    match kind:
        case QuerySql() | TransformSql():
            return ("row_count", "rows")
        case TransformExpression() | HttpCall():
            return ("value",)
        case Condition():
            return ("chosen",)
        case InsertRows() | UpsertRows():
            return ("row_count",)
        case _:
            assert_never(kind)


def check_references(definition: Definition) -> list[FieldViolation]:
    """Return every wrong name in a definition: taken, reserved, unknown, too late, or of nothing there."""
    placed = list(placed_steps(definition))
    found = list(_name_mistakes(definition, placed))
    everywhere = {place.step.id: place.step for place in placed}
    inputs = {spec.name: spec for spec in definition.inputs}
    for place in placed:
        checker = _Checker(
            inputs=inputs, everywhere=everywhere, certain=place.certain, sometimes=place.sometimes
        )
        for path, expression in _expressions(place.step.kind, place.path):
            found.extend(checker.check(expression, path))
        found.extend(checker.check_source(place.step.kind, place.path))
    # The outputs are evaluated when the last step is done: only blocks may not have been.
    top = {step.id: step for step in definition.steps}
    at_end = _Checker(
        inputs=inputs,
        everywhere=everywhere,
        certain=top,
        sometimes=frozenset(everywhere.keys() - top.keys()),
    )
    for name, expression in definition.output.items():
        found.extend(at_end.check(expression, keyed(f"{ROOT}.output", name)))
    return found


def _name_mistakes(
    definition: Definition, placed: Iterable[PlacedStep]
) -> Iterator[FieldViolation]:
    for spec in definition.inputs:
        if spec.name in _CEL_WORDS:
            path = keyed(f"{ROOT}.inputs", spec.name)
            yield diagnostic(path, Reason.NAME_RESERVED, f"{spec.name!r} is a word of CEL")
    first_paths: dict[str, str] = {}
    for place in placed:
        path, name = f"{place.path}.id", place.step.id
        if name in _CEL_WORDS:
            yield diagnostic(path, Reason.NAME_RESERVED, f"{name!r} is a word of CEL")
        if name in first_paths:
            text = f"{first_paths[name]} is called {name!r} already"
            yield diagnostic(path, Reason.NAME_TAKEN, text)
        first_paths.setdefault(name, place.path)
        if isinstance(place.step.kind, Condition):
            yield from _case_mistakes(place.step.kind, f"{place.path}.condition")


def _case_mistakes(condition: Condition, path: str) -> Iterator[FieldViolation]:
    names: set[str] = set()
    for index, case in enumerate(condition.cases):
        case_path = f"{path}.cases[{index}].name"
        if case.name == OTHERWISE:
            text = f"{OTHERWISE!r} is what is chosen when no case holds"
            yield diagnostic(case_path, Reason.NAME_RESERVED, text)
        if case.name in names:
            text = f"another case of this condition is called {case.name!r}"
            yield diagnostic(case_path, Reason.NAME_TAKEN, text)
        names.add(case.name)


def _expressions(kind: StepKind, path: str) -> Iterator[tuple[str, Expression]]:
    """Yield the expressions of a step with their paths, without those of the steps in its blocks."""
    match kind:
        case QuerySql():
            yield from _mapped(kind.parameters, f"{path}.query.parameters")
        case TransformSql():
            yield from _mapped(kind.parameters, f"{path}.transform.parameters")
        case TransformExpression():
            yield f"{path}.transform.expression", kind.expression
        case Condition():
            for index, case in enumerate(kind.cases):
                yield f"{path}.condition.cases[{index}].when", case.when
        case InsertRows() | UpsertRows():
            if not isinstance(kind.source, FromStep):
                for index, row in enumerate(kind.source.rows):
                    rows_path = f"{action_path(kind, path)}.values.rows[{index}].values"
                    yield from _mapped(row, rows_path)
        case HttpCall():
            yield f"{path}.action.http_call.url", kind.url
            yield from _mapped(kind.headers, f"{path}.action.http_call.headers")
            if kind.body is not None:
                yield f"{path}.action.http_call.body", kind.body
        case _:
            assert_never(kind)


def action_path(kind: InsertRows | UpsertRows, path: str) -> str:
    """Return the path of a table action in the step at `path`."""
    name = "insert_rows" if isinstance(kind, InsertRows) else "upsert_rows"
    return f"{path}.action.{name}"


def _mapped(expressions: Mapping[str, Expression], path: str) -> Iterator[tuple[str, Expression]]:
    for name, expression in expressions.items():
        yield keyed(path, name), expression


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checker:
    """Follows references from one place in a definition; `everywhere` holds all steps by id."""

    inputs: Mapping[str, InputSpec]
    everywhere: Mapping[str, Step]
    certain: Mapping[str, Step]
    sometimes: frozenset[str]

    def check(self, expression: Expression, path: str) -> Iterator[FieldViolation]:
        """Yield one diagnostic for each thing that the expression has no right to name."""
        named: set[tuple[str, ...]] = set()
        for reference in sorted(expression.references):
            # An expression that names a step twice is told once.
            if reference[:2] in named or len(reference) == 1:
                continue
            mistake = self._mistake(reference, expression)
            if mistake is not None:
                named.add(reference[:2])
                yield diagnostic(path, *mistake)

    def _mistake(
        self, reference: tuple[str, ...], expression: Expression
    ) -> tuple[Reason, str] | None:
        root, name, *below = reference
        match root:
            case "input":
                return self._input_mistake(name, below)
            case "run":
                return _run_mistake(name)
            case _:
                assert root == "steps", "an Environment declares no other variable"
                asked = ("steps", name) in expression.tested
                return self.step_mistake(name, asked=asked) or self._result_mistake(name, below)

    def _input_mistake(self, name: str, below: list[str]) -> tuple[Reason, str] | None:
        spec = self.inputs.get(name)
        if spec is None:
            return Reason.INPUT_UNKNOWN, f"no input {name!r}{_close(name, self.inputs)}"
        if below and spec.type is not InputType.ANY:
            text = f"input {name!r} is a {spec.type} and has no field {below[0]!r}"
            return Reason.FIELD_UNKNOWN, text
        return None

    def step_mistake(self, name: str, *, asked: bool) -> tuple[Reason, str] | None:
        """Return why the step `name` cannot be counted on; `asked` if its presence is asked for."""
        if name in self.certain or (asked and name in self.sometimes):
            return None
        if name in self.sometimes:
            return Reason.STEP_UNCERTAIN, (
                f"step {name!r} runs in some runs only: ask for it, as in has(steps.{name}) or "
                f"steps.?{name}"
            )
        if name in self.everywhere:
            return Reason.STEP_LATER, f"step {name!r} is not done yet here"
        return Reason.STEP_UNKNOWN, f"no step {name!r}{_close(name, self.everywhere)}"

    def _result_mistake(self, name: str, below: list[str]) -> tuple[Reason, str] | None:
        there = fields_of(self.everywhere[name].kind)
        if not below or below[0] in there:
            return None
        text = f"step {name!r} has no {below[0]!r}; it has {' and '.join(there)}"
        return Reason.STEP_HAS_NO_SUCH_RESULT, text

    def check_source(self, kind: StepKind, path: str) -> Iterator[FieldViolation]:
        """Yield what is wrong with the step that an action takes its rows from."""
        if not isinstance(kind, InsertRows | UpsertRows) or not isinstance(kind.source, FromStep):
            return
        name = kind.source.step
        where = f"{action_path(kind, path)}.from_step"
        mistake = self.step_mistake(name, asked=False)
        if mistake is not None and mistake[0] is Reason.STEP_UNCERTAIN:
            mistake = Reason.STEP_UNCERTAIN, f"step {name!r} runs in some runs only"
        elif mistake is None and not makes_dataset(self.everywhere[name].kind):
            text = f"step {name!r} makes no dataset; a query or a transform by SQL does"
            mistake = Reason.STEP_HAS_NO_SUCH_RESULT, text
        if mistake is not None:
            yield diagnostic(where, *mistake)


def _run_mistake(name: str) -> tuple[Reason, str] | None:
    if name in RUN_FIELDS:
        return None
    return Reason.FIELD_UNKNOWN, f"run has no {name!r}; it has {', '.join(RUN_FIELDS)}"


def _close(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name[:62], list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
