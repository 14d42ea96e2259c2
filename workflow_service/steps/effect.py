"""What the handler of a step with effects is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid5

from workflow_service.events import Failure
from workflow_service.expressions import Expression, ExpressionFailed
from workflow_service.failures import failure_from_expression

# The namespace of the keys below; it must never change, or a retry would not be known as one.
_KEYS = UUID("6f1f4f0e-2f5d-5d0e-9c57-2a6a6f9e3c11")


class StepRefused(Exception):
    """An attempt failed for a reason that the handler itself knows: an outcome, carried upwards."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One attempt: for whom, under which key, and what its expressions and its SQL can see.

    `key` is the same at every attempt of the step in this run, and `context` and `datasets` come from the
    journal alone, so every attempt asks for exactly the same. `timeout_s` is how long the attempt may take.
    """

    run_id: str
    owner: str
    key: str
    context: Mapping[str, object]
    datasets: Mapping[str, str]
    timeout_s: float


def effect_key(run_id: str, step: str) -> str:
    """Return the key of everything that a step of a run does."""
    return str(uuid5(_KEYS, f"{run_id}/{step}"))


def derived_key(key: str, what: str) -> str:
    """Return the key of one of several things that a step can do, told apart by `what`."""
    return str(uuid5(UUID(key), what))


def evaluated(expression: Expression, context: Mapping[str, object], where: str) -> object:
    """Return the value of an expression of the step.

    Raises:
        StepRefused: If it has none; the failure names `where` it stands.
    """
    try:
        return expression.evaluate(context)
    except ExpressionFailed as error:
        raise StepRefused(failure_from_expression(error, where)) from error
