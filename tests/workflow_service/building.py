"""Definitions for tests, compiled from their JSON form as the service compiles them."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from flux.workflow.v1 import workflow_pb2
from tests.support.definitions import environment
from workflow_service.definition import Definition
from workflow_service.definition_wire import compile_definition


def build(source: dict[str, Any]) -> Definition:
    """Return a definition compiled; a mistake in it is the test's."""
    message = json_format.ParseDict({"name": "example", **source}, workflow_pb2.Definition())
    compilation = compile_definition(message, environment())
    assert not compilation.diagnostics, compilation.diagnostics
    return compilation.definition


def value(id_: str, expression: str = "1") -> dict[str, Any]:
    """Return a CEL transform."""
    return {"id": id_, "transform": {"expression": expression}}


def insert(id_: str, *, max_attempts: int = 3) -> dict[str, Any]:
    """Return a step with an effect."""
    values = {"rows": [{"values": {"a": "1"}}]}
    return {
        "id": id_,
        "action": {"insertRows": {"table": "t", "values": values}},
        "retry": {"maxAttempts": max_attempts},
    }


def choice(
    id_: str,
    cases: dict[str, tuple[str, list[dict[str, Any]]]],
    otherwise: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return a condition; `cases` maps each name to its expression and its steps."""
    return {
        "id": id_,
        "condition": {
            "cases": [
                {"name": name, "when": when, "steps": steps}
                for name, (when, steps) in cases.items()
            ],
            "otherwise": {"steps": otherwise},
        },
    }
