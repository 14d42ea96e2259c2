"""The open DuckDB file: its one owner, locked down, handing out cursors.

Opened by `duckdb.connect()` and ATTACH, because a file opened directly replays its log before the
functions that the log may need are loaded.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb

from table_service.store.priorities import give_way

CATALOG = "flux"
_FILE = "flux.duckdb"
_SPOOL, _SPILL, _SECOND_NAMES = "spool", "spill", "reading"


class DatabaseUnusable(Exception):  # a state of the file, said to whoever starts the service
    """The file cannot be opened: another process has it, or it is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What DuckDB may use. `memory` and `spill` are sizes in DuckDB's words, such as "1GB"."""

    memory: str
    spill: str
    threads: int


class Database:
    """One open file. Every cursor is a connection of its own, for one thread at a time.

    `opened_count` is how often it was opened: 1 until `open_again`.
    """

    def __init__(self, data_folder: Path, limits: Limits) -> None:
        self.opened_count = 1
        self._data_folder = data_folder
        self._limits = limits
        self._connection = _connected(data_folder / _FILE, data_folder, limits, "")
        self._given_up: list[duckdb.DuckDBPyConnection] = []

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

    def answers(self) -> bool:
        """Return whether it can be read: after some errors of the disk DuckDB answers nothing any more."""
        try:
            cursor = self.cursor()
            cursor.execute("SELECT count(*) FROM catalog.layout").fetchall()
        except duckdb.Error:
            return False
        cursor.close()
        return True

    def open_again(self) -> duckdb.DuckDBPyConnection:
        """Open the file a second time, to read only, for all cursors from now on; return the first.

        DuckDB opens no file twice under one name, and the first opening cannot be ended while threads use it.
        So the file gets a second name.

        Raises:
            DatabaseUnusable: If it cannot be opened.
            OSError: If the disk refuses the second name.
        """
        folder = self._data_folder / _SECOND_NAMES
        _clear(folder)
        for path in self._data_folder.glob(f"{_FILE}*"):
            (folder / path.name).hardlink_to(path)
        second = _connected(folder / _FILE, self._data_folder, self._limits, "(READ_ONLY)")
        self._given_up.append(self._connection)
        self._connection = second
        self.opened_count += 1
        return self.cursor()

    def close(self) -> None:
        """Write the log into the file and let go of it. Cursors must be closed or idle."""
        try:
            self._connection.execute("USE memory")
            self._connection.execute(f"DETACH {CATALOG}")
        finally:
            for connection in (self._connection, *self._given_up):
                connection.close()


def open_database(data_folder: Path, limits: Limits) -> Database:
    """Open data_folder/flux.duckdb, made if it is not there.

    SQL can reach no file but those under `spool_folder(data_folder)`, and no setting can be changed
    afterwards.

    Raises:
        DatabaseUnusable: If another process has the file open, or it is damaged.
    """
    # The last is made now, because a full disk could refuse it later.
    for name in ("", _SPOOL, _SPILL, _SECOND_NAMES):
        (data_folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    _clear(data_folder / _SECOND_NAMES)
    # Small results are copied on purpose: it is the shorter way to them.
    warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)
    return Database(data_folder, limits)


def spool_folder(data_folder: Path) -> Path:
    """Return the only folder whose files SQL can read and write."""
    return data_folder / _SPOOL


def _connected(
    file: Path, data_folder: Path, limits: Limits, options: str
) -> duckdb.DuckDBPyConnection:
    # DuckDB's own threads, which it makes now and which share the work of long statements, give way too.
    with ThreadPoolExecutor(1, initializer=give_way) as maker:
        return maker.submit(_connect, file, data_folder, limits, options).result()


def _connect(
    file: Path, data_folder: Path, limits: Limits, options: str
) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    try:
        connection.execute(f"ATTACH {_text(file)} AS {CATALOG} {options}")
    except duckdb.Error as error:
        connection.close()
        raise DatabaseUnusable(_why(file, error)) from error
    for statement in (
        f"USE {CATALOG}",
        *_without_async_writes(connection),
        "SET TimeZone = 'UTC'",
        f"SET temp_directory = {_text(data_folder / _SPILL)}",
        f"SET max_temp_directory_size = '{limits.spill}'",
        f"SET memory_limit = '{limits.memory}'",
        f"SET threads = {limits.threads}",
        # A checkpoint stops the writer for a moment: rarely and longer beats often.
        "SET checkpoint_threshold = '64MB'",
        # A name that no table has is an error, not a variable of our own code.
        "SET python_enable_replacements = false",
        # In this order: each closes what the one before still needs.
        f"SET allowed_directories = [{_text(spool_folder(data_folder))}]",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        connection.execute(statement)
    return connection


def _without_async_writes(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return what keeps DuckDB 2.0 from writing files behind its own back; 1.5 does not know how.

    A COPY of numbers to CSV that is interrupted can wait for such a write for ever.
    """
    known = connection.execute(
        "SELECT name FROM duckdb_settings() WHERE name = 'async_threads'"
    ).fetchall()
    return [f"SET {name} = 0" for (name,) in known]


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _text(path: Path) -> str:
    return "'" + str(path.resolve()).replace("'", "''") + "'"


def _why(file: Path, error: duckdb.Error) -> str:
    sentence = str(error)
    if "lock" in sentence.lower():
        return f"another process has {file} open; only one table_service may own it"
    return f"{file} cannot be opened: {sentence}"
