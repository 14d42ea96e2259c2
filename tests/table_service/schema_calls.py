"""Calls that define tables and change their schemas, for the tests of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chassis.values import to_value
from flux.table.v1 import migration_pb2, row_service_pb2, table_pb2
from flux.table.v1 import table_service_pb2 as messages
from tests.table_service.encoded import typed
from tests.table_service.serving import Client, Kind

Operation = migration_pb2.SchemaOperation
Plan = migration_pb2.MigrationPlan
Function = table_pb2.Default


def of_type(kind: str, **parameters: Any) -> table_pb2.Type:
    """Return a type by the name of its kind."""
    return table_pb2.Type(kind=Kind.Value(f"KIND_{kind}"), **parameters)


def a_column(name: str, kind: str = "INT64", **fields: Any) -> table_pb2.Column:
    """Return a column with a type without parameters, unless `type` is given."""
    return table_pb2.Column(name=name, type=fields.pop("type", of_type(kind)), **fields)


def literal(value: object) -> table_pb2.Default:
    """Return a default that is a value."""
    return table_pb2.Default(literal=to_value(value))


def function(name: str) -> table_pb2.Default:
    """Return a default that is made anew."""
    return table_pb2.Default(function=table_pb2.Default.Function.Value(f"FUNCTION_{name}"))


def add(column: table_pb2.Column, after: str = "") -> Operation:
    """Return an operation that adds a column."""
    return Operation(add_column=Operation.AddColumn(column=column, after=after))


def drop(column: str) -> Operation:
    """Return an operation that drops a column."""
    return Operation(drop_column=Operation.DropColumn(column=column))


def rename(column: str, new_name: str) -> Operation:
    """Return an operation that renames a column."""
    return Operation(rename_column=Operation.RenameColumn(column=column, new_name=new_name))


def retype(column: str, kind: str, using: str = "", **parameters: Any) -> Operation:
    """Return an operation that gives a column another type."""
    type_ = of_type(kind, **parameters)
    return Operation(retype_column=Operation.RetypeColumn(column=column, type=type_, using=using))


def set_default(column: str, default: table_pb2.Default | None) -> Operation:
    """Return an operation that gives a column a default, or takes it away."""
    if default is None:
        return Operation(drop_default=Operation.DropDefault(column=column))
    return Operation(set_default=Operation.SetDefault(column=column, default=default))


def set_not_null(column: str, *, not_null: bool = True) -> Operation:
    """Return an operation that makes a column refuse null, or take it."""
    if not_null:
        return Operation(set_not_null=Operation.SetNotNull(column=column))
    return Operation(drop_not_null=Operation.DropNotNull(column=column))


def describe(column: str, description: str) -> Operation:
    """Return an operation that describes a column."""
    return Operation(
        set_description=Operation.SetDescription(column=column, description=description)
    )


def add_key(*columns: str, name: str = "") -> Operation:
    """Return an operation that adds a unique key."""
    key = table_pb2.UniqueKey(columns=columns, name=name)
    return Operation(add_unique_key=Operation.AddUniqueKey(key=key))


def drop_key(name: str) -> Operation:
    """Return an operation that drops a unique key."""
    return Operation(drop_unique_key=Operation.DropUniqueKey(name=name))


def add_check(expression: str, name: str = "") -> Operation:
    """Return an operation that adds a check."""
    check = table_pb2.Check(expression=expression, name=name)
    return Operation(add_check=Operation.AddCheck(check=check))


def drop_check(name: str) -> Operation:
    """Return an operation that drops a check."""
    return Operation(drop_check=Operation.DropCheck(name=name))


def reorder(*columns: str) -> Operation:
    """Return an operation that orders the columns."""
    return Operation(reorder_columns=Operation.ReorderColumns(columns=columns))


async def create(client: Client, name: str, *columns: table_pb2.Column, **fields: Any) -> Any:
    """Create a table and return it."""
    table = table_pb2.Table(name=name, columns=columns, **fields)
    request = messages.CreateTableRequest(table=table)
    return (await client.call(client.tables.CreateTable, request)).table


async def alter(client: Client, table: str, *operations: Operation, **fields: Any) -> Any:
    """Change a table's schema and return the answer."""
    request = messages.AlterTableRequest(table=table, operations=operations, **fields)
    return await client.call(client.tables.AlterTable, request)


async def revert(client: Client, table: str, version: int, **fields: Any) -> Any:
    """Bring an earlier schema back and return the answer."""
    request = messages.RevertTableRequest(table=table, schema_version=version, **fields)
    return await client.call(client.tables.RevertTable, request)


async def get(client: Client, table: str) -> Any:
    """Return a table."""
    request = messages.GetTableRequest(table=table)
    return (await client.call(client.tables.GetTable, request)).table


async def insert(
    client: Client, table: str, columns: Sequence[str], *rows: Sequence[object]
) -> list[int]:
    """Insert typed rows and return their ids."""
    request = row_service_pb2.InsertRowsRequest(table=table, rows=typed(columns, *rows))
    return list((await client.call(client.rows.InsertRows, request)).row_ids)


async def versions(client: Client, table: str) -> list[Any]:
    """Return the versions of a table's schema, newest first."""
    request = messages.ListTableVersionsRequest(table=table)
    return list((await client.call(client.tables.ListTableVersions, request)).versions)


async def events(client: Client, table: str = "", **fields: Any) -> list[Any]:
    """Return what was done to a table, newest first."""
    request = messages.ListTableEventsRequest(table=table, **fields)
    return list((await client.call(client.tables.ListTableEvents, request)).events)
