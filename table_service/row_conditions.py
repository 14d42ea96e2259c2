"""What an expression must be to hold for a row for good, and what becomes of it when columns are renamed.

Pure: works on expressions that the sandbox has checked, as the JSON of `json_serialize_sql`. An expression
that is kept (a check) or that makes values which are kept (a retype) must give tomorrow what it gives today.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from table_service import serialized_sql as sql
from table_service.serialized_sql import JsonObject, refused

# They depend on the moment, on chance, or end the statement. `age` does so with one argument alone.
INCONSTANT = frozenset(
    {
        *("now", "today", "ago", "transaction_timestamp", "localtime", "localtimestamp"),
        *("current_date", "current_time", "current_timestamp", "current_localtime"),
        *("current_localtimestamp", "get_current_time", "get_current_timestamp"),
        *("random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "error", "assert_true"),
    }
)


def check_constant(tree: JsonObject) -> None:
    """Refuse an expression that more than the row decides.

    Raises:
        InvalidArgument: SQL_REFUSED.
    """
    for node in sql.nodes(tree):
        kind = node.get("class")
        if kind == "PARAMETER":
            raise refused("parameter", "a parameter has no value here")
        if kind == "FUNCTION":
            name = sql.function_name(node)
            if name in INCONSTANT or (name == "age" and len(sql.arguments(node)) == 1):
                raise refused(
                    name, f"{name} is not allowed here: the row alone decides, whenever it is asked"
                )


def check_condition(tree: JsonObject) -> None:
    """Refuse what cannot be part of a check, beside what `check_constant` refuses.

    Raises:
        InvalidArgument: SQL_REFUSED.
    """
    check_constant(tree)
    for node in sql.nodes(tree):
        if node.get("class") == "LAMBDA":
            raise refused("LAMBDA", "a check has no lambda and no list comprehension")
        if node.get("class") == "OPERATOR" and node.get("type") == "OPERATOR_TRY":
            raise refused("TRY", "a check has no TRY")


def columns_renamed(tree: JsonObject, names: Mapping[str, str]) -> JsonObject:
    """Return the tree of a check with other names of columns; `names` are the new ones by the old.

    Columns that are not among `names` keep theirs. Case means nothing in the old ones.
    """
    folded = {sql.fold(old): new for old, new in names.items()}
    renamed = sql.copy(tree)
    for node in _column_references(renamed):
        parts = sql.items(node, "column_names")
        new = folded.get(sql.fold(_text(parts[0])))
        if new is not None:
            parts[0] = new
    return renamed


def fields_read(tree: JsonObject) -> set[tuple[str, ...]]:
    """Return the references that go into a struct: the column's name, then those of the fields."""
    return {
        tuple(_text(part) for part in parts)
        for node in _column_references(tree)
        if len(parts := sql.items(node, "column_names")) > 1
    }


def fields_replaced(tree: JsonObject, ways: Mapping[tuple[str, ...], JsonObject]) -> JsonObject:
    """Return the tree with another way to write each reference that `fields_read` has found."""
    replaced = sql.copy(tree)
    for node in list(_column_references(replaced)):
        way = ways.get(tuple(_text(part) for part in sql.items(node, "column_names")))
        if way is not None:
            alias = node.get("alias")
            node.clear()
            node.update(sql.copy(way))
            node["alias"] = alias
    return replaced


def _column_references(tree: JsonObject) -> Iterator[JsonObject]:
    return (node for node in sql.nodes(tree) if node.get("class") == "COLUMN_REF")


def _text(part: sql.JsonValue) -> str:
    return sql.text({"part": part}, "part")
