"""Definitions written short, and what is found in them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from textwrap import dedent

from chassis.faults import FieldViolation
from chassis.interceptors.validation import Validation
from flux.workflow.v1 import workflow_pb2
from workflow_service.definition import Definition
from workflow_service.definition_source import read_source
from workflow_service.definition_wire import Compilation, compile_definition
from workflow_service.expressions import Environment


@cache
def environment() -> Environment:
    """Return an environment; making one takes milliseconds."""
    return Environment()


def message(source: str) -> workflow_pb2.Definition:
    """Return a definition that is well formed."""
    read = read_source(dedent(source), Validation())
    assert not read.violations, read.violations
    return read.definition


def compiled(source: str) -> Compilation:
    """Return a well-formed definition compiled, with what is wrong with its expressions."""
    return compile_definition(message(source), environment())


def definition(source: str) -> Definition:
    """Return a definition whose expressions all compile."""
    compilation = compiled(source)
    assert not compilation.diagnostics, compilation.diagnostics
    return compilation.definition


def told(found: Iterable[FieldViolation]) -> list[tuple[str, str]]:
    """Return the path, without its root, and the reason of each finding."""
    return [(one.field.removeprefix("definition."), one.reason) for one in found]
