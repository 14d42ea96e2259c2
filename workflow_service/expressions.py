"""CEL, the language of control in a workflow: compiled once, evaluated in microseconds.

Never does I/O and never sees a whole dataset: a context holds inputs, bounded previews and the run.
How values cross into CEL and back is told in `expression_values`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

from chassis.faults import InvalidArgument
from workflow_service.expression_tree import Path, Tree, read_tree
from workflow_service.expression_values import (
    ContextBinder,
    ExpressionFailed,
    ResultReader,
    Shape,
    Value,
    is_unicode,
)

__all__ = ["Environment", "Expression", "ExpressionFailed", "Value"]

# The library has two limits of its own that nothing here can change: 32 levels of nesting in the
# text, and 10,000 comprehension iterations an evaluation, nested ones counted together.
ITERATIONS_MAX = 10_000

TEXT_CHARS_MAX = 8_192
COMPREHENSION_DEPTH_MAX = 2
# `_+_` written out, that is with every cel.bind replaced by what it is bound to; numbers count too.
CONCATENATIONS_MAX = 100
# How much longer all the `replace` calls of one expression may make a string, together.
REPLACE_GROWTH_MAX = 64

# The library copies the whole list at every item that `map` or `filter` adds: 1,000 items take
# 26 ms and 15 MB, 9,000 took 4.6 s and 1.3 GB.
LOOP_ITEMS_MAX = 1_000
# An upper bound of characters or list items copied, computed before an evaluation from the measures
# of the expression and the longest value it can see. CEL has no memory limit; this is one.
COPIES_MAX = 256 * 1024 * 1024

VARIABLES = ("input", "steps", "run")

_COMPILE_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)$", re.MULTILINE)
_STATUS = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expression:
    """One compiled expression; evaluating it changes nothing, so any number of threads may.

    `references` are the paths it reads, as deep as they are constant: `steps.delays.rows[0].x`
    reads ("steps", "delays", "rows"); `steps[input.x]` reads ("steps",) and ("input", "x").
    `tested` are the paths whose presence it asks for, by has() or `.?`.
    `result_type` is CEL's name of its static type, DYN where only an evaluation can tell.
    """

    text: str
    references: frozenset[Path]
    tested: frozenset[Path]
    result_type: str
    _program: cel.Expression
    _tree: Tree
    _shape: Shape = field(repr=False)

    def evaluate(self, context: Mapping[str, object]) -> Value:
        """Return the value for `context`, a value for each of VARIABLES that the expression reads.

        Raises:
            ExpressionFailed: If CEL has no value, or a limit of this module is passed.
        """
        answer = self._answer(context)
        return ResultReader().read(answer, 1)

    def evaluate_condition(self, context: Mapping[str, object]) -> bool:
        """Return the truth for `context`; anything but a bool is a failure, never truthy.

        Raises:
            ExpressionFailed: As `evaluate`, and if the value is not a bool.
        """
        answer = self._answer(context)
        kind = answer.type().name()
        if kind != "BOOL":
            raise ExpressionFailed(f"a condition must be a bool, this is {_noun(kind)}")
        return bool(answer.value())

    def _answer(self, context: Mapping[str, object]) -> cel.Value:
        binder = ContextBinder()
        bound = binder.narrow(context, self._shape, 0)
        _check_copies(self._tree, binder)
        try:
            answer = self._program.eval(data=bound)
        except RuntimeError as error:
            raise ExpressionFailed(_STATUS.sub("", str(error))) from error
        if answer.type().name() in ("ERROR", "UNKNOWN"):
            _raise_error(answer)
        return answer


class Environment:
    """What expressions are compiled against: VARIABLES, each a map, and CEL's extensions.

    Beyond the standard language: strings (split, join, format, replace and more), math, base64,
    optionals (`input.?x.orValue(1)`) and cel.bind. Make one a process: that takes milliseconds.
    """

    def __init__(self) -> None:
        anything = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
        self._env = cel.NewEnv(
            variables=dict.fromkeys(VARIABLES, anything),
            extensions=[
                ext_strings.ExtStrings(),
                ext_math.ExtMath(),
                ext_encoders.ExtEncoders(),
                ext_optional.ExtOptional(),
                ext_bindings.ExtBindings(),
            ],
        )

    def compile(self, text: str) -> Expression:
        """Return `text` compiled.

        Raises:
            InvalidArgument: EXPRESSION_INVALID; `line` and `column`, from 1, if CEL gives them.
        """
        if len(text) > TEXT_CHARS_MAX:
            _refuse(f"an expression has at most {TEXT_CHARS_MAX} characters, this has {len(text)}")
        # The library would stop reading at a NUL, and cannot name a lone surrogate.
        if "\0" in text or not is_unicode(text):
            _refuse("an expression holds no NUL and no lone surrogate")
        try:
            program = self._env.compile(text)
        except RuntimeError as error:
            _refuse_compile_error(str(error))
        result_type = program.return_type().name()
        if result_type.lower().startswith(("optional", "type")):
            _refuse(f"{_noun(result_type)} is no value; an optional has .orValue(...)")
        tree = read_tree(program.serialize(), VARIABLES)
        _check_limits(tree)
        return Expression(
            text=text,
            references=tree.references,
            tested=tree.tested,
            result_type=result_type,
            _program=program,
            _tree=tree,
            _shape=_shape(tree.references),
        )

    def compile_condition(self, text: str) -> Expression:
        """Return `text` compiled, after checking that it can be a bool.

        Raises:
            InvalidArgument: As `compile`, and if the static type is known and is not bool.
        """
        expression = self.compile(text)
        if expression.result_type not in ("BOOL", "DYN"):
            _refuse(f"a condition must be a bool, this is {_noun(expression.result_type)}")
        return expression


def _check_copies(tree: Tree, binder: ContextBinder) -> None:
    items = max(binder.items_longest, tree.literal_longest)
    longest = max(items, binder.chars_longest)
    written_out = 1 + tree.concatenations
    # A loop may run over the pieces of a split text, over lists added up, and, inside another loop,
    # over what that one was given.
    added = tree.range_concatenations if tree.comprehension_depth == 1 else tree.concatenations
    looped = (longest if tree.splits else items) * (1 + added)
    if tree.comprehensions and looped > LOOP_ITEMS_MAX:
        raise ExpressionFailed(
            f"could loop over {looped} items of this context, the limit is {LOOP_ITEMS_MAX}"
        )
    match tree.comprehension_depth:
        case 0:
            iterations = 1
        case 1:
            iterations = min(ITERATIONS_MAX, max(1, looped) * tree.comprehensions)
        case _:
            iterations = ITERATIONS_MAX
    copies = iterations * longest * written_out**2 * tree.replace_growth
    if copies > COPIES_MAX:
        raise ExpressionFailed(
            f"could copy {copies} characters or items of this context, the limit is {COPIES_MAX}"
        )


def _check_limits(tree: Tree) -> None:
    if tree.comprehension_depth > COMPREHENSION_DEPTH_MAX:
        _refuse(f"comprehensions nest at most {COMPREHENSION_DEPTH_MAX} deep")
    if tree.concatenations > CONCATENATIONS_MAX:
        _refuse(f"at most {CONCATENATIONS_MAX} `+`, with every cel.bind written out")
    if tree.replace_is_dynamic:
        _refuse("the arguments of replace must be literals")
    if tree.replace_growth > REPLACE_GROWTH_MAX:
        _refuse(f"all replace together may make a text at most {REPLACE_GROWTH_MAX} times longer")


def _shape(references: frozenset[Path]) -> Shape:
    shape: Shape = {}
    for path in sorted(references, key=len):
        if any(path[:length] in references for length in range(1, len(path))):
            continue
        below = shape
        for name in path:
            below = below.setdefault(name, {})
    return shape


def _noun(kind: str) -> str:
    return f"a CEL {kind.lower()}"


def _raise_error(answer: cel.Value) -> NoReturn:
    # `.value()` of an error is its message, a truthy string; of an optional, which calls itself an
    # error too, it raises.
    try:
        message = str(answer.value())
    except TypeError as error:
        raise ExpressionFailed("an optional is no value; it has .orValue(...)") from error
    raise ExpressionFailed(_STATUS.sub("", message))


def _refuse(message: str) -> NoReturn:
    raise InvalidArgument("EXPRESSION_INVALID", message)


def _refuse_compile_error(text: str) -> NoReturn:
    found = _COMPILE_ERROR.search(text)
    if found is None:
        _refuse(_STATUS.sub("", _STATUS.sub("", text)))
    line, column, message = int(found[1]), int(found[2]), _STATUS.sub("", found[3])
    if line < 1:
        _refuse(message)
    located = f"line {line}, column {column}: {message}"
    raise InvalidArgument("EXPRESSION_INVALID", located, line=line, column=column)
