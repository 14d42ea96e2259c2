"""Where a run stands, and what expressions see of what it has done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from workflow_service.events import (
    CaseChosen,
    DatasetMade,
    Failure,
    RowsWritten,
    RunStarted,
    StepResult,
    ValueMade,
)


class RunStatus(StrEnum):
    """The states of a run; the last three are final."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Return whether nothing can happen any more."""
        return self in _FINAL


_FINAL = frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED})


class IllegalEvent(Exception):
    """An event that cannot happen in the state it came to: a bug or a damaged journal, never an outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Where a run stands.

    `place` numbers a place of the definition. `attempt` counts the attempts begun at its step, and
    `attempt_open` says whether the last of them is still to be settled; `retry_time` is when the next may
    begin. `steps` is what expressions see of the finished steps by id, `datasets` what SQL sees.
    """

    started: RunStarted
    status: RunStatus
    sequence: int
    place: int
    attempt: int
    attempt_open: bool
    resumptions: int
    retry_time: datetime | None
    failure: Failure | None
    steps: Mapping[str, Mapping[str, object]]
    datasets: Mapping[str, str]


def seen(result: StepResult) -> Mapping[str, object]:
    """Return what expressions see of a finished step."""
    match result:
        case ValueMade():
            return {"value": result.value}
        case CaseChosen():
            return {"chosen": result.name}
        case DatasetMade():
            return {"row_count": result.row_count, "rows": result.rows}
        case RowsWritten():
            return {"row_count": result.row_count}
