"""Lists and updates of tables as messages."""

from __future__ import annotations

from collections import OrderedDict

from flux.table.v1 import table_pb2
from flux.table.v1 import table_service_pb2 as messages
from table_service.table_lists import TableFilter, TableOrder
from table_service.table_updates import TableUpdate
from table_service.tables import Table, TableState
from table_service.wire import namespace_of, to_table

# A page ends before it is larger, whatever its size was to be; it has one table at least.
PAGE_BYTES_MAX = 4 * 1024 * 1024
_REMEMBERED_MAX = 4_000

_ORDERS = {
    messages.ListTablesRequest.ORDER_UNSPECIFIED: TableOrder.NAME,
    messages.ListTablesRequest.ORDER_NAME: TableOrder.NAME,
    messages.ListTablesRequest.ORDER_CREATE_TIME: TableOrder.CREATE_TIME,
    messages.ListTablesRequest.ORDER_UPDATE_TIME: TableOrder.UPDATE_TIME,
}
_STATES = {
    table_pb2.Table.STATE_UNSPECIFIED: TableState.ACTIVE,
    table_pb2.Table.STATE_ACTIVE: TableState.ACTIVE,
    table_pb2.Table.STATE_DELETED: TableState.DELETED,
}


class TableMessages:
    """Messages of committed tables, remembered: making one costs more than all else in a list."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, int], tuple[table_pb2.Table, int]] = OrderedDict()

    def of(self, table: Table) -> tuple[table_pb2.Table, int]:
        """Return the message of a table, which must not be changed, and its size in bytes."""
        key = (table.id, table.revision)
        made = self._made.get(key)
        if made is None:
            message = to_table(table)
            made = self._made[key] = (message, message.ByteSize())
            if len(self._made) > _REMEMBERED_MAX:
                self._made.popitem(last=False)
        return made


def table_filter(request: messages.ListTablesRequest) -> TableFilter:
    """Return which tables a list is of."""
    return TableFilter(
        namespace=namespace_of(request.namespace),
        state=_STATES[request.state],
        name_prefix=request.name_prefix,
        labels=dict(request.labels),
        owner=request.owner,
    )


def from_order(request: messages.ListTablesRequest) -> TableOrder:
    """Return the order of a list."""
    return _ORDERS[request.order]


def list_binding(request: messages.ListTablesRequest) -> bytes:
    """Return what a page token depends on: everything in the request but where and how many."""
    bound = messages.ListTablesRequest()
    bound.CopyFrom(request)
    bound.page_size, bound.page_token = 0, ""
    return b"ListTables " + bound.SerializeToString(deterministic=True)


def from_update(request: messages.UpdateTableRequest) -> TableUpdate:
    """Return the values that an update carries, whether it is to change them or not."""
    return TableUpdate(
        name=request.values.name,
        description=request.values.description,
        labels=dict(request.values.labels),
    )
