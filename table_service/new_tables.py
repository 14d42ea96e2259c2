"""Schemas of tables that requests describe and that are not there yet."""

from __future__ import annotations

from collections.abc import Sequence

from flux.table.v1 import table_pb2
from table_service.schemas import Schema, new_schema, with_checks
from table_service.store import Store
from table_service.store.conditions import check_condition
from table_service.store.readers import Cursor
from table_service.store.statements import reading
from table_service.tables import numbered
from table_service.types import Column
from table_service.wire import placed_checks, placed_keys


async def described_schema(
    store: Store, message: table_pb2.Table, columns: Sequence[Column], path: str = "table"
) -> Schema:
    """Return the schema that a message describes, with these columns; `path` is where it stands.

    Raises:
        InvalidArgument: SCHEMA_INVALID, SQL_INVALID or SQL_REFUSED.
    """
    columns = numbered(columns)
    schema = new_schema(columns, placed_keys(message, path), path)
    checks = placed_checks(message, path)
    if not checks:
        return schema

    def used(cursor: Cursor) -> list[frozenset[str]]:
        with reading(cursor):
            return [
                check_condition(
                    cursor, placed.check.expression, columns, placed.expression_path
                ).columns
                for placed in checks
            ]

    return with_checks(schema, checks, await store.readers.read(used))
