"""Messages and domain values, both ways."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from chassis.faults import InvalidArgument
from chassis.identity import Principal
from chassis.values import from_value, to_value
from flux.table.v1 import rows_pb2, table_pb2
from table_service.schemas import PlacedCheck, PlacedKey
from table_service.store.receipts import RECEIPT_TTL, ReceiptKey
from table_service.tables import MAIN, Check, Table, TableState, UniqueKey, free_name
from table_service.types import Column, Default, DefaultFunction, Kind, Type

# Rows past this many are converted in a thread, so that other calls go on.
INLINE_ROWS_MAX = 500
INLINE_ARROW_BYTES_MAX = 64 * 1024
INLINE_BYTES_MAX = 256 * 1024

_KINDS = {
    kind: table_pb2.Type.Kind.Value(f"KIND_{kind}")  # the names are the same by intent
    for kind in Kind
}
_KINDS_READ = {number: kind for kind, number in _KINDS.items()}
_FUNCTIONS = {
    function: table_pb2.Default.Function.Value(f"FUNCTION_{function}")
    for function in DefaultFunction
}
_FUNCTIONS_READ = {number: function for function, number in _FUNCTIONS.items()}
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
        labels=type_.labels,
    )


def from_type(message: table_pb2.Type) -> Type:
    """Return a type.

    Raises:
        InvalidArgument: SCHEMA_INVALID for a struct's field with a key or a check of its own.
    """
    for field in message.fields:
        if field.unique or field.check:
            why = f"field {field.name!r}: a struct's fields have no keys and no checks"
            raise InvalidArgument("SCHEMA_INVALID", why, field=field.name)
    return Type(
        kind=_KINDS_READ[message.kind],
        precision=message.precision,
        scale=message.scale,
        element=from_type(message.element) if message.HasField("element") else None,
        fields=from_columns(message.fields),
        labels=tuple(message.labels),
    )


def to_columns(columns: Iterable[Column]) -> list[table_pb2.Column]:
    """Return columns as messages."""
    return [
        table_pb2.Column(
            name=column.name,
            type=to_type(column.type),
            not_null=column.not_null,
            description=column.description,
            id=column.id,
            default=to_default(column.default) if column.default else None,
        )
        for column in columns
    ]


def to_default(default: Default) -> table_pb2.Default:
    """Return a default as a message."""
    if default.function is None:
        return table_pb2.Default(literal=to_value(default.literal))
    return table_pb2.Default(function=_FUNCTIONS[default.function])


def from_default(message: table_pb2.Default) -> Default:
    """Return a default."""
    if message.WhichOneof("kind") == "function":
        return Default(function=_FUNCTIONS_READ[message.function])
    return Default(literal=from_value(message.literal))


def from_columns(messages: Iterable[table_pb2.Column]) -> tuple[Column, ...]:
    """Return columns."""
    return tuple(
        Column(
            name=message.name,
            type=from_type(message.type),
            not_null=message.not_null,
            description=message.description,
            default=from_default(message.default) if message.HasField("default") else None,
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
        unique_keys=to_unique_keys(table.unique_keys),
        checks=to_checks(table.checks),
        labels=table.labels,
        etag=table.etag,
        id=table.id,
        state=_STATES[table.state],
        schema_version=table.schema_version,
        owner=table.owner,
    )
    message.create_time.FromDatetime(table.create_time)
    message.update_time.FromDatetime(table.update_time)
    if table.delete_time is not None:
        message.delete_time.FromDatetime(table.delete_time)
    return message


def from_unique_key(message: table_pb2.UniqueKey) -> UniqueKey:
    """Return a unique key, which has no name yet if none is given."""
    return UniqueKey(name=message.name, columns=tuple(message.columns))


def from_check(message: table_pb2.Check) -> Check:
    """Return a check, which has no name yet if none is given."""
    return Check(name=message.name, expression=message.expression)


def placed_keys(message: table_pb2.Table, path: str = "table") -> list[PlacedKey]:
    """Return the unique keys of a new table, those that are written with their column last.

    `path` is where the request describes it.
    """
    keys = [
        PlacedKey(path=f"{path}.unique_keys[{at}]", key=from_unique_key(key))
        for at, key in enumerate(message.unique_keys)
    ]
    return keys + [
        PlacedKey(
            path=f"{path}.columns[{at}].unique", key=UniqueKey(name="", columns=(column.name,))
        )
        for at, column in enumerate(message.columns)
        if column.unique
    ]


def placed_checks(message: table_pb2.Table, path: str = "table") -> list[PlacedCheck]:
    """Return the checks of a new table, those that are written with their column last.

    `path` is where the request describes it.
    """
    checks = [
        PlacedCheck(
            path=f"{path}.checks[{at}]",
            expression_path=f"{path}.checks[{at}].expression",
            check=from_check(check),
        )
        for at, check in enumerate(message.checks)
    ]
    taken = {placed.check.name for placed in checks}
    for at, column in enumerate(message.columns):
        if column.check:
            name = free_name(f"{column.name}_check", taken)
            taken.add(name)
            check, where = Check(name=name, expression=column.check), f"{path}.columns[{at}].check"
            checks.append(PlacedCheck(path=where, expression_path=where, check=check))
    return checks


def to_unique_keys(keys: Iterable[UniqueKey]) -> list[table_pb2.UniqueKey]:
    """Return unique keys as messages."""
    return [table_pb2.UniqueKey(name=key.name, columns=key.columns) for key in keys]


def to_checks(checks: Iterable[Check]) -> list[table_pb2.Check]:
    """Return checks as messages."""
    return [table_pb2.Check(name=check.name, expression=check.expression) for check in checks]


def namespace_of(written: str) -> str:
    """Return the namespace that a request names; empty means "main"."""
    return written or MAIN


def receipt_key(principal: Principal, request: Message) -> ReceiptKey | None:
    """Return under what the answer to a write is kept, or None if it came without a request_id.

    The digest covers the method, by the type of its request, and everything in the request but its id and
    how long its answer is kept, which are taken out of it.
    """
    request_id, ttl = _take_receipt_fields(request)
    if not request_id:
        return None
    digest = blake2b(request.DESCRIPTOR.full_name.encode(), digest_size=16)
    digest.update(request.SerializeToString(deterministic=True))
    return ReceiptKey(
        subject=principal.subject, request_id=str(UUID(request_id)), digest=digest.digest(), ttl=ttl
    )


def _take_receipt_fields(request: Any) -> tuple[str, timedelta]:
    request_id: str = request.request_id
    ttl = RECEIPT_TTL
    if request.HasField("receipt_ttl"):
        ttl = request.receipt_ttl.ToTimedelta()
        request.ClearField("receipt_ttl")
    request.request_id = ""
    return request_id, ttl


def are_many(*messages: rows_pb2.Rows) -> bool:
    """Return whether all of these rows together are too many to be decoded where others wait."""
    return (
        sum(map(row_count, messages)) > INLINE_ROWS_MAX
        or sum(len(rows.arrow_ipc) for rows in messages) > INLINE_ARROW_BYTES_MAX
        or sum(rows.ByteSize() for rows in messages) > INLINE_BYTES_MAX
    )


def row_count(rows: rows_pb2.Rows) -> int:
    """Return how many rows there are, if they are not Arrow, where only reading them tells."""
    return len(rows.typed.rows) + len(rows.json.rows)
