"""Carrying out imports: each mode in the order that keeps the store whole and the writer free.

Appending runs beside the writer. Upserts and replacements touch rows that the writer may touch: their files
are read beside it, into a stage, and the staged rows move in its turn. A new table is filled before anybody
knows it, and entered in the catalog in the writer's turn. A stage or a table that is not entered when the
process dies goes at the next start (`leftovers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from chassis.faults import Fault, ResourceExhausted
from table_service.store import Store, merging
from table_service.store.catalog import enter_table
from table_service.store.datasets import watched
from table_service.store.errors import write_fault
from table_service.store.file_bytes import file_invalid
from table_service.store.files import File
from table_service.store.import_faults import damage, explain, explain_insert, explain_merge
from table_service.store.imports import LoadFailed, append, failures, fill, make_stage
from table_service.store.receipts import ReceiptKey
from table_service.store.sources import Import
from table_service.store.staging import Source
from table_service.store.storage import create_storage
from table_service.store.transaction import Transaction, dataset_relation, physical
from table_service.store.upserts import refuse_keys
from table_service.store.watch import Stop, Watch
from table_service.store.write_queue import Change
from table_service.tables import Table, table_exists

NewId = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What became of the rows of a file: how many were written, of them created, and how many went."""

    row_count: int
    created_count: int = 0
    replaced_count: int = 0


Answer = Callable[[Loaded], bytes]


class Loads:
    """Loads received files into tables. The event loop's."""

    def __init__(self, store: Store, watch: Watch, *, limit_s: float, new_id: NewId) -> None:
        self._store = store
        self._watch = watch
        self._limit_s = limit_s
        self._new_id = new_id
        self._tidying: set[asyncio.Task[None]] = set()

    async def append(self, asked: Import, answer: Answer, receipt: ReceiptKey | None) -> bytes:
        """Insert the file's rows, all or none.

        Raises:
            InvalidArgument: FILE_INVALID, COLUMN_NOT_FOUND, ROW_INVALID or CHECK_FAILED, rows named.
            AlreadyExists: DUPLICATE_KEY, rows named.
            Aborted: TABLE_CHANGED, or TABLE_BUSY.
            ResourceExhausted: QUERY_LIMIT or QUEUE_FULL.
        """

        def apply(transaction: Transaction) -> bytes:
            return answer(Loaded(row_count=append(transaction, asked)))

        try:
            return await self._beside(apply, receipt, table_id=asked.table.id)
        except LoadFailed as failed:
            raise await self._why(
                asked.file, failed, lambda transaction: explain(transaction, asked, asked.table)
            ) from failed

    async def create(
        self,
        asked: Import,
        answer: Answer,
        receipt: ReceiptKey | None,
        *,
        record: Callable[[Transaction, Table], None],
    ) -> bytes:
        """Make the table, with the file's rows in it; `record` is called in the commit that enters it.

        Raises:
            AlreadyExists: TABLE_EXISTS; DUPLICATE_KEY.
            Fault: As `append`.
        """
        table = asked.table

        def make(transaction: Transaction) -> bytes:
            create_storage(transaction, table)
            return answer(Loaded(row_count=fill(transaction, table, asked)))

        def enter(transaction: Transaction) -> bytes:
            if (table.namespace, table.name) in transaction.catalog.active:
                raise table_exists(table)
            enter_table(transaction, table)
            record(transaction, table)
            return response

        def why(transaction: Transaction) -> None:
            create_storage(transaction, table)
            explain(transaction, asked, table)

        try:
            response = await self._beside(make, leftover=physical(table))
        except LoadFailed as failed:
            raise await self._why(asked.file, failed, why) from failed
        async with self._tidied(physical(table)):
            entered = await self._in_turn(enter, receipt)
        await self._store.checkpoint()
        return entered

    async def upsert(
        self, asked: Import, key: tuple[str, ...], answer: Answer, receipt: ReceiptKey | None
    ) -> bytes:
        """Insert the file's rows, or update those that have their key, all or none.

        Raises:
            Fault: As `append`.
        """

        def check(transaction: Transaction, source: Source) -> None:
            refuse_keys(transaction, asked.table, key, source, "rows")

        def merge(transaction: Transaction, table: Table, source: Source) -> Loaded:
            created, updated = merging.upsert(transaction, table, key, source)
            return Loaded(row_count=created + updated, created_count=created)

        def why(transaction: Transaction, source: Source) -> None:
            explain_merge(transaction, transaction.current(asked.table), key, source)

        return await self._through_stage(asked, answer, receipt, check=check, merge=merge, why=why)

    async def replace(self, asked: Import, answer: Answer, receipt: ReceiptKey | None) -> bytes:
        """Put the file's rows in place of all that the table has.

        Raises:
            Fault: As `append`.
        """

        def merge(transaction: Transaction, table: Table, source: Source) -> Loaded:
            came, gone = merging.replace_all(transaction, table, source)
            return Loaded(row_count=came, created_count=came, replaced_count=gone)

        def why(transaction: Transaction, source: Source) -> None:
            scratch = replace(asked.table, storage=self._new_id("scratch"))
            create_storage(transaction, scratch)
            explain_insert(transaction, scratch, source)

        return await self._through_stage(
            asked, answer, receipt, check=lambda _transaction, _source: None, merge=merge, why=why
        )

    async def _through_stage(
        self,
        asked: Import,
        answer: Answer,
        receipt: ReceiptKey | None,
        *,
        check: Callable[[Transaction, Source], None],
        merge: Callable[[Transaction, Table, Source], Loaded],
        why: Callable[[Transaction, Source], None],
    ) -> bytes:
        stage = dataset_relation(self._new_id("stage"))
        sources: list[Source] = []

        def read(transaction: Transaction) -> bytes:
            transaction.current(asked.table)
            sources.append(
                make_stage(transaction, asked, stage, lambda source: check(transaction, source))
            )
            return b""

        def move(transaction: Transaction) -> bytes:
            table = transaction.current(asked.table)
            with failures(asked.file):
                response = answer(merge(transaction, table, source))
            transaction.rows(f"DROP TABLE {stage}")
            return response

        try:
            await self._beside(read, leftover=stage)
        except LoadFailed as failed:
            raise await self._why(
                asked.file, failed, lambda transaction: explain(transaction, asked, None)
            ) from failed
        [source] = sources
        async with self._tidied(stage):
            try:
                return await self._in_turn(move, receipt)
            except LoadFailed as failed:
                raise await self._why(
                    asked.file, failed, lambda transaction: why(transaction, source)
                ) from failed

    async def _beside(
        self,
        apply: Callable[[Transaction], bytes],
        receipt: ReceiptKey | None = None,
        *,
        table_id: str = "",
        leftover: str = "",
    ) -> bytes:
        """Run a change beside the writer, for as long as its caller waits.

        `leftover`: what it makes, which nobody takes once the caller has gone.
        """
        stop = Stop()
        work = watched(self._watch, stop, self._limit_s, self._store.spool, apply)
        working = await self._store.bulk.start(work, receipt, table_id=table_id)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            stop.ask()
            if leftover:
                # It may be committed all the same, and later.
                self._tidy_soon(leftover, after=working)
            raise

    async def _in_turn(
        self, apply: Callable[[Transaction], bytes], receipt: ReceiptKey | None
    ) -> bytes:
        """Run a change in the writer's turn, for as long as its caller waits."""
        stop = Stop()
        work = watched(self._watch, stop, self._limit_s, self._store.spool, apply)
        try:
            return await self._store.writer.submit(Change(apply=work, receipt=receipt, alone=True))
        except asyncio.CancelledError:
            stop.ask()
            raise

    @asynccontextmanager
    async def _tidied(self, leftover: str) -> AsyncIterator[None]:
        """Drop a relation after the block, unless it has become a table's or has gone."""
        try:
            yield
        finally:
            # Comes after the block's change in the writer's queue, which may run though its caller has gone.
            self._tidy_soon(leftover)

    def _tidy_soon(self, leftover: str, *, after: asyncio.Future[bytes] | None = None) -> None:
        tidying = asyncio.ensure_future(self._tidy(leftover, after))
        self._tidying.add(tidying)
        tidying.add_done_callback(self._tidying.discard)

    async def _tidy(self, leftover: str, after: asyncio.Future[bytes] | None) -> None:
        """Drop a relation unless it is a table's; if that cannot be now, the next start does it."""
        if after is not None:
            await asyncio.wait([after])

        def apply(transaction: Transaction) -> bytes:
            if not any(physical(t) == leftover for t in transaction.catalog.by_id.values()):
                transaction.rows(f"DROP TABLE IF EXISTS {leftover}")
            return b""

        with suppress(Fault):
            await self._store.writer.submit(Change(apply=apply, alone=True))

    async def _why(
        self, file: File, failed: LoadFailed, look: Callable[[Transaction], None]
    ) -> Exception:
        """Return what to tell of a load that failed, after a look that changes nothing."""

        def apply(transaction: Transaction) -> bytes:
            look(transaction)
            raise _Unexplained

        told = write_fault(failed.error)
        try:
            await self._beside(apply)
        except _Unexplained:
            return told or file_invalid(damage(file, failed.error))
        except ResourceExhausted as fault:
            return told or fault
        except Fault as fault:
            return fault
        raise AssertionError("what looks never commits")


class _Unexplained(Exception):  # raised and caught here alone
    """There is nothing wrong with the file any more."""
