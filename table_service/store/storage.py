"""Physical tables: how the rows of a table stand in DuckDB.

The physical table has the server's two columns, then the table's under their own names; unique keys and
checks are its constraints, so that every write obeys them. Defaults are not in it: the service makes them.
"""

from __future__ import annotations

from table_service.store.conditions import constraint
from table_service.store.transaction import Transaction, physical
from table_service.tables import Table
from table_service.types import ROW_ID, VERSION, quoted, sql_type


def create_storage(transaction: Transaction, table: Table) -> None:
    """Create the physical table of a definition that was checked."""
    parts = [
        f"{ROW_ID} BIGINT NOT NULL",
        f"{VERSION} BIGINT NOT NULL",
        *(
            f"{quoted(column.name)} {sql_type(column.type)}{' NOT NULL' if column.not_null else ''}"
            for column in table.columns
        ),
        *(f"UNIQUE ({', '.join(map(quoted, key.columns))})" for key in table.unique_keys),
        *(
            f"CHECK {constraint(transaction.cursor, check.expression, table.columns).sql}"
            for check in table.checks
        ),
    ]
    transaction.rows(f"CREATE TABLE {physical(table)} ({', '.join(parts)})")


def drop_storage(transaction: Transaction, table: Table) -> None:
    """Drop the physical table, and its rows with it."""
    transaction.rows(f"DROP TABLE {physical(table)}")
