"""What a process that died has left in the file: tables that were made and never entered in the catalog."""

from __future__ import annotations

from collections.abc import Collection

import duckdb

from table_service.store.database import CATALOG
from table_service.tables import NAMESPACES, Catalog
from table_service.types import quoted

_DATASETS = "datasets"


def drop_leftovers(
    cursor: duckdb.DuckDBPyConnection, catalog: Catalog, dataset_ids: Collection[str]
) -> int:
    """Drop tables that an earlier process made and never entered; return how many. Nothing may be in use."""
    known = {(table.namespace, table.storage) for table in catalog.by_id.values()}
    known |= {(_DATASETS, id_) for id_ in dataset_ids}
    found = cursor.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = $1"
        " AND schema_name IN (SELECT unnest($2::VARCHAR[]))",
        [CATALOG, [*NAMESPACES, _DATASETS]],
    ).fetchall()
    stale = [(schema, name) for schema, name in found if (schema, name) not in known]
    for schema, name in stale:
        cursor.execute(f"DROP TABLE {CATALOG}.{schema}.{quoted(name)}")
    return len(stale)
