"""How big a value a statement could make, as far as its text tells; too big is refused."""

from __future__ import annotations

import re

from table_service import sandbox_rules as rules
from table_service import serialized_sql as sql
from table_service.serialized_sql import JsonObject, JsonValue, refused


def array_elements(node: JsonObject) -> int:
    """Return how many values one value of the type holds: arrays multiply, fields add."""
    details = node.get("type_info")
    if isinstance(details, dict):
        inner = [*sql.objects(details, "child_types")]
        within = [sql.child(field, "second") for field in inner]
        within += [sql.child(details, "child_type")] if "child_type" in details else []
        size: int | None = (
            sql.integer(details.get("size")) if sql.text(node, "id") == "ARRAY" else 1
        )
    else:
        children = sql.objects(node, "children")
        within = [child for child in children if child.get("class") == "TYPE"]
        is_array = sql.fold(sql.text(node, "type_name")) == "array"
        size = sql.whole_number(children[-1]) if is_array and children else 1
    if size is None:
        raise refused("ARRAY", "the size of an array type is a whole number")
    return size * max(1, sum(array_elements(child) for child in within))


def check_size(node: JsonObject) -> int:
    """Return by how much a call multiplies what it is given; refuse a size unknown or too big.

    A size from a column or a parameter is refused rather than capped: a cap would change the answer
    in silence. The same function in FROM streams its rows and needs no bound.
    """
    name, arguments = sql.function_name(node), sql.arguments(node)
    if name in rules.SERIES:
        size = _series_length(arguments)
    elif name in rules.TEMPLATES:
        size = _template_width(arguments)
    elif name in rules.AGGREGATE_CALLS:
        _check_aggregate_call(name, arguments)
        return 1
    elif name in rules.SIZE_ARGUMENTS:
        at = rules.SIZE_ARGUMENTS[name]
        size = sql.whole_number(arguments[at]) if at < len(arguments) else 0
    else:
        return 1
    named = any(sql.text(argument, "name") for argument in sql.objects(node, "arguments"))
    if size is None or named:
        hint = f"; in FROM, as FROM {name}(…), it may be any" if name in rules.SERIES else ""
        raise refused(name, f"the size given to {name} must be written as a plain number{hint}")
    if abs(size) > rules.SIZE_MAX:
        raise refused(name, f"the size given to {name} is more than {rules.SIZE_MAX}")
    return max(1, size) if name in rules.GROWING else 1


def _series_length(arguments: list[JsonObject]) -> int | None:
    bounds = [sql.whole_number(argument) for argument in arguments]
    known = [bound for bound in bounds if bound is not None]
    if len(known) != len(bounds) or not 1 <= len(known) <= 3:
        return None
    start, stop = (0, known[0]) if len(known) == 1 else (known[0], known[1])
    step = known[2] if len(known) == 3 else 1
    return max(0, (stop - start) // step + 1) if step else 0


def _template_width(arguments: list[JsonObject]) -> int | None:
    """Return the largest number in a literal template; None if an argument could be a width."""
    template = sql.literal_text(arguments[0]) if arguments else None
    if template is None or "*" in template or re.search(r"\{[^{}]*\{", template):
        return None
    # Nine digits decide; more would only make Python's int slow.
    return max((int(digits[:9]) for digits in re.findall(r"\d+", template)), default=0)


def _check_aggregate_call(name: str, arguments: list[JsonObject]) -> None:
    aggregate = sql.literal_text(arguments[1]) if len(arguments) > 1 else None
    if aggregate is None or sql.fold(aggregate) not in rules.AGGREGATES:
        raise refused(name, f"{name} takes the name of an aggregate, written as a string")


def check_extent(statement: JsonObject) -> None:
    count = 0
    pending: list[tuple[JsonValue, int]] = [(statement, 1)]
    while pending:
        value, depth = pending.pop()
        count += isinstance(value, dict)
        # DuckDB ends a string there when it writes the statement back: it would mean another.
        if isinstance(value, str) and "\0" in value:
            raise refused("NUL", "a statement may not have a NUL character in it")
        if depth > rules.DEPTH_MAX:
            raise refused("nesting", f"the statement is nested more than {rules.DEPTH_MAX} deep")
        if count > rules.NODES_MAX:
            raise refused("length", f"the statement has more than {rules.NODES_MAX} parts")
        pending.extend((child, depth + 1) for child in sql.children(value))
