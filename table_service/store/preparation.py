"""Preparing people's SQL: checked, rewritten over what its caller may see, and remembered.

Preparing costs milliseconds. It is remembered by the text and by what its names stand for: whoever may see
other tables, or the same ones with other columns, has another entry.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import duckdb

from table_service import sandbox
from table_service import serialized_sql as tree_sql
from table_service.sandbox import Relation
from table_service.serialized_sql import JsonObject, TableName
from table_service.store.statements import Learnt, Names, Statement, as_json, as_sql, serialised
from table_service.types import ROW_ID, VERSION

REMEMBERED_MAX = 512
# Longer statements are prepared each time, so that what is remembered has a bound in bytes.
REMEMBERED_CHARACTERS_MAX = 8_192

Resolve = Callable[[Names], Mapping[TableName, Relation]]
Key = TypeVar("Key", bound=Hashable)
Kept = TypeVar("Kept")


class PreparedStatements:
    """Prepares statements and remembers them. Threads may share it."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, Names] = OrderedDict()
        self._safe: OrderedDict[tuple[str, frozenset[tuple[TableName, Relation]]], Statement] = (
            OrderedDict()
        )
        self._lock = threading.Lock()

    def prepare(self, cursor: duckdb.DuckDBPyConnection, sql: str, resolve: Resolve) -> Statement:
        """Return the statement over the relations that `resolve` finds for its names.

        Names are resolved, and so rights are checked, every time.

        Raises:
            InvalidArgument: SQL_INVALID or SQL_REFUSED.
            Fault: Whatever `resolve` raises.
        """
        names, tree = self._recall(self._names, sql), None
        if names is None:
            tree = _checked_tree(cursor, sql)
            names = _names(tree)
            self._remember(self._names, sql, names, sql)
        relations = resolve(names)
        key = (sql, frozenset(relations.items()))
        safe = self._recall(self._safe, key)
        if safe is None:
            text = _rewritten(cursor, tree or _checked_tree(cursor, sql), relations)
            safe = Statement(sql=text, names=names, learnt=Learnt())
            self._remember(self._safe, key, safe, sql)
        return safe

    def _recall(self, kept: OrderedDict[Key, Kept], key: Key) -> Kept | None:
        with self._lock:
            found = kept.get(key)
            if found is not None:
                kept.move_to_end(key)
            return found

    def _remember(self, kept: OrderedDict[Key, Kept], key: Key, value: Kept, sql: str) -> None:
        if len(sql) > REMEMBERED_CHARACTERS_MAX:
            return
        with self._lock:
            kept[key] = value
            if len(kept) > REMEMBERED_MAX:
                kept.popitem(last=False)


def _checked_tree(cursor: duckdb.DuckDBPyConnection, sql: str) -> JsonObject:
    tree = sandbox.parse(serialised(cursor, sql))
    sandbox.check_statement(tree)
    return tree


def _rewritten(
    cursor: duckdb.DuckDBPyConnection, tree: JsonObject, relations: Mapping[TableName, Relation]
) -> str:
    safe = as_sql(cursor, json.dumps(sandbox.rewrite(tree, relations)))
    sandbox.check_rewritten(sandbox.parse(as_json(cursor, safe)), relations)
    return safe.rstrip().removesuffix(";")


def _names(tree: JsonObject) -> Names:
    columns = (
        tree_sql.items(node, "column_names")
        for node in tree_sql.nodes(tree)
        if node.get("class") == "COLUMN_REF"
    )
    return Names(
        tables=frozenset(sandbox.base_tables(tree)),
        parameters=frozenset(name.lower() for name in sandbox.parameters(tree)),
        system_columns=any(
            isinstance(name, str) and name.lower() in (ROW_ID, VERSION)
            for names in columns
            for name in names
        ),
    )
