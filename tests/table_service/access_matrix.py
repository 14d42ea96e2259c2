"""Every method of table_service with the rights that it needs, and every kind of caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from chassis.values import to_value
from flux.table.v1 import (
    grant_pb2,
    migration_pb2,
    query_service_pb2,
    row_service_pb2,
    rows_pb2,
    table_pb2,
    table_service_pb2,
)
from table_service.access import Right
from tests.table_service.serving import Kind, column

R, T, Q = row_service_pb2, table_service_pb2, query_service_pb2
READ, INSERT, UPDATE = Right.READ, Right.INSERT, Right.UPDATE
DELETE, ALTER, GRANT = Right.DELETE, Right.ALTER, Right.GRANT


class Needs(Enum):
    """What is needed that is no right on a table."""

    NOTHING = "nothing"
    ADMIN = "the role admin"
    ROLE = "any role"
    OWN_DATASET = "a dataset of one's own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A request about a table, and the rights that it needs; none at all means any right."""

    request: Callable[[str], Any]
    needs: tuple[Right, ...] | Needs


def rows() -> rows_pb2.Rows:
    one = rows_pb2.TypedRow(values=[to_value(1)])
    return rows_pb2.Rows(typed=rows_pb2.TypedRows(columns=["id"], rows=[one]))


def grant(table: str) -> dict[str, Any]:
    return {
        "table": table,
        "grant": grant_pb2.Grant(user_id="usr_nobody", rights=[grant_pb2.RIGHT_READ]),
    }


def file(table: str, mode: Any = R.ImportHeader.MODE_APPEND, **fields: Any) -> Any:
    # The header alone: who is turned away need not send more, and what is let in fails later.
    header = R.ImportHeader(table=table, format=R.FILE_FORMAT_CSV, mode=mode, **fields)
    return [R.ImportRowsRequest(header=header)]


def described(text: str) -> migration_pb2.SchemaOperation:
    change = migration_pb2.SchemaOperation.SetDescription(column="id", description=text)
    return migration_pb2.SchemaOperation(set_description=change)


def transact(table: str, **kind: Any) -> R.TransactRequest:
    [(name, fields)] = kind.items()
    message = getattr(R.Mutation, "".join(map(str.capitalize, name.split("_"))))
    return R.TransactRequest(mutations=[R.Mutation(**{name: message(table=table, **fields)})])


# Stand for the ids of a table that is deleted, and of the owner's dataset.
DELETED, OWNERS = "deleted", "owners"
BY_ID = R.RowSelection(row_ids=[999])
FILTERED = R.RowSelection(filter="id = 999")
PLAIN = {"rows": rows()}

# One entry a way in: the method's name, and after a colon which of its ways.
MATRIX: dict[str, Method] = {
    # flux.table.v1.TableService
    "CreateTable": Method(
        request=lambda t: T.CreateTableRequest(
            table=table_pb2.Table(name=t, columns=[column("id", Kind.KIND_INT64)])
        ),
        needs=Needs.ROLE,
    ),
    "GetTable": Method(request=lambda t: T.GetTableRequest(table=t), needs=()),
    "ListTables": Method(request=lambda t: T.ListTablesRequest(), needs=Needs.NOTHING),
    "UpdateTable": Method(
        request=lambda t: T.UpdateTableRequest(
            table=t, values=table_pb2.Table(description="x"), etag="other"
        ),
        needs=(ALTER,),
    ),
    "DeleteTable": Method(request=lambda t: T.DeleteTableRequest(table=t), needs=(ALTER,)),
    "UndeleteTable": Method(
        request=lambda t: T.UndeleteTableRequest(table_id=DELETED, name=t), needs=(ALTER,)
    ),
    "PurgeTable": Method(
        request=lambda t: T.PurgeTableRequest(table_id=DELETED), needs=Needs.ADMIN
    ),
    "AlterTable": Method(
        request=lambda t: T.AlterTableRequest(table=t, operations=[described("x")], etag="other"),
        needs=(ALTER,),
    ),
    "RevertTable": Method(
        request=lambda t: T.RevertTableRequest(table=t, schema_version=99), needs=(ALTER,)
    ),
    "ListTableVersions": Method(request=lambda t: T.ListTableVersionsRequest(table=t), needs=()),
    "GetTableVersion": Method(
        request=lambda t: T.GetTableVersionRequest(table=t, schema_version=1), needs=()
    ),
    "ListTableEvents": Method(request=lambda t: T.ListTableEventsRequest(table=t), needs=(ALTER,)),
    "ListTableEvents: all": Method(request=lambda t: T.ListTableEventsRequest(), needs=Needs.ADMIN),
    "GrantAccess": Method(request=lambda t: T.GrantAccessRequest(**grant(t)), needs=(GRANT, READ)),
    "RevokeAccess": Method(
        request=lambda t: T.RevokeAccessRequest(**grant(t)), needs=(GRANT, READ)
    ),
    "ListGrants": Method(request=lambda t: T.ListGrantsRequest(table=t), needs=(GRANT,)),
    "CheckAccess": Method(
        request=lambda t: T.CheckAccessRequest(table=t, right=grant_pb2.RIGHT_READ), needs=()
    ),
    "CheckAccess: another's": Method(
        request=lambda t: T.CheckAccessRequest(
            table=t, right=grant_pb2.RIGHT_READ, user_id="usr_x"
        ),
        needs=(GRANT,),
    ),
    # flux.table.v1.RowService
    "InsertRows": Method(
        request=lambda t: R.InsertRowsRequest(table=t, rows=rows()), needs=(INSERT,)
    ),
    "GetRow": Method(request=lambda t: R.GetRowRequest(table=t, row_id=999), needs=(READ,)),
    "UpsertRows": Method(
        request=lambda t: R.UpsertRowsRequest(table=t, key="id", rows=rows()),
        needs=(INSERT, UPDATE),
    ),
    "UpdateRows": Method(
        request=lambda t: R.UpdateRowsRequest(table=t, selection=BY_ID, values=rows()),
        needs=(UPDATE,),
    ),
    "UpdateRows: filter": Method(
        request=lambda t: R.UpdateRowsRequest(table=t, selection=FILTERED, values=rows()),
        needs=(UPDATE, READ),
    ),
    "UpdateRows: expression": Method(
        request=lambda t: R.UpdateRowsRequest(
            table=t, selection=BY_ID, expressions={"id": "id + 1"}
        ),
        needs=(UPDATE, READ),
    ),
    "DeleteRows": Method(
        request=lambda t: R.DeleteRowsRequest(table=t, selection=BY_ID), needs=(DELETE,)
    ),
    "DeleteRows: filter": Method(
        request=lambda t: R.DeleteRowsRequest(table=t, selection=FILTERED), needs=(DELETE, READ)
    ),
    "ListRows": Method(request=lambda t: R.ListRowsRequest(table=t), needs=(READ,)),
    "ListRows: count": Method(
        request=lambda t: R.ListRowsRequest(table=t, count=True), needs=(READ,)
    ),
    "UpdateRow": Method(
        request=lambda t: R.UpdateRowRequest(table=t, row_id=999, values=rows()), needs=(UPDATE,)
    ),
    "DeleteRow": Method(request=lambda t: R.DeleteRowRequest(table=t, row_id=999), needs=(DELETE,)),
    "Transact: insert": Method(request=lambda t: transact(t, insert=PLAIN), needs=(INSERT,)),
    "Transact: upsert": Method(
        request=lambda t: transact(t, upsert={**PLAIN, "key_columns": ["id"]}),
        needs=(INSERT, UPDATE),
    ),
    "Transact: update": Method(
        request=lambda t: transact(t, update={"row_id": 999, "values": rows()}), needs=(UPDATE,)
    ),
    "Transact: delete": Method(
        request=lambda t: transact(t, delete={"row_id": 999}), needs=(DELETE,)
    ),
    "Transact: update selected": Method(
        request=lambda t: transact(t, update_selected={"selection": FILTERED, "values": rows()}),
        needs=(UPDATE, READ),
    ),
    "Transact: delete selected": Method(
        request=lambda t: transact(t, delete_selected={"selection": FILTERED}),
        needs=(DELETE, READ),
    ),
    "Transact: precondition": Method(
        request=lambda t: R.TransactRequest(
            preconditions=[
                R.Precondition(row_absent=R.Precondition.RowAbsent(table=t, key=rows()))
            ],
            mutations=transact(t, delete={"row_id": 999}).mutations,
        ),
        needs=(READ, DELETE),
    ),
    "ImportRows": Method(request=file, needs=(INSERT,)),
    "ImportRows: replace": Method(
        request=lambda t: file(t, R.ImportHeader.MODE_REPLACE), needs=(INSERT, DELETE)
    ),
    "PreviewImport": Method(
        request=lambda t: [
            R.PreviewImportRequest(header=R.PreviewHeader(format=R.FILE_FORMAT_CSV, table=t)),
        ],
        needs=(INSERT,),
    ),
    "ExportRows": Method(
        request=lambda t: R.ExportRowsRequest(table=t, format=R.FILE_FORMAT_CSV), needs=(READ,)
    ),
    "ExportRows: query": Method(
        request=lambda t: R.ExportRowsRequest(sql=f"FROM {t}", format=R.FILE_FORMAT_CSV),
        needs=(READ,),
    ),
    # flux.table.v1.QueryService
    "Query": Method(request=lambda t: Q.QueryRequest(sql=f"FROM {t}"), needs=(READ,)),
    "Query: count": Method(
        request=lambda t: Q.QueryRequest(sql=f"SELECT 1 WHERE EXISTS (FROM {t})"), needs=(READ,)
    ),
    "DescribeQuery": Method(
        request=lambda t: Q.DescribeQueryRequest(sql=f"FROM {t}"), needs=(READ,)
    ),
    "ExplainQuery": Method(request=lambda t: Q.ExplainQueryRequest(sql=f"FROM {t}"), needs=(READ,)),
    "CreateDataset": Method(
        request=lambda t: Q.CreateDatasetRequest(sql=f"FROM {t}"), needs=(READ,)
    ),
    "GetDataset": Method(
        request=lambda t: Q.GetDatasetRequest(dataset_id=OWNERS), needs=Needs.OWN_DATASET
    ),
    "DeleteDataset": Method(
        request=lambda t: Q.DeleteDatasetRequest(dataset_id="ds_none"), needs=Needs.NOTHING
    ),
}

# Who calls: (subject, role, rights). A service has no role.
ALL = frozenset(Right)
CALLERS: dict[str, tuple[str, str, frozenset[Right]]] = {
    "owner": ("usr_1", "editor", ALL),
    "administrator": ("usr_admin", "admin", ALL),
    **{
        f"granted {right}": (f"usr_{right.lower()}", "editor", frozenset({right}))
        for right in Right
    },
    "granted all": ("usr_all", "editor", ALL),
    "stranger": ("usr_stranger", "editor", frozenset()),
    "service": ("workflow", "", frozenset()),
    "service with a grant": ("auth", "", frozenset({READ})),
}
SHUT = {
    "TABLE_NOT_FOUND",
    "RIGHT_REQUIRED",
    "NAMESPACE_CLOSED",
    "ROLE_REQUIRED",
    "DATASET_NOT_FOUND",
}
