"""The writer: one thread through which small writes go, many to a commit.

A commit waits for the disk, so whatever has queued up meanwhile becomes one transaction; plain inserts
into one table become one statement. When a group fails it is halved until the culprit stands alone.
Long work (imports, datasets) goes through `bulk.Bulk` beside it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

import duckdb
import pyarrow as pa

from chassis.clock import Clock
from chassis.faults import Fault, ResourceExhausted
from table_service.store import rows as row_store
from table_service.store.errors import breaks, store_unavailable, write_fault
from table_service.store.receipts import ReceiptKey, Receipts, prune, store_receipts
from table_service.store.row_ids import RowIds
from table_service.store.transaction import Batches, Statements, Transaction, roll_back
from table_service.tables import Catalog, Table

QUEUE_WRITES_MAX = 10_000
GROUP_WRITES_MAX = 512
RETRY_AFTER = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A write of any kind: `apply` changes the store and returns the answer's bytes.

    `apply` may run more than once, each time in a new transaction of which only the last is committed. A
    write that is `alone` shares its commit with no other: what defines tables does.
    """

    apply: Callable[[Transaction], bytes]
    receipt: ReceiptKey | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert:
    """New rows for one table, which may travel in one statement with other inserts.

    `rows` has carriers under the names of some of the table's columns; `answer` makes the answer of the
    row ids given.
    """

    table: Table
    rows: pa.Table
    answer: Callable[[range], bytes]
    receipt: ReceiptKey | None = None
    alone: bool = False


Write = Change | Insert


class _Waiting:
    """A write and where its outcome goes."""

    __slots__ = ("error", "future", "loop", "response", "write")

    def __init__(
        self,
        write: Write,
        future: asyncio.Future[bytes] | Future[bytes],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.write = write
        self.future = future
        self.loop = loop
        self.response = b""
        self.error: Exception | None = None


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
        when_broken: Callable[[], None] = lambda: None,
    ) -> None:
        self.catalog = catalog
        self.broken = False
        self._cursor = cursor
        self._statements = Statements(cursor)
        self._batches = Batches(cursor)
        self._receipts = receipts
        self._row_ids = RowIds(cursor)
        self._clock = clock
        self._when_broken = when_broken
        self._queue: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._closing = False
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
        self._enqueue(_Waiting(write, future, loop))
        return await future

    def run(self, write: Write) -> bytes:
        """Do the same for a thread other than the writer's, which waits."""
        future: Future[bytes] = Future()
        self._enqueue(_Waiting(write, future, None))
        return future.result()

    def take_row_ids(self, table_id: str, count: int) -> int:
        """Reserve ids for a transaction on another cursor; they are durable before it needs them."""

        def apply(transaction: Transaction) -> bytes:
            return str(self._row_ids.take(transaction.cursor, table_id, count)).encode()

        return int(self.run(Change(apply=apply)))

    def new_row_ids(self, transaction: Transaction, table_id: str) -> None:
        """Begin to count the rows of a table that `transaction`, one of this writer, creates."""
        self._row_ids.add_table(transaction.cursor, table_id)

    async def prune_receipts(self) -> int:
        """Delete a bounded number of receipts that lived their time; return how many."""
        now = self._clock.now()
        change = Change(apply=lambda transaction: str(prune(transaction.cursor, now)).encode())
        return int(await self.submit(change))

    def close(self) -> None:
        """Finish what is queued, then stop. Nothing may be submitted any more."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        if not self.broken:
            self._row_ids.give_back(self._cursor)
        self._cursor.close()

    def _enqueue(self, waiting: _Waiting) -> None:
        if self.broken:
            raise store_unavailable()
        with self._wake:
            if self._closing:
                raise store_unavailable()
            if len(self._queue) >= QUEUE_WRITES_MAX:
                raise ResourceExhausted(
                    "QUEUE_FULL",
                    f"{QUEUE_WRITES_MAX} requests wait already",
                    retry_after=RETRY_AFTER,
                    limit=QUEUE_WRITES_MAX,
                )
            self._queue.append(waiting)
            self._wake.notify()

    def _serve(self) -> None:
        # Ends when closed and empty.
        while group := self._next_group():
            group = [waiting for waiting in group if not waiting.future.cancelled()]
            self._answer_or_write(group)
            _deliver(group)

    def _next_group(self) -> list[_Waiting]:
        """Wait for writes and return those that can share a commit, in order; none when closed."""
        with self._wake:
            while not self._queue and not self._closing:
                self._wake.wait()
            group: list[_Waiting] = []
            ids: set[tuple[str, str]] = set()
            while self._queue and len(group) < GROUP_WRITES_MAX:
                write = self._queue[0].write
                if group and (write.alone or group[-1].write.alone):
                    break
                if write.receipt is not None:
                    # The second of two with one id must find the receipt of the first.
                    id_ = (write.receipt.subject, write.receipt.request_id)
                    if id_ in ids:
                        break
                    ids.add(id_)
                group.append(self._queue.popleft())
            return group

    def _answer_or_write(self, group: Sequence[_Waiting]) -> None:
        """Give each write its response or its error."""
        keys = [w.write.receipt for w in group if w.write.receipt is not None]
        fresh = list(group)
        try:
            found = self._receipts.find(self._cursor, keys, self._clock.now()) if keys else {}
        except duckdb.Error as error:
            _fail(group, self._outcome(error))
            return
        if found:
            fresh = []
            for waiting in group:
                key = waiting.write.receipt
                receipt = found.get((key.subject, key.request_id)) if key else None
                if key is None or receipt is None:
                    fresh.append(waiting)
                    continue
                try:
                    waiting.response = receipt.answer(key)
                except Fault as fault:
                    waiting.error = fault
        if fresh:
            self._write(fresh)

    def _write(self, group: Sequence[_Waiting]) -> None:
        """Commit the group; if it fails, halve it until the culprit fails alone."""
        if self.broken:
            _fail(group, store_unavailable())
            return
        try:
            self._commit(group)
        except Exception as error:  # noqa: BLE001  # whoever waits for the write gets it, bugs too
            if len(group) == 1 or self._breaks(error):
                _fail(group, self._outcome(error))
                return
            middle = len(group) // 2
            self._write(group[:middle])
            self._write(group[middle:])

    def _commit(self, group: Sequence[_Waiting]) -> None:
        self._statements.run("BEGIN TRANSACTION")
        transaction = Transaction(
            cursor=self._cursor,
            statements=self._statements,
            batches=self._batches,
            catalog=self.catalog,
            take_row_ids=lambda table_id, count: self._row_ids.take(self._cursor, table_id, count),
            now=self._clock.now(),
        )
        committed = False
        try:
            for mergeable, members in groupby(group, key=_merge_key):
                if mergeable is None:
                    for waiting in members:
                        assert isinstance(waiting.write, Change)
                        waiting.response = waiting.write.apply(transaction)
                else:
                    _insert(transaction, list(members))
            receipts = [(w.write.receipt, w.response) for w in group if w.write.receipt is not None]
            store_receipts(transaction, receipts)
            self._statements.run("COMMIT")
            committed = True
        finally:
            if not committed:
                self._row_ids.rolled_back()
                roll_back(self._cursor)
            self._batches.end(committed=committed)
        self._row_ids.committed()
        self._receipts.remember([key for key, _ in receipts], transaction.now)
        self.catalog = transaction.catalog
        for callback in transaction.after_commit:
            callback()

    def give_up(self) -> None:
        """Refuse every write from now on: the file could not be written, here or beside."""
        if not self.broken:
            self.broken = True
            self._when_broken()

    def _breaks(self, error: Exception) -> bool:
        if breaks(error):
            self.give_up()
            return True
        return False

    def _outcome(self, error: Exception) -> Exception:
        """Return what the caller is told: the fault that a DuckDB error is, or the error itself."""
        self._breaks(error)
        if isinstance(error, duckdb.Error) and (fault := write_fault(error)) is not None:
            fault.__cause__ = error
            return fault
        return error


def _merge_key(waiting: _Waiting) -> tuple[str, int, tuple[str, ...]] | None:
    """Return what plain inserts must share to become one statement; None for a write of its own."""
    write = waiting.write
    if isinstance(write, Change):
        return None
    return write.table.id, write.table.schema_version, tuple(write.rows.schema.names)


def _insert(transaction: Transaction, members: Sequence[_Waiting]) -> None:
    inserts = [member.write for member in members if isinstance(member.write, Insert)]
    rows = inserts[0].rows
    if len(inserts) > 1:
        rows = pa.concat_tables([insert.rows for insert in inserts]).combine_chunks()
    first = row_store.insert(transaction, inserts[0].table, rows)
    for member, insert in zip(members, inserts, strict=True):
        member.response = insert.answer(range(first, first + insert.rows.num_rows))
        first += insert.rows.num_rows


def _fail(group: Iterable[_Waiting], error: Exception) -> None:
    for waiting in group:
        waiting.error = error


def _deliver(group: Sequence[_Waiting]) -> None:
    """Hand out the outcomes, waking each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
    for waiting in group:
        if waiting.loop is None:
            _settle([waiting])
        else:
            by_loop.setdefault(waiting.loop, []).append(waiting)
    for loop, members in by_loop.items():
        # A loop that has stopped has nobody left who waits.
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, members)


def _settle(members: Iterable[_Waiting]) -> None:
    for waiting in members:
        if waiting.future.done():
            continue
        if waiting.error is not None:
            waiting.future.set_exception(waiting.error)
        else:
            waiting.future.set_result(waiting.response)
