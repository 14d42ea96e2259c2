"""YAML or JSON text from strangers as a tree of plain values, each with the line it stands on.

Reads a strict part of YAML 1.2: one document of mappings, sequences and scalars. Nothing in it makes
anything: no alias, no anchor, no tag. `on`, `no` and dates are text, as in YAML's core schema; what
versions of YAML read differently (010, 0x1F) is refused, never guessed. Text that begins with "{" is JSON.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

import yaml
from yaml.cyaml import CBaseLoader

DEPTH_MAX = 128
NODES_MAX = 100_000
NUMBER_CHARS_MAX = 40

Scalar: TypeAlias = "None | bool | int | float | str"
Plain: TypeAlias = "Scalar | list[Plain] | dict[str, Plain]"

_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([.][0-9]+|(0|[1-9][0-9]*)([.][0-9]*)?)([eE][-+]?[0-9]+)?")
# Octal to YAML 1.1 and decimal to 1.2, a number to one and text to the other, or no number in JSON.
_AMBIGUOUS = re.compile(
    r"[-+]?(0[0-9_]+([.][0-9_]*)?([eE][-+]?[0-9]+)?|0[box][0-9a-fA-F_]+|[1-9][0-9_]*_[0-9_]*"
    r"|[.](inf|Inf|INF))|[.](nan|NaN|NAN)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One value and where it begins; `line` counts from 1 and is 0 where it is not known (JSON)."""

    value: Scalar | tuple[Node, ...] | dict[str, Node]
    line: int


class DocumentRefused(Exception):
    """A text is no document of the kind that is read here.

    `line` counts from 1; 0 means that it is not known.
    """

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def read_document(text: str) -> Node:
    """Return the document that `text` is.

    Raises:
        DocumentRefused: If it is not well formed, or uses or exceeds what is not allowed.
    """
    text = text.removeprefix("\ufeff")
    if text.lstrip(" \t\r\n").startswith("{"):
        return _read_json(text)
    try:
        return _YamlReader(text).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 0 if mark is None else mark.line + 1
        raise DocumentRefused(
            f"this is not YAML: {error.problem or error.context}", line
        ) from error
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        # Characters that YAML does not have: controls, lone surrogates.
        raise DocumentRefused(
            "this is not YAML: it holds a character that is not allowed"
        ) from error


def plain(node: Node) -> Plain:
    """Return the values of `node` without their lines."""
    match node.value:
        case tuple():
            return [plain(item) for item in node.value]
        case dict():
            return {key: plain(item) for key, item in node.value.items()}
        case _:
            return node.value


class _YamlReader:
    """Reads one document event by event, so that a limit is met before what would pass it is built."""

    def __init__(self, text: str) -> None:
        self._parser = CBaseLoader(text)
        self._nodes = 0

    def read(self) -> Node:
        self._next()
        if isinstance(self._next(), yaml.StreamEndEvent):
            raise DocumentRefused("the document is empty")
        node = self._read_node(self._next(), 1)
        self._next()
        if not isinstance(event := self._next(), yaml.StreamEndEvent):
            raise DocumentRefused("there is more than one document", _line(event))
        return node

    def _next(self) -> yaml.Event:
        event = self._parser.get_event()
        assert event is not None, "read past the end of the stream"
        return event

    def _read_node(self, event: yaml.Event, depth: int) -> Node:
        line = _line(event)
        self._nodes += 1
        _check_extent(depth, self._nodes, line)
        if isinstance(event, yaml.AliasEvent):
            raise DocumentRefused("aliases (*name) are not allowed", line)
        assert isinstance(event, yaml.NodeEvent)
        if event.anchor is not None:
            raise DocumentRefused("anchors (&name) are not allowed", line)
        if getattr(event, "tag", None) is not None:
            raise DocumentRefused("tags (!name) are not allowed", line)
        if isinstance(event, yaml.ScalarEvent):
            return Node(value=_scalar(event, line), line=line)
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(value=self._read_items(depth), line=line)
        assert isinstance(event, yaml.MappingStartEvent)
        return Node(value=self._read_pairs(depth), line=line)

    def _read_items(self, depth: int) -> tuple[Node, ...]:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._read_node(event, depth + 1))
        return tuple(items)

    def _read_pairs(self, depth: int) -> dict[str, Node]:
        pairs: dict[str, Node] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line = _line(event)
            # Read as a node for its checks; a key is its text, so that `on` and `1` name what they say.
            self._read_node(event, depth + 1)
            if not isinstance(event, yaml.ScalarEvent):
                raise DocumentRefused("a key must be text", line)
            if event.value in pairs:
                raise DocumentRefused(f"the key {event.value[:80]!r} is given twice", line)
            pairs[event.value] = self._read_node(self._next(), depth + 1)
        return pairs


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


def _scalar(event: yaml.ScalarEvent, line: int) -> Scalar:
    text: str = event.value
    # Only a plain scalar is implicit in the first sense: quoted and block ones are text.
    if not event.implicit[0]:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _AMBIGUOUS.fullmatch(text):
        raise DocumentRefused(
            f"{text[:NUMBER_CHARS_MAX]!r} means different things to different readers of YAML: "
            "write a plain decimal number, or put quotes around text",
            line,
        )
    if _INTEGER.fullmatch(text):
        return _integer(text, line)
    return _float(text, line) if _FLOAT.fullmatch(text) else text


def _integer(text: str, line: int = 0) -> int:
    if len(text) > NUMBER_CHARS_MAX:
        raise DocumentRefused(f"a number has more than {NUMBER_CHARS_MAX} characters", line)
    return int(text)


def _float(text: str, line: int = 0) -> float:
    if len(text) > NUMBER_CHARS_MAX:
        raise DocumentRefused(f"a number has more than {NUMBER_CHARS_MAX} characters", line)
    number = float(text)
    if not math.isfinite(number):
        raise DocumentRefused(f"the number {text} is too large", line)
    return number


class _Pairs(list[tuple[str, object]]):
    """The pairs of a JSON object, those with the same key too."""


def _read_json(text: str) -> Node:
    try:
        value = json.loads(
            text,
            object_pairs_hook=_Pairs,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise DocumentRefused(f"this is not JSON: {error.msg}", error.lineno) from error
    except RecursionError as error:
        raise DocumentRefused(f"values nest deeper than {DEPTH_MAX}") from error
    return _JsonReader().read(value, 1)


class _JsonReader:
    """Turns what the json module made into nodes, within the same limits as YAML."""

    def __init__(self) -> None:
        self._nodes = 0

    def read(self, value: object, depth: int) -> Node:
        self._nodes += 1
        _check_extent(depth, self._nodes, 0)
        if isinstance(value, _Pairs):
            pairs: dict[str, Node] = {}
            for key, item in value:
                if key in pairs:
                    raise DocumentRefused(f"the key {key[:80]!r} is given twice")
                _check_text(key)
                pairs[key] = self.read(item, depth + 1)
            return Node(value=pairs, line=0)
        if isinstance(value, list):
            return Node(value=tuple(self.read(item, depth + 1) for item in value), line=0)
        if isinstance(value, str):
            _check_text(value)
        assert value is None or isinstance(value, bool | int | float | str)
        return Node(value=value, line=0)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DocumentRefused("a text holds a lone surrogate") from error


def _refuse_constant(name: str) -> NoReturn:
    raise DocumentRefused(f"{name} is no number of JSON")


def _check_extent(depth: int, nodes: int, line: int) -> None:
    if depth > DEPTH_MAX:
        raise DocumentRefused(f"values nest deeper than {DEPTH_MAX}", line)
    if nodes > NODES_MAX:
        raise DocumentRefused(f"there are more than {NODES_MAX} values", line)
