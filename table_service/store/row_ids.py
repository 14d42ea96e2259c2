"""Row ids and other numbers: counted in memory, made durable in blocks, never given twice.

Each key has a count of its own: a table's id for its rows, and whatever else its owner calls by a name,
such as "tbl_x/7" for a column's sequence. A block is reserved in the transaction of the first number that
needs it, so a number that was answered lies in a block that is durable. A crash skips the rest of a block; a
clean stop gives it back.
"""

from __future__ import annotations

import duckdb

from chassis.faults import InvalidArgument

BLOCK_ROWS = 4096
LARGEST = (1 << 63) - 1

TABLE = """
CREATE TABLE IF NOT EXISTS catalog.row_ids (table_id VARCHAR NOT NULL, reserved BIGINT NOT NULL)
"""


class RowIds:
    """The next number of each key, from 1. The writer thread's alone."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        rows = cursor.execute("SELECT table_id, reserved FROM catalog.row_ids").fetchall()
        # What is stored, and what the open transaction has stored on top.
        self._reserved: dict[str, int] = {key: int(reserved) for key, reserved in rows}
        self._pending: dict[str, int] = {}
        self._dropped: list[str] = []
        self._latest = dict(self._reserved)
        # What the open transaction found before it took any.
        self._before: dict[str, int] = {}

    def add(self, cursor: duckdb.DuckDBPyConnection, key: str) -> None:
        """Begin to count for a key, so that its first number costs no more than the next."""
        if key not in self._reserved and key not in self._pending:
            self._store(cursor, key, 0)

    def latest(self, key: str) -> int:
        """Return the last number that was given, 0 if none was; any thread may ask."""
        return self._latest.get(key, 0)

    def take(
        self, cursor: duckdb.DuckDBPyConnection, key: str, count: int, largest: int = LARGEST
    ) -> int:
        """Return the first of `count` consecutive numbers that nobody has had; a new key begins at 1.

        Raises:
            InvalidArgument: ROW_INVALID if they went past `largest`; none is taken then.
        """
        latest = self._latest.get(key, 0)
        first, last = latest + 1, latest + count
        if last > largest:
            raise InvalidArgument("ROW_INVALID", f"its numbers would go to {last}", last=last)
        self._before.setdefault(key, latest)
        self._latest[key] = last
        if last > self._pending.get(key, self._reserved.get(key, 0)):
            self._store(cursor, key, last + BLOCK_ROWS)
        return first

    def drop(self, cursor: duckdb.DuckDBPyConnection, table_id: str) -> None:
        """Stop counting for a table and its columns, whose ids nobody will ask for again."""
        self._dropped = [
            key for key in self._reserved if key == table_id or key.startswith(f"{table_id}/")
        ]
        for key in self._dropped:
            cursor.execute("DELETE FROM catalog.row_ids WHERE table_id = $1", [key])

    def committed(self) -> None:
        """The transaction's reservations are durable."""
        self._reserved.update(self._pending)
        self._pending.clear()
        self._before.clear()
        for key in self._dropped:
            self._reserved.pop(key, None)
            self._latest.pop(key, None)
        self._dropped = []

    def rolled_back(self) -> None:
        """The transaction's reservations never happened; nobody has seen its numbers, so they are free."""
        self._pending.clear()
        self._latest.update(self._before)
        self._before.clear()
        self._dropped = []

    def give_back(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Reserve no more than was used; at the end, outside a transaction."""
        for key, reserved in self._reserved.items():
            if self._latest.get(key, 0) < reserved:
                self._store(cursor, key, self._latest.get(key, 0))

    def _store(self, cursor: duckdb.DuckDBPyConnection, key: str, reserved: int) -> None:
        if key in self._reserved or key in self._pending:
            cursor.execute(
                "UPDATE catalog.row_ids SET reserved = $1 WHERE table_id = $2", [reserved, key]
            )
        else:
            cursor.execute("INSERT INTO catalog.row_ids VALUES ($1, $2)", [key, reserved])
        self._pending[key] = reserved
