"""Transact's preconditions and mutations: from messages, and results to messages."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from chassis.faults import InvalidArgument
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import rows_pb2
from table_service import codec
from table_service.store import mutations
from table_service.store.catalog import Dataset
from table_service.tables import Table

FindTable = Callable[[str], Table]
FindDataset = Callable[[str], Dataset]


def from_precondition(
    message: messages.Precondition, path: str, find: FindTable
) -> mutations.Precondition:
    """Return a precondition.

    Raises:
        NotFound: TABLE_NOT_FOUND.
        InvalidArgument: COLUMN_NOT_FOUND or ROW_INVALID.
    """
    if message.WhichOneof("kind") == "row_version":
        wanted = message.row_version
        return mutations.RowVersion(
            table=find(wanted.table), row_id=wanted.row_id, version=wanted.version
        )
    table = find(message.row_absent.table)
    key = one_row(message.row_absent.key, table, f"{path}.row_absent.key")
    return mutations.RowAbsent(table=table, key=key)


def from_mutation(
    message: messages.Mutation,
    path: str,
    find: FindTable,
    find_dataset: FindDataset,
) -> mutations.Mutation:
    """Return a mutation.

    Raises:
        NotFound: TABLE_NOT_FOUND or DATASET_NOT_FOUND.
        InvalidArgument: COLUMN_NOT_FOUND or ROW_INVALID.
    """
    kind = message.WhichOneof("kind")
    if kind == "insert":
        insert = message.insert
        table = find(insert.table)
        if insert.WhichOneof("source") == "dataset_id":
            dataset = find_dataset(insert.dataset_id)
            return mutations.InsertRows(table=table, rows=dataset)
        rows = codec.decode(insert.rows, table.columns, path=f"{path}.insert.rows")
        return mutations.InsertRows(table=table, rows=rows)
    if kind == "upsert":
        upsert = message.upsert
        table, key = find(upsert.table), tuple(upsert.key_columns)
        if upsert.WhichOneof("source") == "dataset_id":
            dataset = find_dataset(upsert.dataset_id)
            return mutations.UpsertRows(table=table, key=key, rows=dataset)
        rows = codec.decode(upsert.rows, table.columns, path=f"{path}.upsert.rows")
        return mutations.UpsertRows(table=table, key=key, rows=rows)
    if kind == "update":
        update = message.update
        table = find(update.table)
        return mutations.UpdateRow(
            table=table,
            row_id=update.row_id,
            values=one_row(update.values, table, f"{path}.update.values"),
            expected_version=update.expected_version
            if update.HasField("expected_version")
            else None,
        )
    delete = message.delete
    return mutations.DeleteRow(
        table=find(delete.table),
        row_id=delete.row_id,
        expected_version=delete.expected_version if delete.HasField("expected_version") else None,
    )


def to_result(result: mutations.Result) -> messages.TransactResponse.Result:
    """Return what one mutation did as a message."""
    return messages.TransactResponse.Result(
        row_ids=result.row_ids,
        inserted_count=result.inserted_count,
        updated_count=result.updated_count,
        deleted_count=result.deleted_count,
        version=result.version,
    )


def one_row(rows: rows_pb2.Rows, table: Table, path: str) -> pa.Table:
    """Return the only row of `rows`, some of the table's columns, as carriers.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND; ROW_INVALID, also if there is not exactly one row, or no column.
    """
    decoded = codec.decode(rows, table.columns, path=path, complete=False)
    if decoded.num_rows != 1:
        raise InvalidArgument("ROW_INVALID", f"{path} has {decoded.num_rows} rows, not one")
    return decoded
