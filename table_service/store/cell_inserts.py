"""Inserting rows given as plain Python cells: the cheapest way into DuckDB for a few small rows.

Measured on 2.0.0 within a transaction: one row as parameters takes half the time of an Arrow view, and up to
some hundred as lists to unnest no more than a view, without a dozen calls into Arrow, each of which lets go
of the interpreter and waits for it again. On 1.5.6 each element of a list costs half a millisecond.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from table_service.plain_rows import PlainRows
from table_service.store import rows as row_store
from table_service.store.transaction import Transaction, physical
from table_service.tables import Table
from table_service.types import ROW_ID, VERSION, quoted, sql_type

_LISTS_ARE_CHEAP = int(duckdb.__version__.partition(".")[0]) >= 2
_ARROW_TYPES = {
    "BIGINT": pa.int64(),
    "BLOB": pa.binary(),
    "BOOLEAN": pa.bool_(),
    "DOUBLE": pa.float64(),
    "INTEGER": pa.int32(),
    "SMALLINT": pa.int16(),
    "TIMESTAMP": pa.timestamp("us"),
    "VARCHAR": pa.string(),
}


def insert_plain(transaction: Transaction, table: Table, rows: PlainRows, path: str) -> int:
    """Insert plain rows and return the first of their consecutive row ids; see `rows.insert`."""
    if transaction.careful:
        return row_store.insert(transaction, table, rows.carriers(), path)
    table = transaction.current(table)
    first = transaction.take_row_ids(table, rows.count)
    names = ", ".join(quoted(column.name) for column in rows.columns)
    insert_cells(
        transaction,
        f"{physical(table)} ({names}, {ROW_ID}, {VERSION})",
        (*(sql_type(column.type) for column in rows.columns), "BIGINT", "BIGINT"),
        [*rows.cells, list(range(first, first + rows.count)), [1] * rows.count],
    )
    return first


def insert_cells(
    transaction: Transaction, target: str, types: Sequence[str], cells: Sequence[Sequence[object]]
) -> None:
    """Insert at least one row into `target`, a table and its columns as SQL.

    `cells`: a sequence for each column, of Python values that DuckDB takes for its type as they are; `types`
    are among those of `_ARROW_TYPES`.
    """
    if len(cells[0]) == 1:
        places = ", ".join(f"${at}" for at in range(1, len(types) + 1))
        transaction.rows(f"INSERT INTO {target} VALUES ({places})", [cell for [cell] in cells])
        return
    if _LISTS_ARE_CHEAP:
        lists = ", ".join(f"unnest(${at}::{type_}[])" for at, type_ in enumerate(types, start=1))
        transaction.rows(f"INSERT INTO {target} SELECT {lists}", cells)
        return
    arrays = [
        pa.array(column, _ARROW_TYPES[type_]) for column, type_ in zip(cells, types, strict=True)
    ]
    names = [f"c{at}" for at in range(len(types))]
    view = transaction.show(pa.Table.from_arrays(arrays, names=names))
    transaction.rows(f"INSERT INTO {target} SELECT * FROM {view}")
