"""Reading the JSON that DuckDB's `json_serialize_sql` makes, as 1.5 and as 2.0 write it.

Knows the shape of a statement and what its names mean; what is allowed is
`table_service.sandbox`'s.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from chassis.faults import InvalidArgument

JsonValue = dict[str, "JsonValue"] | list["JsonValue"] | str | int | float | bool | None
JsonObject = dict[str, JsonValue]
TableName = tuple[str, str]


def refused(construct: str, sentence: str) -> InvalidArgument:
    return InvalidArgument("SQL_REFUSED", sentence, construct=construct)


def fold(name: str) -> str:
    """Return the name as DuckDB compares it: only ASCII letters lose their case."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def fold_name(name: TableName) -> TableName:
    return fold(name[0]), fold(name[1])


def copy(tree: JsonObject) -> JsonObject:
    value: JsonObject = json.loads(json.dumps(tree))
    return value


# The readers below take a field that is missing for empty, because DuckDB may leave defaults out,
# and refuse one of another shape: a statement that is not understood is not run.


def text(node: JsonObject, field: str) -> str:
    value = node.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise refused(field, f"the statement's {field} is not understood")
    return value


def items(node: JsonObject, field: str) -> list[JsonValue]:
    value = node.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise refused(field, f"the statement's {field} is not understood")
    return value


def objects(node: JsonObject, field: str) -> list[JsonObject]:
    found = [item for item in items(node, field) if isinstance(item, dict)]
    if len(found) != len(items(node, field)):
        raise refused(field, f"the statement's {field} is not understood")
    return found


def child(node: JsonObject, field: str) -> JsonObject:
    value = node.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refused(field, f"the statement's {field} is not understood")
    return value


def children(value: JsonValue) -> list[JsonValue]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else []


def nodes(tree: JsonValue) -> Iterator[JsonObject]:
    """Yield every object of the tree, each before those inside it.

    A loop, so that depth costs no stack.
    """
    pending = [tree]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield value
        pending.extend(children(value))


def function_name(node: JsonObject) -> str:
    return fold(text(node, "function_name"))


def arguments(node: JsonObject) -> list[JsonObject]:
    """Return a function's arguments in order; 2.0 wraps each to give it a name."""
    if "arguments" in node:
        return [child(argument, "expression") for argument in objects(node, "arguments")]
    return objects(node, "children")


def whole_number(expression: JsonObject) -> int | None:
    """Return the number a literal stands for; None if it is no literal whole number."""
    if expression.get("class") != "CONSTANT":
        return None
    literal = expression.get("literal")
    if isinstance(literal, dict):
        digits = text(literal, "text")
        # Nine digits are past every limit, and Python refuses to read thousands of them.
        return int(digits[:10]) if text(literal, "kind") == "INTEGER" else None
    return integer(child(expression, "value").get("value"))


def integer(value: JsonValue) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def literal_text(expression: JsonObject) -> str | None:
    """Return the string a literal stands for; None if it is no literal string."""
    if expression.get("class") != "CONSTANT":
        return None
    literal = expression.get("literal")
    if isinstance(literal, dict):
        return text(literal, "text") if text(literal, "kind") == "STRING" else None
    value = child(expression, "value").get("value")
    return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A table in FROM; `cte` is the new name of the common table expression it means, if any."""

    node: JsonObject
    cte: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A common table expression: its entry in the map, its query, and what it is renamed to."""

    entry: JsonObject
    query: JsonObject
    name: str


def resolve(statement: JsonObject) -> tuple[list[Reference], list[Definition]]:
    """Return the tables named in FROM, and the common table expressions with their new names.

    A common table expression is seen by the ones after it, by the node that defines it and by
    everything within; by itself only in the second half of a recursive one.
    """
    references: list[Reference] = []
    definitions: list[Definition] = []
    nothing: dict[str, str] = {}
    pending: list[tuple[JsonValue, dict[str, str], dict[str, str]]] = [
        (statement, nothing, nothing)
    ]
    while pending:
        value, scope, own = pending.pop()
        if not isinstance(value, dict):
            pending.extend((item, scope, nothing) for item in children(value))
            continue
        if value.get("type") == "BASE_TABLE":
            references.append(Reference(node=value, cte=_cte_meant(value, scope)))
        for entry in cte_entries(value):
            name = f"cte {len(definitions) + 1}"
            definitions.append(Definition(entry=entry, query=_cte_query(entry), name=name))
            key = {fold(text(entry, "key")): name}
            pending.append((entry.get("value"), scope, key))
            scope = scope | key
        recursive = value.get("type") == "RECURSIVE_CTE_NODE"
        # What lies between an entry and its query has no type of its own.
        passed = nothing if "type" in value else own
        for field, item in value.items():
            if field != "cte_map":
                inner = scope | own if recursive and field == "right" else scope
                pending.append((item, inner, passed))
    return references, definitions


def _cte_meant(node: JsonObject, scope: Mapping[str, str]) -> str | None:
    namespace, name = written_name(node)
    # `recurring.t` is how a recursive query with USING KEY names all its rows so far.
    return scope.get(fold(name)) if fold(namespace) in ("", "recurring") else None


def cte_entries(node: JsonObject) -> list[JsonObject]:
    return objects(child(node, "cte_map"), "map") if "cte_map" in node else []


def _cte_query(entry: JsonObject) -> JsonObject:
    value = child(entry, "value")
    return (
        child(value, "query_node")
        if "query_node" in value
        else child(child(value, "query"), "node")
    )


def written_name(node: JsonObject) -> TableName:
    return text(node, "schema_name"), text(node, "table_name")


def free_columns(expression: JsonObject, lambda_calls: Collection[str]) -> Iterator[str]:
    """Yield the column of each reference that is no parameter of a lambda around it."""
    pending: list[tuple[JsonValue, frozenset[str]]] = [(expression, frozenset())]
    while pending:
        value, bound = pending.pop()
        # `a -> b` is a lambda or JSON's arrow, and only the function around it tells. Anywhere else
        # the left side counts as a column, or an arrow would hide one.
        if isinstance(value, dict) and _takes_lambda(value, lambda_calls):
            given, function = arguments(value)
            left = [
                node for node in nodes(child(function, "lhs")) if node.get("class") == "COLUMN_REF"
            ]
            names = {fold(_column_name(node)) for node in left}
            pending += [(value.get("filter"), bound), (value.get("order_bys"), bound)]
            pending += [(given, bound), (child(function, "expr"), bound | names)]
            continue
        if isinstance(value, dict) and value.get("class") == "COLUMN_REF":
            name = _column_name(value)
            if fold(name) not in bound:
                yield name
        pending.extend((item, bound) for item in children(value))


def _takes_lambda(node: JsonObject, lambda_calls: Collection[str]) -> bool:
    if node.get("class") != "FUNCTION" or function_name(node) not in lambda_calls:
        return False
    given = arguments(node)
    return len(given) == 2 and given[1].get("class") == "LAMBDA"


def _column_name(node: JsonObject) -> str:
    """Return the first part of a reference: the column itself, whose fields may follow."""
    return text({"name": items(node, "column_names")[0]}, "name")
