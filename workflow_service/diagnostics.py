"""What is wrong with a definition: where, a reason for programs, and a sentence for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum

from chassis.faults import FieldViolation, InvalidArgument

# The path of the definition in every request that carries one.
ROOT = "definition"
# More are no help to anybody; a hostile definition could have a hundred thousand.
DIAGNOSTICS_MAX = 200


class Reason(StrEnum):
    """The reasons of our own; those of a limit, an expression or a statement are whoever's refused it."""

    # The text is no document, or its shape is not a definition's.
    SOURCE_INVALID = "SOURCE_INVALID"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_EXPRESSIONS = "TOO_MANY_EXPRESSIONS"
    TOO_MANY_STEPS = "TOO_MANY_STEPS"
    NESTED_TOO_DEEP = "NESTED_TOO_DEEP"
    NAME_TAKEN = "NAME_TAKEN"
    NAME_RESERVED = "NAME_RESERVED"
    DEFAULT_INVALID = "DEFAULT_INVALID"
    INPUT_UNKNOWN = "INPUT_UNKNOWN"
    FIELD_UNKNOWN = "FIELD_UNKNOWN"
    STEP_UNKNOWN = "STEP_UNKNOWN"
    STEP_LATER = "STEP_LATER"
    # The step runs in some runs only.
    STEP_UNCERTAIN = "STEP_UNCERTAIN"
    # The step never makes what is asked of it.
    STEP_HAS_NO_SUCH_RESULT = "STEP_HAS_NO_SUCH_RESULT"
    PARAMETER_MISSING = "PARAMETER_MISSING"
    PARAMETER_UNUSED = "PARAMETER_UNUSED"
    # Both a dataset and a table.
    NAME_AMBIGUOUS = "NAME_AMBIGUOUS"
    COLUMN_NOT_FOUND = "COLUMN_NOT_FOUND"
    COLUMN_TYPE_MISMATCH = "COLUMN_TYPE_MISMATCH"
    COLUMN_MISSING = "COLUMN_MISSING"
    KEY_NOT_FOUND = "KEY_NOT_FOUND"


def diagnostic(path: str, reason: Reason | str, message: str) -> FieldViolation:
    """Return one finding; `path` leads into the definition, such as `definition.steps[1].query.sql`."""
    return FieldViolation(field=path, reason=str(reason), description=message)


def keyed(path: str, key: str) -> str:
    """Return the path of one entry of a map, as a violation of a limit spells it."""
    return f'{path}["{key}"]'


def with_lines(
    diagnostics: Iterable[FieldViolation], lines: Mapping[str, int]
) -> tuple[FieldViolation, ...]:
    """Return the diagnostics with the line of each before its sentence, if it or its parents have one."""
    return tuple(_with_line(found, lines) for found in diagnostics)


def _with_line(found: FieldViolation, lines: Mapping[str, int]) -> FieldViolation:
    path = found.field
    while path and path not in lines:
        # A path ends in `.name`, `[3]` or `["key"]`; a key that holds dots only costs a step more.
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return replace(found, description=f"line {lines[path]}: {found.description}") if path else found


def refusal(diagnostics: tuple[FieldViolation, ...]) -> InvalidArgument:
    """Return the fault that says what is wrong with a definition."""
    first = diagnostics[0]
    return InvalidArgument(
        "DEFINITION_INVALID",
        f"{first.field}: {first.description}",
        violations=diagnostics,
        field=first.field,
        count=len(diagnostics),
    )
