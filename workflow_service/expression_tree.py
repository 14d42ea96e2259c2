"""What a compiled CEL expression says of itself: the paths it reads, how far it could grow a value.

Reads the checked expression as the library serialises it, in protobuf's wire format by hand: the
library ships no generated classes for it, and a dozen fields are all that is needed here.

Source: cel-spec, proto/cel/expr/syntax.proto and checked.proto, for every field number below.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = tuple[str, ...]

# The fields of one message by number, in order; of a number only that it is there, with no bytes.
_Fields: TypeAlias = dict[int, list[bytes]]
# What a cel.bind in scope stands for: how many concatenations it is written out.
_Scope: TypeAlias = Mapping[str, int]

_ANY_VALUE, _CHECKED_EXPR = 2, 4
_CONST, _IDENT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = 3, 4, 5, 6, 7, 8, 9
_KINDS = (_CONST, _IDENT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION)
_CONST_STRING, _CONST_BYTES = 6, 7
_LIST_ELEMENTS = 1
_SELECT_OPERAND, _SELECT_FIELD, _SELECT_TEST_ONLY = 1, 2, 3
_CALL_TARGET, _CALL_FUNCTION, _CALL_ARGUMENTS = 1, 2, 3
_STRUCT_ENTRIES, _ENTRY_KEY, _ENTRY_VALUE = 2, 3, 4
_ITER_VAR, _ITER_RANGE, _ACCU_VAR, _ACCU_INIT, _CONDITION, _STEP, _RESULT = 1, 2, 3, 4, 5, 6, 7

# The name cel.bind gives to the variable of the loop that it never runs.
_BIND_ITER_VAR = "#unused"
_ACCUMULATOR = "@result"
_TESTING = frozenset({"_[?_]", "_?._"})
_SELECTING = frozenset({"_[_]", *_TESTING})
# Loops in all but name: they copy every item of a list.
_LOOPING = frozenset({"join", "format"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The measures of one expression; the limits on them are `expressions`'s."""

    references: frozenset[Path]
    # The paths whose presence it asks for, by has() or `.?`.
    tested: frozenset[Path]
    comprehensions: int
    comprehension_depth: int
    # With every cel.bind written out at each of its uses.
    concatenations: int
    # The most of them in what one comprehension loops over.
    range_concatenations: int
    literal_longest: int
    replace_growth: int
    replace_is_dynamic: bool
    splits: bool


def read_tree(serialized: bytes, variables: Collection[str]) -> Tree:
    """Return the measures of `serialized`, a CheckedExpr in an Any.

    A name that is neither local nor one of `variables` is a type's.
    """
    checked = _fields(_fields(serialized)[_ANY_VALUE][0])
    reader = _TreeReader(variables)
    concatenations = reader.read(checked[_CHECKED_EXPR][0], {}, 0)
    return Tree(
        references=frozenset(reader.references),
        tested=frozenset(reader.tested),
        comprehensions=reader.comprehensions,
        comprehension_depth=reader.comprehension_depth,
        concatenations=concatenations,
        range_concatenations=reader.range_concatenations,
        literal_longest=reader.literal_longest,
        replace_growth=reader.replace_growth,
        replace_is_dynamic=reader.replace_is_dynamic,
        splits=reader.splits,
    )


class _TreeReader:
    """Walks a tree once, by recursion: the library's parser bounds how deep a tree can be."""

    def __init__(self, variables: Collection[str]) -> None:
        self._variables = variables
        self.references: set[Path] = set()
        self.tested: set[Path] = set()
        self.comprehensions = 0
        self.comprehension_depth = 0
        self.range_concatenations = 0
        self.literal_longest = 0
        self.replace_growth = 1
        self.replace_is_dynamic = False
        self.splits = False

    def read(self, expression: bytes, scope: _Scope, depth: int) -> int:
        """Note what `expression` reads and holds; return its concatenations, written out."""
        fields = _fields(expression)
        path = self._path(fields, scope)
        if path is not None:
            self.references.add(path)
            return 0
        # One of them is set; the number of the one that is, is the kind of the expression.
        kind = next(number for number in _KINDS if number in fields)
        body = _fields(fields[kind][0])
        if kind == _CONST:
            literals = body.get(_CONST_STRING, []) + body.get(_CONST_BYTES, [])
            return self._note_literal(sum(map(len, literals)))
        if kind == _IDENT:
            return scope.get(_text(body, 1), 0)
        if kind == _SELECT:
            return self.read(body[_SELECT_OPERAND][0], scope, depth)
        if kind == _CALL:
            return self._read_call(body, scope, depth)
        if kind == _COMPREHENSION:
            return self._read_comprehension(body, scope, depth)
        parts = body.get(_LIST_ELEMENTS, []) if kind == _LIST else _entry_parts(body)
        self._note_literal(len(parts))
        return sum(self.read(part, scope, depth) for part in parts)

    def _path(self, fields: _Fields, scope: _Scope) -> Path | None:
        """Return the path that constant selections from a variable spell, None for all else."""
        if _IDENT in fields:
            name = _text(_fields(fields[_IDENT][0]), 1)
            # A leading dot stays only where it tells a variable from a local name that hides it.
            if name in scope or name.removeprefix(".") not in self._variables:
                return None
            return (name.removeprefix("."),)
        if _SELECT in fields:
            select = _fields(fields[_SELECT][0])
            operand = self._path(_fields(select[_SELECT_OPERAND][0]), scope)
            if operand is None:
                return None
            path = (*operand, _text(select, _SELECT_FIELD))
            if _SELECT_TEST_ONLY in select:
                self.tested.add(path)
            return path
        if _CALL not in fields:
            return None
        call = _fields(fields[_CALL][0])
        function = _text(call, _CALL_FUNCTION)
        if function not in _SELECTING:
            return None
        operand = self._path(_fields(call[_CALL_ARGUMENTS][0]), scope)
        name_literal = _string_literal(call[_CALL_ARGUMENTS][1])
        if operand is None or name_literal is None:
            return None
        path = (*operand, name_literal)
        if function in _TESTING:
            self.tested.add(path)
        return path

    def _read_call(self, call: _Fields, scope: _Scope, depth: int) -> int:
        function = _text(call, _CALL_FUNCTION)
        arguments = call.get(_CALL_ARGUMENTS, [])
        operands = call.get(_CALL_TARGET, []) + arguments
        if function == "replace":
            self._note_replace(arguments)
        if function in _LOOPING:
            self.comprehensions += 1
            self.comprehension_depth = max(self.comprehension_depth, depth + 1)
        self.splits = self.splits or function == "split"
        # What map and filter add to is their own accumulator: LOOP_ITEMS_MAX bounds that.
        adds = function == "_+_" and not _is_accumulator(operands[0])
        return adds + sum(self.read(operand, scope, depth) for operand in operands)

    def _note_replace(self, arguments: list[bytes]) -> None:
        old, new = (_string_literal(argument) for argument in arguments[:2])
        if old is None or new is None:
            self.replace_is_dynamic = True
        else:
            # In UTF-8 bytes, rounded up; an empty `old` puts `new` before every character.
            growth = (
                1 + len(new.encode()) if not old else -(-len(new.encode()) // len(old.encode()))
            )
            self.replace_growth *= max(1, growth)

    def _read_comprehension(self, loop: _Fields, scope: _Scope, depth: int) -> int:
        iter_var, accu_var = _text(loop, _ITER_VAR), _text(loop, _ACCU_VAR)
        range_adds = self.read(loop[_ITER_RANGE][0], scope, depth)
        init_adds = self.read(loop[_ACCU_INIT][0], scope, depth)
        if iter_var == _BIND_ITER_VAR:
            return self.read(loop[_RESULT][0], {**scope, accu_var: init_adds}, depth)
        self.comprehensions += 1
        self.comprehension_depth = max(self.comprehension_depth, depth + 1)
        self.range_concatenations = max(self.range_concatenations, range_adds)
        inner = {**scope, iter_var: 0, accu_var: 0}
        inside = sum(self.read(loop[part][0], inner, depth + 1) for part in (_CONDITION, _STEP))
        result_adds = self.read(loop[_RESULT][0], {**scope, accu_var: 0}, depth)
        return range_adds + init_adds + inside + result_adds

    def _note_literal(self, length: int) -> int:
        self.literal_longest = max(self.literal_longest, length)
        return 0


def _entry_parts(struct: _Fields) -> list[bytes]:
    entries = [_fields(entry) for entry in struct.get(_STRUCT_ENTRIES, [])]
    numbers = (_ENTRY_KEY, _ENTRY_VALUE)
    return [part for entry in entries for number in numbers for part in entry.get(number, [])]


def _string_literal(expression: bytes) -> str | None:
    constants = _fields(expression).get(_CONST)
    strings = _fields(constants[0]).get(_CONST_STRING) if constants else None
    return strings[0].decode() if strings else None


def _is_accumulator(expression: bytes) -> bool:
    ident = _fields(expression).get(_IDENT)
    return ident is not None and _text(_fields(ident[0]), 1) == _ACCUMULATOR


def _text(fields: _Fields, number: int) -> str:
    return fields[number][0].decode() if number in fields else ""


def _fields(message: bytes) -> _Fields:
    """Return the length-delimited fields of `message`, and which varints are not 0.

    Source: protobuf.dev/programming-guides/encoding.
    """
    fields: _Fields = {}
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        match tag & 7:
            case 0:
                number, position = _varint(message, position)
                if number:
                    fields.setdefault(tag >> 3, [])
            case 1:
                position += 8
            case kind:
                assert kind == 2, f"wire type {kind}"
                length, position = _varint(message, position)
                fields.setdefault(tag >> 3, []).append(message[position : position + length])
                position += length
    return fields


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the number at `position` and the position after it."""
    number = shift = 0
    while True:  # Ends at the first byte below 128, or in an IndexError on a broken message.
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
