"""Messages and domain values, both ways."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from chassis.identity import Principal
from flux.table.v1 import rows_pb2, table_pb2
from table_service.store.receipts import ReceiptKey
from table_service.tables import MAIN, Table, TableState
from table_service.types import Column, Kind, Type

# Rows past this many are converted in a thread, so that other calls go on.
INLINE_ROWS_MAX = 500
INLINE_ARROW_BYTES_MAX = 64 * 1024

_KINDS = {
    kind: table_pb2.Type.Kind.Value(f"KIND_{kind}")  # the names are the same by intent
    for kind in Kind
}
_KINDS_READ = {number: kind for kind, number in _KINDS.items()}
_STATES = {
    TableState.ACTIVE: table_pb2.Table.STATE_ACTIVE,
    TableState.DELETED: table_pb2.Table.STATE_DELETED,
}


def to_type(type_: Type) -> table_pb2.Type:
    """Return a type as a message."""
    return table_pb2.Type(
        kind=_KINDS[type_.kind],
        precision=type_.precision,
        scale=type_.scale,
        element=to_type(type_.element) if type_.element else None,
        fields=to_columns(type_.fields),
    )


def from_type(message: table_pb2.Type) -> Type:
    """Return a type."""
    return Type(
        kind=_KINDS_READ[message.kind],
        precision=message.precision,
        scale=message.scale,
        element=from_type(message.element) if message.HasField("element") else None,
        fields=from_columns(message.fields),
    )


def to_columns(columns: Iterable[Column]) -> list[table_pb2.Column]:
    """Return columns as messages."""
    return [
        table_pb2.Column(
            name=column.name,
            type=to_type(column.type),
            not_null=column.not_null,
            description=column.description,
        )
        for column in columns
    ]


def from_columns(messages: Iterable[table_pb2.Column]) -> tuple[Column, ...]:
    """Return columns."""
    return tuple(
        Column(
            name=message.name,
            type=from_type(message.type),
            not_null=message.not_null,
            description=message.description,
        )
        for message in messages
    )


def to_table(table: Table) -> table_pb2.Table:
    """Return a table as a message."""
    message = table_pb2.Table(
        name=table.name,
        namespace=table.namespace,
        description=table.description,
        columns=to_columns(table.columns),
        unique_keys=[table_pb2.UniqueKey(columns=key) for key in table.unique_keys],
        id=table.id,
        state=_STATES[table.state],
        schema_version=table.schema_version,
        owner=table.owner,
    )
    message.create_time.FromDatetime(table.create_time)
    message.update_time.FromDatetime(table.update_time)
    return message


def from_unique_keys(messages: Iterable[table_pb2.UniqueKey]) -> tuple[tuple[str, ...], ...]:
    """Return unique keys."""
    return tuple(tuple(message.columns) for message in messages)


def namespace_of(written: str) -> str:
    """Return the namespace that a request names; empty means "main"."""
    return written or MAIN


def receipt_key(principal: Principal, request: Message) -> ReceiptKey | None:
    """Return under what the answer to a write is kept, or None if it came without a request_id.

    The digest covers the method, by the type of its request, and everything in the request but its id,
    which is taken out of it.
    """
    request_id = _take_request_id(request)
    if not request_id:
        return None
    digest = blake2b(request.DESCRIPTOR.full_name.encode(), digest_size=16)
    digest.update(request.SerializeToString(deterministic=True))
    return ReceiptKey(
        subject=principal.subject, request_id=str(UUID(request_id)), digest=digest.digest()
    )


def _take_request_id(request: Any) -> str:
    request_id: str = request.request_id
    request.request_id = ""
    return request_id


def are_many(rows: rows_pb2.Rows) -> bool:
    """Return whether converting the rows would keep other calls waiting."""
    return (
        len(rows.typed.rows) > INLINE_ROWS_MAX
        or len(rows.json.rows) > INLINE_ROWS_MAX
        or len(rows.arrow_ipc) > INLINE_ARROW_BYTES_MAX
    )
