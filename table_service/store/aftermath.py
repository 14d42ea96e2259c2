"""What comes after a write that the disk refused: it is said why, and what is in the file can still be read.

After some errors DuckDB answers nothing any more. The file is then opened a second time, to read only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import duckdb
import structlog

from table_service.store.database import Database, DatabaseUnusable

log = structlog.get_logger()


class Aftermath:
    """Begins once, in whichever thread, and does its work in one of its own.

    `tell` is called at once; `reload` with a cursor once the file was opened again, because what stands in
    it may be more than what was known: a commit that was refused can have reached the disk.
    """

    def __init__(
        self,
        database: Database,
        *,
        tell: Callable[[], None],
        reload: Callable[[duckdb.DuckDBPyConnection], None],
    ) -> None:
        self._database = database
        self._tell = tell
        self._reload = reload
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self, error: Exception) -> None:
        """Say what happened and see to the readers; nothing happens the second time."""
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._see_to_readers, name="table-aftermath")
        log.error("store.broken", error=str(error).split("\n", 1)[0])
        self._tell()
        self._thread.start()

    def close(self) -> None:
        """Wait until the readers have been seen to."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _see_to_readers(self) -> None:
        if self._database.answers():
            return
        try:
            cursor = self._database.open_again()
        except (DatabaseUnusable, OSError) as error:
            log.error("store.unreadable", error=str(error))  # noqa: TRY400  # its cause is in its sentence
            return
        self._reload(cursor)
        cursor.close()
        log.warning("store.read_only")
