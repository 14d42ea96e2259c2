"""The writer: one thread through which small writes go, many to a commit.

A commit waits for the disk, so whatever has queued up meanwhile becomes one transaction; plain inserts
into one table become one statement. When a group fails it is halved until the culprit stands alone.
Long work (imports, datasets) goes through `bulk.Bulk` beside it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from itertools import groupby

import duckdb
import pyarrow as pa

from chassis.clock import Clock
from chassis.faults import Fault, ResourceExhausted
from table_service import plain_rows
from table_service.plain_rows import PlainRows
from table_service.store import rows as row_store
from table_service.store.cell_inserts import insert_plain
from table_service.store.errors import breaks, store_unavailable, write_fault
from table_service.store.receipts import (
    Receipt,
    ReceiptKey,
    Receipts,
    prune,
    store_receipts,
)
from table_service.store.row_ids import LARGEST, RowIds
from table_service.store.transaction import Batches, ParsedStatements, Transaction, roll_back
from table_service.store.waiting import deliver, fail
from table_service.store.write_limit import WriteLimit
from table_service.store.write_queue import (
    Change,
    Insert,
    WaitingWrite,
    Write,
    WriteQueue,
)
from table_service.tables import Catalog

RETRY_AFTER = timedelta(seconds=1)


class Writer:
    """Owns the writing cursor, the row ids and the newest catalog.

    `catalog` may be read by any thread; it is replaced after each commit. `broken` is true once the file
    could not be written: from then on every write is refused, until the service is started again.
    """

    def __init__(
        self,
        *,
        cursor: duckdb.DuckDBPyConnection,
        catalog: Catalog,
        receipts: Receipts,
        clock: Clock,
        when_broken: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self.catalog = catalog
        self.broken = False
        self._cursor = cursor
        self._statements = ParsedStatements(cursor)
        self._batches = Batches(cursor)
        self._receipts = receipts
        self._row_ids = RowIds(cursor)
        self._clock = clock
        self._when_broken = when_broken
        self._limit = WriteLimit(cursor, clock)
        self._queue = WriteQueue()
        self._thread = threading.Thread(target=self._serve, name="table-writer", daemon=True)
        self._thread.start()

    async def submit(self, write: Write) -> bytes:
        """Return the answer once the write is durable.

        Raises:
            ResourceExhausted: QUEUE_FULL.
            Unavailable: STORE_UNAVAILABLE.
            Fault: Whatever the write raises.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        self._enqueue(WaitingWrite(write, future, loop))
        return await future

    def run(self, write: Write) -> bytes:
        """Do the same for a thread other than the writer's, which waits."""
        future: Future[bytes] = Future()
        self._enqueue(WaitingWrite(write, future, None))
        return future.result()

    def take_ids(self, key: str, count: int, largest: int = LARGEST) -> int:
        """Reserve numbers for a transaction on another cursor; they are durable before it needs them.

        Raises:
            InvalidArgument: ROW_INVALID if they went past `largest`; none is taken then.
        """

        def apply(transaction: Transaction) -> bytes:
            return str(transaction.take_ids(key, count, largest)).encode()

        return int(self.run(Change(apply=apply)))

    def counted(self, key: str) -> int:
        """Return the last number that a counter has given; in the writer's turn it is certain."""
        return self._row_ids.latest(key)

    def new_row_ids(self, transaction: Transaction, table_id: str) -> None:
        """Begin to count the rows of a table that `transaction`, one of this writer, creates."""
        self._row_ids.add(transaction.cursor, table_id)

    def drop_row_ids(self, transaction: Transaction, table_id: str) -> None:
        """Stop counting for a table that `transaction`, one of this writer, removes for good."""
        self._row_ids.drop(transaction.cursor, table_id)

    async def prune_receipts(self) -> int:
        """Delete a bounded number of receipts that lived their time; return how many."""
        now = self._clock.now()
        change = Change(apply=lambda transaction: str(prune(transaction.cursor, now)).encode())
        return int(await self.submit(change))

    def close(self) -> None:
        """Finish what is queued, then stop. Nothing may be submitted any more."""
        self._queue.close()
        self._thread.join()
        self._limit.close()
        if not self.broken:
            self._row_ids.give_back(self._cursor)
        self._cursor.close()

    def _enqueue(self, waiting: WaitingWrite) -> None:
        if self.broken:
            raise store_unavailable()
        self._queue.put(waiting)

    def _serve(self) -> None:
        # Ends when closed and empty.
        while group := self._queue.next_group():
            group = [waiting for waiting in group if not waiting.future.cancelled()]
            try:
                self._answer_or_write(group)
            except Exception as error:  # noqa: BLE001  # a bug; whoever waits gets it, and others go on
                fail(group, self._outcome(error))
            deliver(group)

    def _answer_or_write(self, group: Sequence[WaitingWrite]) -> None:
        """Give each write its response or its error."""
        keys = [w.asked.receipt for w in group if w.asked.receipt is not None]
        if not keys:
            self._write(group)
            return
        ids = {key.id for key in keys}
        # Claimed before receipts are looked for: what bulk work commits in between is found.
        others = self._receipts.claim(ids)
        try:
            found = self._receipts.find(self._cursor, keys, self._clock.now())
            fresh = list(group)
            if found or others:
                fresh = []
                for waiting in group:
                    key = waiting.asked.receipt
                    if key is not None and key.id in others:
                        waiting.error = worked_on(key)
                    elif key is not None and key.id in found:
                        _answer_again(waiting, key, found[key.id])
                    else:
                        fresh.append(waiting)
            self._write(fresh)
        finally:
            self._receipts.let_go(ids - others)

    def _write(self, group: Sequence[WaitingWrite], *, careful: bool = False) -> None:
        """Commit the group; if it fails, halve it until the culprit stands alone and says what is wrong."""
        if not group:
            return
        if self.broken:
            fail(group, store_unavailable())
            return
        try:
            transaction = self._commit(group, careful=careful)
        except Exception as error:  # noqa: BLE001  # whoever waits for the write gets it, bugs too
            if self._breaks(error):
                fail(group, self._outcome(error))
                return
            if len(group) == 1:
                if isinstance(error, duckdb.Error) and not careful:
                    self._write(group, careful=True)
                else:
                    fail(group, self._outcome(error))
                return
            # Where time was up, halves would take as long again, over and over.
            size = 1 if isinstance(error, ResourceExhausted) else (len(group) + 1) // 2
            for start in range(0, len(group), size):
                self._write(group[start : start + size])
            return
        # Not where an error would have the group written again.
        self._row_ids.committed()
        keys = [waiting.asked.receipt for waiting in group if waiting.asked.receipt is not None]
        self._receipts.remember(keys, transaction.now)
        self.catalog = transaction.catalog
        for callback in transaction.after_commit:
            callback()

    def _commit(self, group: Sequence[WaitingWrite], *, careful: bool) -> Transaction:
        self._statements.run("BEGIN TRANSACTION")
        transaction = Transaction(
            cursor=self._cursor,
            statements=self._statements,
            batches=self._batches,
            catalog=self.catalog,
            take_ids=partial(self._row_ids.take, self._cursor),
            now=self._clock.now(),
            careful=careful,
        )
        committed = False
        try:
            alone = any(waiting.asked.alone for waiting in group)
            with nullcontext() if alone else self._limit.over():
                _apply_all(transaction, group)
            self._statements.run("COMMIT")
            committed = True
        finally:
            if not committed:
                self._row_ids.rolled_back()
                roll_back(self._cursor)
            self._batches.end(committed=committed)
        return transaction

    def give_up(self, error: Exception) -> None:
        """Refuse every write from now on: the file could not be written, here or beside."""
        if not self.broken:
            self.broken = True
            self._when_broken(error)

    def _breaks(self, error: Exception) -> bool:
        if breaks(error):
            self.give_up(error)
            return True
        return False

    def _outcome(self, error: Exception) -> Exception:
        """Return what the caller is told: the fault that a DuckDB error is, or the error itself."""
        self._breaks(error)
        if isinstance(error, duckdb.Error) and (fault := write_fault(error)) is not None:
            fault.__cause__ = error
            return fault
        return error


def worked_on(key: ReceiptKey) -> ResourceExhausted:
    """Return the fault of a request that somebody works on already under the same id."""
    return ResourceExhausted(
        "QUEUE_FULL",
        "this request is being worked on already",
        retry_after=RETRY_AFTER,
        request_id=key.request_id,
    )


def _answer_again(waiting: WaitingWrite, key: ReceiptKey, receipt: Receipt) -> None:
    try:
        waiting.answer = receipt.answer(key)
    except Fault as fault:
        waiting.error = fault


def _apply_all(transaction: Transaction, group: Sequence[WaitingWrite]) -> None:
    """Do what each of the group asks, in order, and keep the receipts."""
    for inserts, members in groupby(group, lambda one: isinstance(one.asked, Insert)):
        if inserts:
            _insert_all(transaction, members)
            continue
        for waiting in members:
            assert isinstance(waiting.asked, Change)
            waiting.answer = waiting.asked.apply(transaction)
    receipts = [(w.asked.receipt, w.answer or b"") for w in group if w.asked.receipt is not None]
    store_receipts(transaction, receipts)


def _insert_all(transaction: Transaction, group: Iterable[WaitingWrite]) -> None:
    """Insert with a statement for each table, as far as the rows name the same columns."""
    alike: dict[tuple[object, ...], list[tuple[WaitingWrite, Insert]]] = {}
    for waiting in group:
        insert = waiting.asked
        assert isinstance(insert, Insert)
        rows = insert.rows
        names = rows.columns if isinstance(rows, PlainRows) else tuple(rows.schema.names)
        key = insert.table.id, insert.table.schema_version, names
        alike.setdefault(key, []).append((waiting, insert))
    for members in alike.values():
        _insert(transaction, members)


def _insert(transaction: Transaction, members: Sequence[tuple[WaitingWrite, Insert]]) -> None:
    table, path = members[0][1].table, members[0][1].path
    plain = [insert.rows for _, insert in members if isinstance(insert.rows, PlainRows)]
    if plain:
        counts = [rows.count for rows in plain]
        first = insert_plain(transaction, table, plain_rows.merged(plain), path)
    else:
        tables = [insert.rows for _, insert in members if isinstance(insert.rows, pa.Table)]
        counts = [rows.num_rows for rows in tables]
        rows = tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks()
        first = row_store.insert(transaction, table, rows, path)
    for (waiting, insert), count in zip(members, counts, strict=True):
        waiting.answer = insert.answer(range(first, first + count))
        first += count
