"""What a workflow does, compiled: the inputs, the tree of steps, and the way through it.

Made from the contract's messages by `definition_wire`, after which nothing here is checked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias

from workflow_service.expressions import Expression

TIMEOUT_DEFAULT = timedelta(minutes=5)
# The name of what a condition chooses when no case holds; no case may be called so.
OTHERWISE = "otherwise"


class InputType(StrEnum):
    """The types of inputs."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOL = "bool"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One input; `default` means something only if the input is not required."""

    name: str
    type: InputType
    required: bool
    default: object = None
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt is followed by another; the defaults are the contract's."""

    max_attempts: int = 3
    initial_interval: timedelta = timedelta(seconds=1)
    multiplier: float = 2.0
    max_interval: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySql:
    """SQL over tables and earlier datasets; makes a dataset."""

    sql: str
    parameters: Mapping[str, Expression]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformSql:
    """SQL over earlier datasets and tables; makes a dataset."""

    sql: str
    parameters: Mapping[str, Expression]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformExpression:
    """A CEL expression; makes a value."""

    expression: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One alternative of a condition."""

    name: str
    when: Expression
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The steps of the first case that holds, else those of `otherwise`."""

    cases: tuple[Case, ...]
    otherwise: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FromStep:
    """Every row of the dataset that an earlier step made."""

    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowExpressions:
    """Rows written out: one mapping of column to expression a row."""

    rows: tuple[Mapping[str, Expression], ...]


RowSource: TypeAlias = FromStep | RowExpressions


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertRows:
    """Adds rows to a table; `table` is "name" or "namespace.name"."""

    table: str
    source: RowSource


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertRows:
    """Adds or replaces rows of a table by key."""

    table: str
    key_columns: tuple[str, ...]
    source: RowSource


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCall:
    """Calls an HTTP endpoint; `body` is None if the call has none."""

    method: str
    url: Expression
    headers: Mapping[str, Expression]
    body: Expression | None


StepKind: TypeAlias = (
    QuerySql | TransformSql | TransformExpression | Condition | InsertRows | UpsertRows | HttpCall
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step; its id is unique in the whole definition."""

    id: str
    kind: StepKind
    description: str = ""
    retry: RetryPolicy = RetryPolicy()
    timeout: timedelta = TIMEOUT_DEFAULT

    @property
    def is_pure(self) -> bool:
        """Return whether the step only evaluates expressions, so that doing it twice is harmless."""
        return isinstance(self.kind, TransformExpression | Condition)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run can stand: a step, and the number of the place that comes after it.

    For a condition, `after` is where its blocks come together again and `entries` says where each
    choice leads by name; an empty block leads straight to `after`.
    """

    step: Step
    after: int
    entries: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Definition:
    """One version of a workflow.

    `places` is the tree of steps laid out in the order of its text, made here: a run needs no stack,
    only the number of the place where it stands. Place 0 is the first; `len(places)` is the end.
    """

    name: str
    description: str
    inputs: tuple[InputSpec, ...]
    steps: tuple[Step, ...]
    output: Mapping[str, Expression]
    places: tuple[Place, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        places: list[Place] = []
        _lay_out(self.steps, _count(self.steps), places)
        object.__setattr__(self, "places", tuple(places))


def walk(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Yield every step of a tree, each before the steps of its blocks."""
    for step in steps:
        yield step
        for block in _blocks(step).values():
            yield from walk(block)


def _blocks(step: Step) -> dict[str, tuple[Step, ...]]:
    """Return the blocks of a condition by the name of their choice; none for any other step."""
    if not isinstance(step.kind, Condition):
        return {}
    blocks = {case.name: case.steps for case in step.kind.cases}
    return {**blocks, OTHERWISE: step.kind.otherwise}


def _count(steps: tuple[Step, ...]) -> int:
    return sum(1 for _ in walk(steps))


def _lay_out(steps: tuple[Step, ...], after: int, places: list[Place]) -> None:
    """Append the places of `steps`; what comes after the last of them is the place `after`."""
    for index, step in enumerate(steps):
        blocks = _blocks(step)
        sizes = {name: _count(block) for name, block in blocks.items()}
        start = len(places) + 1
        behind = start + sum(sizes.values())
        step_after = behind if index + 1 < len(steps) else after
        entries: dict[str, int] = {}
        for name, size in sizes.items():
            entries[name] = start if size else step_after
            start += size
        places.append(Place(step=step, after=step_after, entries=entries))
        for block in blocks.values():
            _lay_out(block, step_after, places)
