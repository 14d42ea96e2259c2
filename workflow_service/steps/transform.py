"""Transforms by CEL: a value from values, in memory."""

from __future__ import annotations

from collections.abc import Mapping

from workflow_service.definition import TransformExpression
from workflow_service.events import Failure, ValueMade
from workflow_service.expressions import ExpressionFailed
from workflow_service.failures import failure_from_expression


def transformed(kind: TransformExpression, context: Mapping[str, object]) -> ValueMade | Failure:
    """Return the value of the step, or why it has none."""
    try:
        return ValueMade(value=kind.expression.evaluate(context))
    except ExpressionFailed as error:
        return failure_from_expression(error, "expression")
