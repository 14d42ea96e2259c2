"""Transact's preconditions and mutations: from messages, and results to messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flux.table.v1 import row_service_pb2 as messages
from table_service import codec
from table_service.access import Right
from table_service.row_batches import rows_path
from table_service.selection_wire import (
    Selected,
    from_delete,
    from_update,
    one_row,
    selection_rights,
)
from table_service.store import mutations
from table_service.store.catalog import Dataset
from table_service.store.defaults import marked
from table_service.store.expressions import Expression
from table_service.tables import Table

SELECTED = ("update_selected", "delete_selected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    """What the names in a transaction stand for, for its caller.

    `table` raises TABLE_NOT_FOUND or RIGHT_REQUIRED, `dataset` DATASET_NOT_FOUND. `check` makes an expression
    of its text and its field, and `bind` looks whether DuckDB can bind what was made; both only for
    transactions that select rows.
    """

    table: Callable[..., Table]
    dataset: Callable[[str], Dataset]
    check: Callable[[Table, str, str], Expression]
    bind: Callable[[Table, Selected], None]


def from_precondition(
    message: messages.Precondition, path: str, find: Finder
) -> mutations.Precondition:
    """Return a precondition. Whoever asks about rows must be allowed to read them.

    Raises:
        NotFound: TABLE_NOT_FOUND.
        PermissionDenied: RIGHT_REQUIRED.
        InvalidArgument: COLUMN_NOT_FOUND or ROW_INVALID.
    """
    match message.WhichOneof("kind"):
        case "row_version":
            wanted = message.row_version
            return mutations.RowVersion(
                table=find.table(wanted.table, Right.READ),
                row_id=wanted.row_id,
                version=wanted.version,
            )
        case "table_version":
            expected = message.table_version
            return mutations.TableVersion(
                table=find.table(expected.table), schema_version=expected.schema_version
            )
        case _:
            table = find.table(message.row_absent.table, Right.READ)
            key = one_row(message.row_absent.key, table, f"{path}.row_absent.key")
            return mutations.RowAbsent(table=table, key=key)


def from_mutation(message: messages.Mutation, path: str, find: Finder) -> mutations.Mutation:
    """Return a mutation, if its caller has the rights that it needs.

    Raises:
        NotFound: TABLE_NOT_FOUND or DATASET_NOT_FOUND.
        PermissionDenied: RIGHT_REQUIRED.
        InvalidArgument: COLUMN_NOT_FOUND, ROW_INVALID, FIELDS_INVALID, SQL_INVALID or SQL_REFUSED.
    """
    match message.WhichOneof("kind"):
        case "insert":
            return _insert(message.insert, f"{path}.insert", find)
        case "upsert":
            return _upsert(message.upsert, f"{path}.upsert", find)
        case "update":
            update = message.update
            table = find.table(update.table, Right.UPDATE)
            return mutations.UpdateRow(
                table=table,
                row_id=update.row_id,
                values=one_row(update.values, table, f"{path}.update.values"),
                expected_version=update.expected_version
                if update.HasField("expected_version")
                else None,
                path=f"{path}.update",
            )
        case "delete":
            delete = message.delete
            return mutations.DeleteRow(
                table=find.table(delete.table, Right.DELETE),
                row_id=delete.row_id,
                expected_version=delete.expected_version
                if delete.HasField("expected_version")
                else None,
                path=f"{path}.delete",
            )
        case "update_selected":
            return _update_selected(message.update_selected, f"{path}.update_selected", find)
        case _:
            return _delete_selected(message.delete_selected, f"{path}.delete_selected", find)


def to_result(result: mutations.Result) -> messages.TransactResponse.Result:
    """Return what one mutation did as a message."""
    return messages.TransactResponse.Result(
        row_ids=result.row_ids,
        inserted_count=result.inserted_count,
        updated_count=result.updated_count,
        deleted_count=result.deleted_count,
        version=result.version,
    )


def _insert(message: messages.Mutation.Insert, path: str, find: Finder) -> mutations.InsertRows:
    table = find.table(message.table, Right.INSERT)
    if message.WhichOneof("source") == "dataset_id":
        dataset = find.dataset(message.dataset_id)
        return mutations.InsertRows(table=table, rows=dataset, path=f"{path}.dataset")
    decoded = codec.decode(message.rows, table.columns, path=f"{path}.rows")
    return mutations.InsertRows(
        table=table,
        rows=marked(decoded.rows, decoded.missing),
        path=rows_path(f"{path}.rows", message.rows),
    )


def _upsert(message: messages.Mutation.Upsert, path: str, find: Finder) -> mutations.UpsertRows:
    table = find.table(message.table, Right.INSERT, Right.UPDATE)
    key = tuple(message.key_columns)
    if message.WhichOneof("source") == "dataset_id":
        dataset = find.dataset(message.dataset_id)
        return mutations.UpsertRows(table=table, key=key, rows=dataset, path=f"{path}.dataset")
    decoded = codec.decode(message.rows, table.columns, path=f"{path}.rows", complete=False)
    return mutations.UpsertRows(
        table=table,
        key=key,
        rows=marked(decoded.rows, decoded.missing),
        path=rows_path(f"{path}.rows", message.rows),
    )


def _update_selected(
    message: messages.Mutation.UpdateSelected, path: str, find: Finder
) -> mutations.UpdateSelected:
    rights = selection_rights(Right.UPDATE, message.selection, message.expressions)
    table = find.table(message.table, *rights)
    selected = from_update(
        message, table, lambda text, field: find.check(table, text, field), path=f"{path}."
    )
    if selected.computes:
        find.bind(table, selected)
    assert selected.assignments is not None
    return mutations.UpdateSelected(
        table=table,
        selection=selected.selection,
        assignments=selected.assignments,
        parameters=selected.parameters,
        path=path,
    )


def _delete_selected(
    message: messages.Mutation.DeleteSelected, path: str, find: Finder
) -> mutations.DeleteSelected:
    table = find.table(message.table, *selection_rights(Right.DELETE, message.selection))
    selected = from_delete(
        message, lambda text, field: find.check(table, text, field), path=f"{path}."
    )
    if selected.computes:
        find.bind(table, selected)
    return mutations.DeleteSelected(
        table=table, selection=selected.selection, parameters=selected.parameters, path=path
    )
