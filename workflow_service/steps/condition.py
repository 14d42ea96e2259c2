"""Conditions: the first case that holds."""

from __future__ import annotations

from collections.abc import Mapping

from workflow_service.definition import OTHERWISE, Condition
from workflow_service.events import CaseChosen, Failure
from workflow_service.expressions import ExpressionFailed
from workflow_service.failures import failure_from_expression


def chosen(kind: Condition, context: Mapping[str, object]) -> CaseChosen | Failure:
    """Return the choice, or why it cannot be made; cases after the first that holds are not looked at."""
    for case in kind.cases:
        try:
            if case.when.evaluate_condition(context):
                return CaseChosen(name=case.name)
        except ExpressionFailed as error:
            return failure_from_expression(error, f"case {case.name!r}")
    return CaseChosen(name=OTHERWISE)
