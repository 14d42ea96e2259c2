"""Looking into the file of a table_service that has ended: whether all in it fits together."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from table_service.tables import NAMESPACES


def problems(data_folder: Path) -> list[str]:
    """Return what does not fit in a data folder whose service ended in order; nothing if it is whole."""
    connection = duckdb.connect()
    try:
        file = str(data_folder / "flux.duckdb").replace("'", "''")
        connection.execute(f"ATTACH '{file}' AS flux (READ_ONLY)")
        connection.execute("USE flux")
        return [
            *_table_problems(connection),
            *_dataset_problems(connection),
            *_receipt_problems(connection),
            *_left_files(data_folder),
        ]
    finally:
        connection.close()


def _table_problems(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = []
    rows = connection.execute(
        "SELECT id, namespace, definition FROM catalog.tables ORDER BY id"
    ).fetchall()
    if len({id_ for id_, _, _ in rows}) != len(rows):
        found.append("a table has two entries")
    known = {(namespace, str(json.loads(text)["storage"])) for _, namespace, text in rows}
    physical = {(schema, name) for schema, name in _physical(connection) if schema in NAMESPACES}
    found += [f"an entry without rows: {one}" for one in sorted(known - physical)]
    found += [f"rows without an entry: {one}" for one in sorted(physical - known)]
    reserved = dict(
        connection.execute(
            "SELECT table_id, max(reserved) FROM catalog.row_ids GROUP BY 1"
        ).fetchall()
    )
    for id_, namespace, text in rows:
        storage = json.loads(text)["storage"]
        if (namespace, storage) not in physical:
            continue
        counted = connection.execute(
            f'SELECT count(*), count(DISTINCT _row_id), max(_row_id) FROM {namespace}."{storage}"'
        ).fetchall()
        [(count, distinct, highest)] = counted
        if count != distinct:
            found.append(f"{storage}: {count} rows have {distinct} row ids")
        if highest is not None and highest > reserved.get(id_, 0):
            found.append(f"{storage}: row id {highest} is not reserved, only {reserved.get(id_)}")
    return found


def _dataset_problems(connection: duckdb.DuckDBPyConnection) -> list[str]:
    entries = dict(connection.execute("SELECT id, row_count FROM catalog.datasets").fetchall())
    stored = {}
    for schema, name in _physical(connection):
        if schema == "datasets":
            [(count,)] = connection.execute(f'SELECT count(*) FROM datasets."{name}"').fetchall()
            stored[name] = count
    return [] if entries == stored else [f"datasets: entries {entries}, rows {stored}"]


def _receipt_problems(connection: duckdb.DuckDBPyConnection) -> list[str]:
    twice = connection.execute(
        "SELECT subject, request_id FROM catalog.receipts GROUP BY ALL HAVING count(*) > 1"
    ).fetchall()
    return [f"two receipts: {one}" for one in twice]


def _physical(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    rows = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'flux'"
    ).fetchall()
    return [(str(schema), str(name)) for schema, name in rows]


def _left_files(data_folder: Path) -> list[str]:
    return [
        f"left behind: {path}"
        for name in ("spool", "spill")
        for path in (data_folder / name).iterdir()
    ]
