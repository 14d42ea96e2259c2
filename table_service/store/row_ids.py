"""Row ids: counted in memory, made durable in blocks, never given twice.

A block is reserved in the transaction of the first row that needs it, so an id that was answered lies in
a block that is durable. A crash skips the rest of a block; a clean stop gives it back.
"""

from __future__ import annotations

import duckdb

BLOCK_ROWS = 4096

TABLE = """
CREATE TABLE IF NOT EXISTS catalog.row_ids (table_id VARCHAR NOT NULL, reserved BIGINT NOT NULL)
"""


class RowIds:
    """The next id of each table. The writer thread's alone."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        rows = cursor.execute("SELECT table_id, reserved FROM catalog.row_ids").fetchall()
        self._reserved: dict[str, int] = {table: int(reserved) for table, reserved in rows}
        self._latest = dict(self._reserved)
        self._pending: dict[str, int] = {}

    def add_table(self, cursor: duckdb.DuckDBPyConnection, table_id: str) -> None:
        """Begin to count for a new table."""
        cursor.execute("INSERT INTO catalog.row_ids VALUES ($1, 0)", [table_id])
        self._latest[table_id] = 0

    def take(self, cursor: duckdb.DuckDBPyConnection, table_id: str, count: int) -> int:
        """Return the first of `count` consecutive ids that nobody has had."""
        first = self._latest[table_id] + 1
        last = first + count - 1
        self._latest[table_id] = last
        reserved = self._pending.get(table_id, self._reserved.get(table_id, 0))
        if last > reserved:
            self._store(cursor, table_id, last + BLOCK_ROWS)
            self._pending[table_id] = last + BLOCK_ROWS
        return first

    def committed(self) -> None:
        """The transaction's reservations are durable."""
        self._reserved.update(self._pending)
        self._pending.clear()

    def rolled_back(self) -> None:
        """The transaction's reservations never happened; its ids stay unused."""
        self._pending.clear()

    def give_back(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Reserve no more than was used; at the end, outside a transaction."""
        for table_id, reserved in self._reserved.items():
            if self._latest[table_id] < reserved:
                self._store(cursor, table_id, self._latest[table_id])

    def _store(self, cursor: duckdb.DuckDBPyConnection, table_id: str, reserved: int) -> None:
        cursor.execute(
            "UPDATE catalog.row_ids SET reserved = $1 WHERE table_id = $2", [reserved, table_id]
        )
