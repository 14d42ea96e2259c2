"""What happens in a run: the events of its journal, in the order they became true.

Every event carries its place in the run, counted from 1 without gaps, and when it happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias


class FailureKind(StrEnum):
    """Whether a failure may pass by itself."""

    TRANSIENT = "TRANSIENT"
    PERMANENT = "PERMANENT"
    TIMEOUT = "TIMEOUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt, a step or a run failed; `step` is empty if no step did.

    `reason` is the name of a flux.errors.v1.ErrorReason without its prefix, or such as "HTTP_503".
    """

    kind: FailureKind
    reason: str
    message: str
    step: str = ""

    @property
    def may_pass(self) -> bool:
        """Return whether another attempt can be different."""
        return self.kind is not FailureKind.PERMANENT


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetMade:
    """A step made a dataset; `rows` are the first of them, for expressions."""

    dataset_id: str
    row_count: int
    rows: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueMade:
    """A step made a value: a CEL transform or an HTTP call."""

    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseChosen:
    """A condition chose a case, or "otherwise"."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsWritten:
    """An action wrote rows."""

    row_count: int


StepResult: TypeAlias = DatasetMade | ValueMade | CaseChosen | RowsWritten


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """The request that a run came from: the client's id, a digest of its content, and which of its runs."""

    id: str
    digest: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The run was accepted; `input` has its defaults filled in. `request` is None without a request id."""

    sequence: int
    time: datetime
    workflow: str
    version: int
    owner: str
    input: Mapping[str, object]
    request: StartRequest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    """An attempt at a step with effects begins; once more, if the engine stopped in the middle of it."""

    sequence: int
    time: datetime
    step: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed:
    """An attempt failed; another follows at `retry_time`."""

    sequence: int
    time: datetime
    step: str
    attempt: int
    failure: Failure
    retry_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSucceeded:
    """A step is done."""

    sequence: int
    time: datetime
    step: str
    attempt: int
    result: StepResult


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """A step failed for good."""

    sequence: int
    time: datetime
    step: str
    attempt: int
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Somebody asked to cancel the run."""

    sequence: int
    time: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSucceeded:
    """Every step is done."""

    sequence: int
    time: datetime
    output: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    """The run failed."""

    sequence: int
    time: datetime
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancelled:
    """The run was cancelled."""

    sequence: int
    time: datetime


RunEvent: TypeAlias = (
    RunStarted
    | AttemptStarted
    | AttemptFailed
    | StepSucceeded
    | StepFailed
    | CancelRequested
    | RunSucceeded
    | RunFailed
    | RunCancelled
)
