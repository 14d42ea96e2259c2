"""The store: everything the service keeps, in one DuckDB file. The only package that imports duckdb."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from chassis.clock import Clock
from table_service.store.aftermath import Aftermath
from table_service.store.bulk import Bulk
from table_service.store.catalog import Dataset, load_catalog, load_datasets, prepare
from table_service.store.database import Database, Limits, open_database, spool_folder
from table_service.store.errors import BREAKING
from table_service.store.gates import Gates
from table_service.store.leftovers import drop_leftovers
from table_service.store.point_reads import PointReads
from table_service.store.readers import Readers
from table_service.store.receipts import ReceiptKey, Receipts
from table_service.store.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The open store. `datasets` is by id and changes only after commits; `spool` is a folder for files."""

    writer: Writer
    readers: Readers
    points: PointReads[object]
    bulk: Bulk
    gates: Gates
    spool: Path
    datasets: dict[str, Dataset]
    aftermath: Aftermath = field(repr=False)
    database: Database = field(repr=False)
    receipts: Receipts = field(repr=False)
    clock: Clock = field(repr=False)

    async def first_answer(self, key: ReceiptKey | None) -> bytes | None:
        """Return what was answered to this request before; None if it is the first, or has no id.

        For before a request is looked at: what it names may have gone since, and a retry still gets its
        answer. The write looks again, in its turn.

        Raises:
            AlreadyExists: REQUEST_ID_REUSED.
        """
        if key is None or not self.receipts.may_have(key):
            return None
        now = self.clock.now()
        found = await self.readers.read(lambda cursor: self.receipts.find(cursor, [key], now))
        for receipt in found.values():
            return receipt.answer(key)
        return None

    async def checkpoint(self) -> None:
        """Move the log into the file, off the event loop; after definitions of tables change.

        What was committed stays so if this fails; the store takes no more writes then.
        """
        try:
            await asyncio.to_thread(self.database.checkpoint)
        except BREAKING as error:
            self.writer.give_up(error)

    def close(self) -> None:
        """Finish what is under way and close the file."""
        self.bulk.close()
        self.writer.close()
        self.aftermath.close()
        self.readers.close()
        self.points.close()
        try:
            self.database.close()
        except BREAKING:
            # Said already by whoever met it first; the log is replayed at the next start.
            if not self.writer.broken:
                raise


def open_store(
    data_folder: Path,
    *,
    limits: Limits,
    clock: Clock,
    reader_threads: int = 4,
    bulk_threads: int = 2,
    when_broken: Callable[[], None] = lambda: None,
) -> Store:
    """Open the store in `data_folder`, made if it is not there. `when_broken` is called in any thread.

    Raises:
        DatabaseUnusable: If another process has the file open, or it is damaged.
        LayoutUnknown: If a newer version of the service wrote it.
    """
    database = open_database(data_folder, limits)
    cursor = database.cursor()
    prepare(cursor)
    receipts = Receipts(cursor, clock.now())
    datasets, catalog = load_datasets(cursor), load_catalog(cursor)
    drop_leftovers(cursor, catalog, datasets.keys())

    def reload(cursor: duckdb.DuckDBPyConnection) -> None:
        writer.catalog = load_catalog(cursor)
        kept = load_datasets(cursor)
        for id_ in datasets.keys() - kept.keys():
            del datasets[id_]
        datasets.update(kept)

    aftermath = Aftermath(database, tell=when_broken, reload=reload)
    writer = Writer(
        cursor=cursor,
        catalog=catalog,
        receipts=receipts,
        clock=clock,
        when_broken=aftermath.begin,
    )
    gates = Gates()
    return Store(
        writer=writer,
        readers=Readers(database, threads=reader_threads),
        points=PointReads(database),
        bulk=Bulk(
            database=database,
            writer=writer,
            receipts=receipts,
            gates=gates,
            clock=clock,
            threads=bulk_threads,
        ),
        gates=gates,
        spool=spool_folder(data_folder),
        datasets=datasets,
        aftermath=aftermath,
        database=database,
        receipts=receipts,
        clock=clock,
    )
