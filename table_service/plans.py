"""Plans: DuckDB's JSON about how a query is carried out, as text that tells nothing of the store.

Pure. Reads what 1.5 and 2.0 write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from chassis.faults import InvalidArgument

PLAN_CHARACTERS_MAX = 1_000_000
_DETAIL_CHARACTERS_MAX = 500
_INDENT_MAX = 60
# Around the query: they collect what it gives.
_OURS = frozenset({"RESULT_COLLECTOR", "EXPLAIN_ANALYZE"})
_ROWS_GUESSED = "Estimated Cardinality"
_UNSAID = frozenset({"Table", "Type", _ROWS_GUESSED})
_OWN = re.compile(
    r'(?:"?flux"?\.)?(?:"?(?:main|auth|workflow|datasets)"?\.)?'
    r'"?\b((?:tbl|ds)_[0-9A-HJKMNP-TV-Z]{26}(?:_v\d+)?)\b"?'
)
_PACKED = re.compile(r"__internal_\w+\(([^()]*)\)")

_Node = Mapping[str, object]


def plan_text(written: str, names: Mapping[str, str], *, analyzed: bool) -> str:
    """Return a line for each operator, the ones that it reads from under it, two spaces in.

    `names`: what callers call the tables behind physical names. With `analyzed` a line says how many rows the
    operator gave and how long it took, else how many are guessed.

    Raises:
        InvalidArgument: SQL_REFUSED for a plan too deep to be read.
    """
    try:
        value = json.loads(written)
    except RecursionError:
        raise InvalidArgument("SQL_REFUSED", "the plan is nested too deep to be shown") from None
    lines: list[str] = []
    length = 0
    for node, depth in _operators(value):
        line = "  " * min(depth, _INDENT_MAX) + _line(node, names, analyzed=analyzed)
        length += len(line) + 1
        if length > PLAN_CHARACTERS_MAX:
            lines.append("…")
            break
        lines.append(line)
    return "\n".join(lines)


def _operators(value: object) -> Iterator[tuple[_Node, int]]:
    """Yield each operator with its depth, those above first."""
    pending = [(node, 0) for node in reversed(_inner(value))]
    while pending:
        node, depth = pending.pop()
        ours = _name(node) in _OURS
        if not ours:
            yield node, depth
        pending += [(inner, depth + (not ours)) for inner in reversed(_inner(node))]


def _inner(value: object) -> list[_Node]:
    if isinstance(value, dict):
        value = value.get("children") or value.get("operator")
    return [node for node in value if isinstance(node, dict)] if isinstance(value, list) else []


def _line(node: _Node, names: Mapping[str, str], *, analyzed: bool) -> str:
    extra = node.get("extra_info")
    details = extra if isinstance(extra, dict) else {}
    table = details.get("Table")
    said = [_name(node) + (f" {_shown(table, names)}" if table else "")]
    said += [
        f"{key.lower()}: {_shown(detail, names)}"
        for key, detail in details.items()
        if key not in _UNSAID and detail
    ]
    if analyzed:
        rows = _number(node, "intermediate_rows", "operator_cardinality")
        seconds = _number(node, "timing", "operator_timing")
        said.append(f"{rows:.0f} rows in {seconds:.6f} s")
    elif details.get(_ROWS_GUESSED):
        said.append(f"about {details[_ROWS_GUESSED]} rows")
    return " | ".join(said)


def _name(node: _Node) -> str:
    return next(
        (
            found.strip()
            for field in ("name", "operator_name", "type", "operator_type")
            if isinstance(found := node.get(field), str)
        ),
        "",
    )


def _number(node: _Node, *fields: str) -> float:
    return next(
        (found for field in fields if isinstance(found := node.get(field), int | float)), 0.0
    )


def _shown(detail: object, names: Mapping[str, str]) -> str:
    text = ", ".join(map(str, detail)) if isinstance(detail, list) else str(detail)
    text = _OWN.sub(lambda found: names.get(found[1], "…"), " ".join(text.split()))
    while (plainer := _PACKED.sub(r"\1", text)) != text:
        text = plainer
    return text if len(text) <= _DETAIL_CHARACTERS_MAX else text[:_DETAIL_CHARACTERS_MAX] + "…"
