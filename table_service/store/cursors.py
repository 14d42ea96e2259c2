"""Cursors that threads share, each having one for itself while it reads."""

from __future__ import annotations

from queue import LifoQueue

import duckdb

from table_service.store.database import Database


class Cursors:
    """So many cursors of a database; one that was made before the file was opened again is made anew."""

    def __init__(self, database: Database, count: int) -> None:
        self._database = database
        self._idle: LifoQueue[duckdb.DuckDBPyConnection] = LifoQueue()
        # How often the file had been opened when each was made, by the ids of cursors that live as long.
        self._made_at: dict[int, int] = {}
        for _ in range(count):
            self._idle.put(self._make())

    def get(self) -> duckdb.DuckDBPyConnection:
        """Wait for a cursor and return it; it must be brought back."""
        cursor = self._idle.get()
        if self._made_at[id(cursor)] == self._database.opened_count:
            return cursor
        try:
            newer = self._make()
        except duckdb.Error:
            self._idle.put(cursor)
            raise
        del self._made_at[id(cursor)]
        cursor.close()
        return newer

    def put(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Bring a cursor back."""
        self._idle.put(cursor)

    def close(self) -> None:
        """Close all cursors; every one must have been brought back."""
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def _make(self) -> duckdb.DuckDBPyConnection:
        opened_count = self._database.opened_count
        cursor = self._database.cursor()
        self._made_at[id(cursor)] = opened_count
        return cursor
