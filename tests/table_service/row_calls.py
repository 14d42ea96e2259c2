"""What the tests of rows ask, in short: tables with everything, rows as JSON or typed, refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, struct_pb2
from google.rpc import error_details_pb2

from chassis.tables import one_row, typed_rows
from chassis.values import from_value, to_value
from flux.errors.v1 import reason_pb2
from flux.table.v1 import row_service_pb2, rows_pb2, table_pb2, table_service_pb2
from tests.table_service.serving import Client, Kind, detail

Mutation = row_service_pb2.Mutation
Precondition = row_service_pb2.Precondition
PER_ROW = row_service_pb2.ERROR_MODE_PER_ROW
ALL_OR_NOTHING = row_service_pb2.ERROR_MODE_ALL_OR_NOTHING
TYPED = rows_pb2.Rows.ENCODING_TYPED
NOW = table_pb2.Default.FUNCTION_NOW
UUID = table_pb2.Default.FUNCTION_UUID
SEQUENCE = table_pb2.Default.FUNCTION_SEQUENCE


def col(
    name: str,
    kind: Any,
    *,
    default: object = None,
    made: Any = None,
    not_null: bool = False,
    **type_: Any,
) -> table_pb2.Column:
    """Return a column; `default` is a literal, `made` a function."""
    column = table_pb2.Column(name=name, type=table_pb2.Type(kind=kind, **type_), not_null=not_null)
    if made is not None:
        column.default.function = made
    elif default is not None:
        column.default.literal.CopyFrom(to_value(default))
    return column


async def create(
    client: Client,
    name: str,
    *columns: table_pb2.Column,
    keys: Mapping[str, Sequence[str]] | None = None,
    checks: Mapping[str, str] | None = None,
) -> table_pb2.Table:
    """Create a table with named keys and checks."""
    table = table_pb2.Table(
        name=name,
        columns=columns,
        unique_keys=[
            table_pb2.UniqueKey(name=key, columns=names) for key, names in (keys or {}).items()
        ],
        checks=[
            table_pb2.Check(name=check, expression=text) for check, text in (checks or {}).items()
        ],
    )
    request = table_service_pb2.CreateTableRequest(table=table)
    made: table_pb2.Table = (await client.call(client.tables.CreateTable, request)).table
    return made


async def create_goods(client: Client) -> None:
    """Create a table with one of everything: defaults, two keys, a check, a column that refuses null."""
    await create(
        client,
        "goods",
        col("code", Kind.KIND_STRING, not_null=True),
        col("price", Kind.KIND_INT32, default=10),
        col("shelf", Kind.KIND_INT32),
        col("place", Kind.KIND_STRING),
        col("number", Kind.KIND_INT64, made=SEQUENCE),
        col("note", Kind.KIND_STRING),
        keys={"code": ["code"], "spot": ["shelf", "place"]},
        checks={"cheap": "price < 1000", "fits": "shelf IS NULL OR shelf > 0"},
    )


def json_rows(*rows: Mapping[str, object]) -> rows_pb2.Rows:
    """Return rows as JSON objects, each with its own keys."""
    return rows_pb2.Rows(
        json=rows_pb2.JsonRows(
            rows=[json_format.ParseDict(dict(row), struct_pb2.Struct()) for row in rows]
        )
    )


async def insert(
    client: Client, table: str, *rows: Mapping[str, object], **fields: Any
) -> row_service_pb2.InsertRowsResponse:
    """Insert JSON rows."""
    request = row_service_pb2.InsertRowsRequest(table=table, rows=json_rows(*rows), **fields)
    answer: row_service_pb2.InsertRowsResponse = await client.call(client.rows.InsertRows, request)
    return answer


async def upsert(
    client: Client, table: str, key: str, *rows: Mapping[str, object], **fields: Any
) -> row_service_pb2.UpsertRowsResponse:
    """Upsert JSON rows."""
    request = row_service_pb2.UpsertRowsRequest(
        table=table, key=key, rows=json_rows(*rows), **fields
    )
    answer: row_service_pb2.UpsertRowsResponse = await client.call(client.rows.UpsertRows, request)
    return answer


def selection(
    filter_: str = "", *, row_ids: Sequence[int] = (), most: int | None = None
) -> row_service_pb2.RowSelection:
    """Return which rows are meant."""
    return row_service_pb2.RowSelection(filter=filter_, row_ids=row_ids, max_affected=most)


async def update_rows(
    client: Client,
    table: str,
    selected: row_service_pb2.RowSelection,
    *,
    values: Mapping[str, object] | None = None,
    parameters: Mapping[str, object] | None = None,
    **fields: Any,
) -> int:
    """Change selected rows and return how many."""
    request = row_service_pb2.UpdateRowsRequest(
        table=table,
        selection=selected,
        values=None if values is None else one_row(values),
        parameters={name: to_value(value) for name, value in (parameters or {}).items()},
        **fields,
    )
    return int((await client.call(client.rows.UpdateRows, request)).updated_count)


async def delete_rows(
    client: Client, table: str, selected: row_service_pb2.RowSelection, **fields: Any
) -> int:
    """Delete selected rows and return how many."""
    request = row_service_pb2.DeleteRowsRequest(table=table, selection=selected, **fields)
    return int((await client.call(client.rows.DeleteRows, request)).deleted_count)


async def transact(
    client: Client, *mutations: Mutation, checks: Sequence[Precondition] = (), **fields: Any
) -> list[row_service_pb2.TransactResponse.Result]:
    """Apply mutations in one commit."""
    request = row_service_pb2.TransactRequest(mutations=mutations, preconditions=checks, **fields)
    return list((await client.call(client.rows.Transact, request)).results)


def insert_of(table: str, **values: object) -> Mutation:
    """Return a mutation that inserts one row."""
    rows = typed_rows(tuple(values), [tuple(values.values())])
    return Mutation(insert=Mutation.Insert(table=table, rows=rows))


async def table_rows(
    client: Client, table: str, *columns: str, **fields: Any
) -> list[tuple[object, ...]]:
    """Return rows without the server's two columns, on one page."""
    request = row_service_pb2.ListRowsRequest(
        table=table, columns=columns, encoding=TYPED, page_size=1000, **fields
    )
    answer = await client.call(client.rows.ListRows, request)
    return [tuple(map(from_value, row.values[2:])) for row in answer.rows.typed.rows]


async def versions(client: Client, table: str) -> dict[int, int]:
    """Return the version of each row."""
    request = row_service_pb2.ListRowsRequest(table=table, encoding=TYPED, page_size=1000)
    answer = await client.call(client.rows.ListRows, request)
    return {row.values[0].int64: row.values[1].int64 for row in answer.rows.typed.rows}


async def failure(call: Any) -> grpc.aio.AioRpcError:
    """Return how the call failed."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def violations(error: grpc.aio.AioRpcError) -> list[tuple[str, str]]:
    """Return the field and the reason of each violation."""
    found = detail(error, error_details_pb2.BadRequest).field_violations
    return [(violation.field, violation.reason) for violation in found]


def row_errors(answer: Any) -> list[tuple[int, str, str]]:
    """Return the index, column and reason of each row that was not written."""
    prefix = len("ERROR_REASON_")
    return [
        (error.index, error.column, reason_pb2.ErrorReason.Name(error.reason)[prefix:])
        for error in answer.errors
    ]
