"""Evaluating what is pure: steps that are only expressions, and the output of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import structlog

from workflow_service.definition import (
    Condition,
    Definition,
    HttpCall,
    InsertRows,
    QuerySql,
    Step,
    TransformExpression,
    TransformSql,
    UpsertRows,
)
from workflow_service.events import Failure
from workflow_service.expressions import ExpressionFailed
from workflow_service.failures import failure_from_expression, permanent
from workflow_service.machine import Outcome
from workflow_service.payloads import depth, encode, utf8_bytes
from workflow_service.steps.condition import chosen
from workflow_service.steps.transform import transformed

log = structlog.get_logger()

OUTPUT_BYTES_MAX = 1024 * 1024
# Deeper, and a client's protobuf could not parse the answer: its limit is 100, three a level.
OUTPUT_DEPTH_MAX = 24


def outcome(step: Step, context: Mapping[str, object]) -> Outcome:
    """Return what a pure step comes to."""
    kind = step.kind
    try:
        match kind:
            case TransformExpression():
                return transformed(kind, context)
            case Condition():
                return chosen(kind, context)
            case QuerySql() | TransformSql() | InsertRows() | UpsertRows() | HttpCall():
                raise AssertionError(f"step {step.id} is not pure")
            case _:
                assert_never(kind)
    except Exception:
        log.exception("step.bug", step=step.id)
        return permanent("INTERNAL", "internal error; the log has it")


def output(definition: Definition, context: Mapping[str, object]) -> dict[str, object] | Failure:
    """Return what a run answers whose steps are all done, or why it cannot."""
    values: dict[str, object] = {}
    for name, expression in definition.output.items():
        try:
            values[name] = expression.evaluate(context)
        except ExpressionFailed as error:
            return failure_from_expression(error, f"output {name!r}")
    if depth(values) > OUTPUT_DEPTH_MAX:
        return permanent(
            "STEP_RESULT_TOO_LARGE", f"the output nests deeper than {OUTPUT_DEPTH_MAX}"
        )
    if utf8_bytes(encode(values)) > OUTPUT_BYTES_MAX:
        return permanent(
            "STEP_RESULT_TOO_LARGE", f"the output is larger than {OUTPUT_BYTES_MAX} bytes"
        )
    return values
