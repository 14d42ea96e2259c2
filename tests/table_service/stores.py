"""A real store on a folder, and tables in it, for the tests of table_service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from chassis.clock import Clock, SystemClock
from table_service.store import Store, catalog, open_store
from table_service.store.database import Limits
from table_service.store.receipts import ReceiptKey
from table_service.store.transaction import Transaction
from table_service.store.write_queue import Change, Insert
from table_service.tables import Table, TableState, UniqueKey
from table_service.types import Column, Kind, Type

LIMITS = Limits(memory="500MB", spill="1GB", threads=2)
START = datetime(2026, 1, 1, tzinfo=UTC)

ITEMS = Table(
    id="tbl_items",
    namespace="main",
    name="items",
    description="",
    columns=(
        Column(name="key", type=Type(kind=Kind.STRING), not_null=True),
        Column(name="size", type=Type(kind=Kind.INT64)),
    ),
    unique_keys=(UniqueKey(name="key", columns=("key",)),),
    schema_version=1,
    state=TableState.ACTIVE,
    owner="usr_1",
    create_time=START,
    update_time=START,
    storage="tbl_items",
)
EVENTS = replace(ITEMS, id="tbl_events", name="events", unique_keys=(), storage="tbl_events")


@contextmanager
def opened(folder: Path, clock: Clock | None = None) -> Iterator[Store]:
    """Open the store in `folder` and close it."""
    store = open_store(folder, limits=LIMITS, clock=clock or SystemClock())
    try:
        yield store
    finally:
        store.close()


def create(store: Store, *tables: Table) -> None:
    """Create tables and wait."""
    for table in tables:

        def apply(transaction: Transaction, table: Table = table) -> bytes:
            catalog.create_table(transaction, table)
            store.writer.new_row_ids(transaction, table.id)
            return b""

        store.writer.run(Change(apply=apply, alone=True))


def items(*rows: tuple[str, int | None]) -> pa.Table:
    """Return rows of carriers for ITEMS."""
    return pa.table(
        {
            "key": pa.array([key for key, _ in rows], pa.string()),
            "size": pa.array([size for _, size in rows], pa.int64()),
        }
    )


def receipt(id_: str, content: bytes = b"content", subject: str = "usr_1") -> ReceiptKey:
    """Return under what an answer is kept."""
    return ReceiptKey(subject=subject, request_id=id_, digest=content)


def insert(*rows: tuple[str, int | None], key: ReceiptKey | None = None) -> Insert:
    """Return a write that answers with the row ids."""
    return Insert(
        table=ITEMS, rows=items(*rows), answer=lambda ids: repr(list(ids)).encode(), receipt=key
    )


def stored(store: Store) -> dict[int, tuple[str, int | None, int]]:
    """Return what the table ITEMS holds, by row id."""
    cursor = store.database.cursor()
    found = cursor.execute('SELECT _row_id, key, size, _version FROM main."tbl_items"').fetchall()
    cursor.close()
    return {row_id: (key, size, version) for row_id, key, size, version in found}
