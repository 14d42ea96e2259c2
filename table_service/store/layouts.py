"""Layouts of the file: what an earlier version of the service wrote is rewritten once, when it is opened.

Layout 1 had no ids of columns, no names of keys, no versions and no events; its physical tables are called as
its tables' ids.
"""

from __future__ import annotations

import json
from typing import Any

import duckdb

from table_service.tables import free_name

LAYOUT_VERSION = 2
KNOWN = frozenset({1, LAYOUT_VERSION})


def upgrade(cursor: duckdb.DuckDBPyConnection, layout: int) -> None:
    """Rewrite what is kept in layout 1, within the open transaction; of the present one nothing."""
    if layout == LAYOUT_VERSION:
        return
    tables = cursor.execute(
        "SELECT id, definition, schema_version, state, update_time FROM catalog.tables"
    ).fetchall()
    for id_, written, schema_version, state, update_time in tables:
        definition = json.loads(written)
        deleted = f"{update_time.isoformat()}+00:00" if state == "DELETED" else None
        upgraded = json.dumps(_definition(definition, id_, schema_version, deleted))
        cursor.execute("UPDATE catalog.tables SET definition = $2 WHERE id = $1", [id_, upgraded])
        cursor.execute(
            "INSERT INTO catalog.table_versions"
            " SELECT id, schema_version, definition, [], owner, create_time FROM catalog.tables"
            " WHERE id = $1",
            [id_],
        )
    for id_, written in cursor.execute("SELECT id, columns FROM catalog.datasets").fetchall():
        columns = json.dumps(_columns(json.loads(written), numbered=False))
        cursor.execute("UPDATE catalog.datasets SET columns = $2 WHERE id = $1", [id_, columns])
    cursor.execute("UPDATE catalog.layout SET version = $1", [LAYOUT_VERSION])


def _definition(
    value: dict[str, Any], id_: str, revision: int, deleted: str | None
) -> dict[str, Any]:
    names: set[str] = set()
    keys = []
    for columns in value["unique_keys"]:
        name = free_name("_".join(columns), names)
        names.add(name)
        keys.append({"name": name, "columns": columns})
    return {
        "description": value["description"],
        "columns": _columns(value["columns"], numbered=True),
        "unique_keys": keys,
        "checks": [],
        "labels": {},
        "storage": id_,
        "column_ids": len(value["columns"]),
        "revision": revision,
        "delete_time": deleted,
    }


def _columns(values: list[dict[str, Any]], *, numbered: bool) -> list[dict[str, Any]]:
    return [
        {**value, "id": at if numbered else 0, "default": None, "type": _type(value["type"])}
        for at, value in enumerate(values, start=1)
    ]


def _type(value: dict[str, Any]) -> dict[str, Any]:
    return {
        **value,
        "element": _type(value["element"]) if value["element"] else None,
        "fields": _columns(value["fields"], numbered=False),
        "labels": [],
    }
