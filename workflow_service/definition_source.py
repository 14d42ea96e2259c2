"""Definitions as people write them: YAML or JSON in protobuf's JSON mapping, as messages.

The mapping's own parser stops at its first error and knows no lines, so the shape is checked before it
against the contract's descriptors: every error at once, each with its path and line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf import duration_pb2, json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from chassis.faults import FieldViolation, InvalidArgument
from chassis.interceptors.validation import Validation
from flux.workflow.v1 import workflow_pb2, workflow_service_pb2
from workflow_service.diagnostics import ROOT, Reason, diagnostic
from workflow_service.documents import DocumentRefused, Node, plain, read_document

# Deeper than any definition that `definition_wire` takes, shallower than what protobuf parses.
VALUE_DEPTH_MAX = 32
# Past this, a double no longer holds every integer.
_EXACT_INTEGER_MAX = 2**53
_DURATION = re.compile(r"-?[0-9]{1,12}([.][0-9]{1,9})?s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a text says: the message, as far as it could be read, what is wrong, and what stands where.

    `lines` maps paths such as `definition.steps[1].query` to lines counted from 1; it is empty for JSON.
    """

    definition: workflow_pb2.Definition
    violations: tuple[FieldViolation, ...]
    lines: Mapping[str, int]


def read_source(text: str, validation: Validation) -> Source:
    """Return what `text` says; its violations are those of its form and of the contract's limits."""
    definition = workflow_pb2.Definition()
    try:
        document = read_document(text)
    except DocumentRefused as refused:
        where = {ROOT: refused.line} if refused.line else {}
        return Source(
            definition=definition,
            violations=(diagnostic(ROOT, Reason.SOURCE_INVALID, refused.message),),
            lines=where,
        )
    shape = _Shape()
    shape.check_message(document, definition.DESCRIPTOR, ROOT)
    violations = shape.violations
    if not violations:
        try:
            values = plain(document)
            assert isinstance(values, dict), "the shape was checked"
            json_format.ParseDict(values, definition)
        except json_format.ParseError as error:
            # What only the mapping's own parser finds, such as a duration past its range.
            violations = [diagnostic(ROOT, Reason.SOURCE_INVALID, str(error))]
    if not violations:
        violations = list(limit_violations(definition, validation))
    return Source(definition=definition, violations=tuple(violations), lines=shape.lines)


def limit_violations(
    definition: workflow_pb2.Definition, validation: Validation
) -> tuple[FieldViolation, ...]:
    """Return the limits of the contract that `definition` breaks, by their paths in a request."""
    try:
        # Inside a request, so that the paths are those of a definition sent as a message.
        validation.check(workflow_service_pb2.ValidateWorkflowRequest(definition=definition))
    except InvalidArgument as fault:
        return fault.violations
    return ()


class _Shape:
    """Holds a document against a message's descriptor and notes each thing that does not fit."""

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []
        self.lines: dict[str, int] = {}

    def check_message(self, node: Node, kind: Descriptor, path: str) -> None:
        if not self._expect_mapping(node, path):
            return
        assert isinstance(node.value, dict)
        by_name = {name: field for field in kind.fields for name in (field.name, field.json_name)}
        given: dict[str, str] = {}
        for key, value in node.value.items():
            field = by_name.get(key)
            if field is None:
                self._note(value, f"{path}.{key[:80]}", _unknown(key, kind))
                continue
            field_path = f"{path}.{field.name}"
            # A oneof holds one of its fields; `optional` makes a oneof of one field.
            slot = field.containing_oneof.name if field.containing_oneof else field.name
            if value.value is None and not _takes_null(field):
                self._place(value, field_path)
                continue
            if slot in given:
                self._note(value, field_path, f"only one of {given[slot]} and {key} can be given")
                continue
            given[slot] = key
            self._check_field(value, field, field_path)

    def _check_field(self, node: Node, field: FieldDescriptor, path: str) -> None:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            if self._expect_mapping(node, path):
                assert isinstance(node.value, dict)
                for key, value in node.value.items():
                    self._check_one(value, entry.fields_by_name["value"], f'{path}["{key[:80]}"]')
        elif field.is_repeated:
            self._place(node, path)
            if not isinstance(node.value, tuple):
                self._note(node, path, f"expects a list, not {_noun(node)}")
                return
            for index, item in enumerate(node.value):
                self._check_one(item, field, f"{path}[{index}]")
        else:
            self._check_one(node, field, path)

    def _check_one(self, node: Node, field: FieldDescriptor, path: str) -> None:
        """Check one value of a field, whether the field holds one, a list, or a map of them."""
        if field.message_type is None:
            self._place(node, path)
            mistake = _scalar_mistake(node, field)
        elif field.message_type.full_name == "google.protobuf.Value":
            self._place(node, path)
            mistake = _value_mistake(node, 1)
        elif field.message_type.full_name == duration_pb2.Duration.DESCRIPTOR.full_name:
            self._place(node, path)
            mistake = _duration_mistake(node)
        else:
            self.check_message(node, field.message_type, path)
            return
        if mistake:
            self._note(node, path, mistake)

    def _expect_mapping(self, node: Node, path: str) -> bool:
        self._place(node, path)
        if isinstance(node.value, dict):
            return True
        self._note(node, path, f"expects fields by name, not {_noun(node)}")
        return False

    def _place(self, node: Node, path: str) -> None:
        if node.line:
            self.lines[path] = node.line

    def _note(self, node: Node, path: str, description: str) -> None:
        self._place(node, path)
        self.violations.append(diagnostic(path, Reason.SOURCE_INVALID, description))


def _takes_null(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and kind.full_name == "google.protobuf.Value"


def _unknown(key: str, kind: Descriptor) -> str:
    names = [field.name for field in kind.fields]
    close = difflib.get_close_matches(key[:80], names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {_listed(names)}"
    return f"no field {key[:80]!r} here; {hint}"


def _scalar_mistake(node: Node, field: FieldDescriptor) -> str:
    """Return what is wrong with a value for a scalar field, or nothing."""
    value = node.value
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        hint = "" if isinstance(value, tuple | dict) else "; put it in quotes"
        return "" if isinstance(value, str) else f"expects text, not {_noun(node)}{hint}"
    if field.enum_type is not None:
        # 0 is never sent.
        names = [name.name for name in field.enum_type.values if name.number]
        known = isinstance(value, str) and value in names
        return "" if known else f"expects one of {_listed(names)}"
    if kind == FieldDescriptor.CPPTYPE_INT32:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        fits = is_whole and isinstance(value, int) and -(2**31) <= value < 2**31
        return "" if fits else "expects a whole number of 32 bits"
    assert kind == FieldDescriptor.CPPTYPE_DOUBLE, f"definitions have no {field.full_name} yet"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if is_number else f"expects a number, not {_noun(node)}"


def _duration_mistake(node: Node) -> str:
    text = node.value
    if isinstance(text, str) and _DURATION.fullmatch(text):
        return ""
    return "expects a duration in seconds, such as 30s or 0.5s"


def _value_mistake(node: Node, depth: int) -> str:
    """Return what is wrong with a value for google.protobuf.Value, or nothing."""
    value = node.value
    if depth > VALUE_DEPTH_MAX:
        return f"a value nests deeper than {VALUE_DEPTH_MAX}"
    if isinstance(value, int) and abs(value) > _EXACT_INTEGER_MAX:
        return f"{value} would be rounded: write an integer past 2^53 as text"
    parts: Sequence[Node] = ()
    if isinstance(value, tuple):
        parts = value
    elif isinstance(value, dict):
        parts = tuple(value.values())
    return next(filter(None, (_value_mistake(part, depth + 1) for part in parts)), "")


def _noun(node: Node) -> str:
    match node.value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case tuple():
            return "a list"
        case _:
            return "fields by name"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
