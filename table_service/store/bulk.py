"""Bulk writes: transactions too long for the writer, on a few cursors beside it.

What may run here, and what DuckDB does with it:
- Appending to tables and making datasets. Appends of several transactions to one table all commit. Two that
  insert the same unique key do not: the later commit fails (DUPLICATE_KEY).
- Updating or deleting rows that the writer may touch must not: the loser of a conflict fails
  (ABORTED), and the writer's whole group would be run again. So upserts from a dataset go through
  the writer, however many rows they have.
- No statement here may alter or drop a table that has an entry in the catalog.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from queue import LifoQueue

import duckdb

from chassis.clock import Clock
from chassis.faults import Fault, ResourceExhausted
from table_service.store.database import Database
from table_service.store.errors import breaks, store_unavailable, write_fault
from table_service.store.gates import Gates
from table_service.store.priorities import give_way
from table_service.store.receipts import ReceiptKey, Receipts, store_receipts
from table_service.store.transaction import Batches, ParsedStatements, Transaction, roll_back
from table_service.store.writer import Writer, worked_on

WAITING_BULKS_MAX = 100
RETRY_AFTER = timedelta(seconds=2)


class Bulk:
    """Runs long transactions in threads."""

    def __init__(
        self,
        *,
        database: Database,
        writer: Writer,
        receipts: Receipts,
        gates: Gates,
        clock: Clock,
        threads: int,
    ) -> None:
        self._threads = ThreadPoolExecutor(
            threads, thread_name_prefix="table-bulk", initializer=give_way
        )
        self._cursors: LifoQueue[duckdb.DuckDBPyConnection] = LifoQueue()
        for _ in range(threads):
            self._cursors.put(database.cursor())
        self._writer = writer
        self._receipts = receipts
        self._gates = gates
        self._clock = clock
        self._waiting = 0

    @property
    def under_way(self) -> int:
        """Return how many changes have been begun and not ended, those among them whose callers have gone."""
        return self._waiting

    async def run(
        self,
        apply: Callable[[Transaction], bytes],
        receipt: ReceiptKey | None = None,
        *,
        table_id: str = "",
    ) -> bytes:
        """Apply a long change in its own transaction and return its answer once it is durable.

        A caller that is cancelled leaves the transaction to finish; see `start`.
        """
        return await asyncio.shield(await self.start(apply, receipt, table_id=table_id))

    async def start(
        self,
        apply: Callable[[Transaction], bytes],
        receipt: ReceiptKey | None = None,
        *,
        table_id: str = "",
    ) -> asyncio.Future[bytes]:
        """Begin a long change in its own transaction; its answer comes once it is durable.

        `table_id` is the table that it adds to, if any: no migration of it runs at the same time.

        `apply` runs once, in a thread; `transaction.take_ids` works there (it asks the writer). A
        receipt is looked up before and written with the change. It cannot be cancelled: `apply` must bound
        itself.

        Raises:
            ResourceExhausted: QUEUE_FULL, also while the same request_id is still being worked on.
            Aborted: TABLE_BUSY if a migration of the table takes too long.
            Fault: From the answer, whatever `apply` raises; DuckDB's errors as `errors.write_fault` has them.
        """
        leave = await self._gates.enter(table_id) if table_id else None
        try:
            working = self._start(apply, receipt)
        except ResourceExhausted:
            if leave is not None:
                leave()
            raise
        if leave is not None:
            # The thread may go on after the caller has gone, and the table is its until then.
            working.add_done_callback(lambda _: leave())
        return working

    def _start(
        self, apply: Callable[[Transaction], bytes], receipt: ReceiptKey | None
    ) -> asyncio.Future[bytes]:
        if self._waiting >= WAITING_BULKS_MAX:
            raise ResourceExhausted(
                "QUEUE_FULL",
                f"{WAITING_BULKS_MAX} requests wait already",
                retry_after=RETRY_AFTER,
            )
        if receipt is not None and self._receipts.claim([receipt.id]):
            raise worked_on(receipt)
        self._waiting += 1
        loop = asyncio.get_running_loop()
        working = loop.run_in_executor(self._threads, self._work, apply, receipt)
        # Counted until the thread is done, which may be after the caller has gone.
        working.add_done_callback(lambda _: self._finished(receipt))
        return working

    def close(self) -> None:
        """Wait for what is under way, then stop. The writer must still run."""
        self._threads.shutdown()
        while not self._cursors.empty():
            self._cursors.get_nowait().close()

    def _finished(self, receipt: ReceiptKey | None) -> None:
        self._waiting -= 1
        if receipt is not None:
            self._receipts.let_go([receipt.id])

    def _work(self, apply: Callable[[Transaction], bytes], receipt: ReceiptKey | None) -> bytes:
        cursor = self._cursors.get()
        try:
            return self._transact(cursor, apply, receipt)
        except Fault as fault:
            # What a caller is told of a CREATE TABLE … AS hides what happened to the file.
            if isinstance(fault.__cause__, duckdb.Error) and breaks(fault.__cause__):
                self._writer.give_up(fault.__cause__)
            raise
        except duckdb.Error as error:
            if breaks(error):
                self._writer.give_up(error)
            told = write_fault(error)
            if told is None:
                raise
            raise told from error
        finally:
            self._cursors.put(cursor)

    def _transact(
        self,
        cursor: duckdb.DuckDBPyConnection,
        apply: Callable[[Transaction], bytes],
        receipt: ReceiptKey | None,
    ) -> bytes:
        if self._writer.broken:
            raise store_unavailable()
        if receipt is not None:
            found = self._receipts.find(cursor, [receipt], self._clock.now())
            for first in found.values():
                return first.answer(receipt)
        batches = Batches(cursor)
        cursor.execute("BEGIN TRANSACTION")
        committed = False
        try:
            transaction = Transaction(
                cursor=cursor,
                statements=ParsedStatements(cursor),
                batches=batches,
                catalog=self._writer.catalog,
                take_ids=self._writer.take_ids,
                now=self._clock.now(),
            )
            response = apply(transaction)
            if receipt is not None:
                store_receipts(transaction, [(receipt, response)])
            cursor.execute("COMMIT")
            committed = True
        finally:
            if not committed:
                roll_back(cursor)
            batches.end(committed=committed)
            batches.drop()
        if receipt is not None:
            self._receipts.remember([receipt], transaction.now)
        for callback in transaction.after_commit:
            callback()
        return response
