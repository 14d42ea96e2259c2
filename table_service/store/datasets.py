"""Datasets: making, previewing and dropping them.

One is made beside the writer: CREATE TABLE … AS writes to a table nobody else knows, and its entry and the
receipt are in the same commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from table_service.store.catalog import Dataset, drop_dataset, record_dataset
from table_service.store.spool import disk_nearly_full
from table_service.store.statements import (
    ResultColumn,
    Statement,
    numbered,
    told_to_caller,
)
from table_service.store.transaction import Transaction, dataset_relation
from table_service.store.watch import Stop, Watch
from table_service.store.write_queue import Change
from table_service.store.writer import Writer
from table_service.types import Column, Kind, outgoing_list, quoted, sql_type

DROPPED_MAX = 100
# What a value of these kinds takes, whatever it is; others are measured as text.
_BYTES = {
    **dict.fromkeys((Kind.BOOL, Kind.INT16), 2),
    **dict.fromkeys((Kind.INT32, Kind.FLOAT, Kind.DATE, Kind.ENUM), 4),
    **dict.fromkeys((Kind.INT64, Kind.DOUBLE, Kind.TIME, Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP), 8),
    **dict.fromkeys((Kind.INT128, Kind.DECIMAL, Kind.UUID, Kind.INTERVAL), 16),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A statement that was bound where nothing can be written, ready to run.

    `names` are what its caller calls what it reads, by physical name.
    """

    statement: Statement
    parameters: Mapping[str, object]
    columns: list[ResultColumn]
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDataset:
    """What is known of a dataset before it is made."""

    id: str
    owner: str
    expire_time: datetime
    preview_rows: int


def create_dataset(
    transaction: Transaction,
    new: NewDataset,
    bound: Bound,
    datasets: dict[str, Dataset],
) -> tuple[Dataset, pa.Table]:
    """Run the statement into a new dataset; return it and its first rows, as carriers.

    Raises:
        InvalidArgument: QUERY_FAILED.
        ResourceExhausted: QUERY_LIMIT.
    """
    columns = tuple(described.column for described in bound.columns)
    selected = ", ".join(
        f"{_stored(f'q.c{at}', described)} AS {quoted(described.column.name)}"
        for at, described in enumerate(bound.columns)
    )
    relation = dataset_relation(new.id)
    with told_to_caller():
        [[row_count]] = transaction.cursor.execute(
            f"CREATE TABLE {relation} AS SELECT {selected}"
            f" FROM {numbered(bound.statement, bound.columns)}",
            dict(bound.parameters) or None,
        ).fetchall()
    dataset = Dataset(
        id=new.id,
        owner=new.owner,
        columns=columns,
        row_count=int(row_count),
        byte_count=_byte_count(transaction.cursor, relation, columns),
        create_time=transaction.now,
        expire_time=new.expire_time,
    )
    record_dataset(transaction, dataset, datasets)
    return dataset, first_rows(transaction.cursor, new.id, columns, new.preview_rows)


def first_rows(
    cursor: duckdb.DuckDBPyConnection, id_: str, columns: tuple[Column, ...], row_count: int
) -> pa.Table:
    """Return the first rows of a dataset as carriers."""
    return cursor.sql(
        f"SELECT {outgoing_list(columns)} FROM {dataset_relation(id_)} LIMIT {row_count}"
    ).to_arrow_table()


def watched(
    watch: Watch,
    stop: Stop,
    limit_s: float,
    folder: Path,
    work: Callable[[Transaction], bytes],
) -> Callable[[Transaction], bytes]:
    """Return `work` as something that stops when asked, in time, and before the disk is full."""

    def apply(transaction: Transaction) -> bytes:
        with watch.over(
            transaction.cursor, stop, limit_s=limit_s, passed=lambda: disk_nearly_full(folder)
        ):
            return work(transaction)

    return apply


async def drop_datasets(writer: Writer, datasets: dict[str, Dataset], ids: list[str]) -> None:
    """Drop datasets, a bounded number in a commit; one that is gone is no error."""

    def change(batch: list[str]) -> Change:
        def apply(transaction: Transaction) -> bytes:
            for id_ in batch:
                drop_dataset(transaction, id_, datasets)
            return b""

        return Change(apply=apply, alone=True)

    for at in range(0, len(ids), DROPPED_MAX):
        await writer.submit(change(ids[at : at + DROPPED_MAX]))


def _stored(expression: str, described: ResultColumn) -> str:
    """Return SQL that makes the nearest value a table can hold."""
    stored = sql_type(described.column.type)
    return expression if stored == described.written else f"CAST({expression} AS {stored})"


def _byte_count(
    cursor: duckdb.DuckDBPyConnection, relation: str, columns: tuple[Column, ...]
) -> int:
    """Return about how many bytes the values have, before DuckDB compresses them."""
    fixed = sum(_BYTES.get(column.type.kind, 0) for column in columns)
    sums = [
        f"coalesce(sum(octet_length({quoted(column.name)}::BLOB)), 0)"
        if column.type.kind is Kind.BYTES
        else f"coalesce(sum(strlen({quoted(column.name)}::VARCHAR)), 0)"
        for column in columns
        if column.type.kind not in _BYTES
    ]
    [[byte_count]] = cursor.execute(
        f"SELECT {' + '.join([f'count(*) * {fixed}', *sums])} FROM {relation}"
    ).fetchall()
    return int(byte_count)
