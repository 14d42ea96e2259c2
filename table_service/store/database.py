"""The open DuckDB file: its one owner, locked down, handing out cursors.

Opened by `duckdb.connect()` and ATTACH, because a file opened directly replays its log before the
functions that the log may need are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

CATALOG = "flux"


class DatabaseUnusable(Exception):  # a state of the file, said to whoever starts the service
    """The file cannot be opened: another process has it, or it is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What DuckDB may use. `memory` and `spill` are sizes in DuckDB's words, such as "1GB"."""

    memory: str
    spill: str
    threads: int


class Database:
    """One open file. Every cursor is a connection of its own, for one thread at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a new cursor that stands in the file; close it when done. Any thread may call."""
        cursor = self._connection.cursor()
        cursor.execute(f"USE {CATALOG}")
        return cursor

    def checkpoint(self) -> bool:
        """Move the log into the file; False if a write on another cursor is in the way.

        A later checkpoint, DuckDB's own included, does it then: this is never needed for safety.
        """
        cursor = self.cursor()
        try:
            cursor.execute(f"CHECKPOINT {CATALOG}")
        except duckdb.TransactionException:
            return False
        finally:
            cursor.close()
        return True

    def close(self) -> None:
        """Write the log into the file and let go of it. Cursors must be closed or idle."""
        self._connection.execute("USE memory")
        try:
            self._connection.execute(f"DETACH {CATALOG}")
        finally:
            self._connection.close()


def open_database(data_folder: Path, limits: Limits) -> Database:
    """Open data_folder/flux.duckdb, made if it is not there.

    SQL can reach no file but those under `spool_folder(data_folder)`, and no setting can be changed
    afterwards.

    Raises:
        DatabaseUnusable: If another process has the file open, or it is damaged.
    """
    file, spool, spill = (
        data_folder / "flux.duckdb",
        spool_folder(data_folder),
        data_folder / "spill",
    )
    for folder in (data_folder, spool, spill):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    connection = duckdb.connect()
    try:
        connection.execute(f"ATTACH {_text(file)} AS {CATALOG}")
    except duckdb.Error as error:
        connection.close()
        raise DatabaseUnusable(_why(file, error)) from error
    for statement in (
        f"USE {CATALOG}",
        "SET TimeZone = 'UTC'",
        f"SET temp_directory = {_text(spill)}",
        f"SET max_temp_directory_size = '{limits.spill}'",
        f"SET memory_limit = '{limits.memory}'",
        f"SET threads = {limits.threads}",
        # A checkpoint stops the writer for a moment: rarely and longer beats often.
        "SET checkpoint_threshold = '64MB'",
        # A name that no table has is an error, not a variable of our own code.
        "SET python_enable_replacements = false",
        # In this order: each closes what the one before still needs.
        f"SET allowed_directories = [{_text(spool)}]",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        connection.execute(statement)
    return Database(connection)


def spool_folder(data_folder: Path) -> Path:
    """Return the only folder whose files SQL can read and write."""
    return data_folder / "spool"


def _text(path: Path) -> str:
    return "'" + str(path.resolve()).replace("'", "''") + "'"


def _why(file: Path, error: duckdb.Error) -> str:
    sentence = str(error)
    if "lock" in sentence.lower():
        return f"another process has {file} open; only one table_service may own it"
    return f"{file} cannot be opened: {sentence}"
