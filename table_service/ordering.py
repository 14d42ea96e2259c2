"""The order of rows as a request writes it: columns with commas between, each up or down.

Pure. Rows that are alike in all of them come by row id, so that every order is total.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chassis.faults import InvalidArgument, field_invalid
from table_service.types import ROW_ID, SYSTEM_COLUMNS, Column, Kind

ORDER_COLUMNS_MAX = 16
_NOT_ORDERED = frozenset({Kind.JSON, Kind.LIST, Kind.STRUCT, Kind.MAP, Kind.UNKNOWN})
_ITEM = re.compile(
    r"""\s*(?: "(?P<quoted>(?:[^"]|"")+)" | (?P<plain>[^\W\d]\w*) )
        (?: \s+ (?P<direction>asc|desc) )?\s*(?P<end>,|$)""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A column to order rows by. Null comes last, and first where the column goes down."""

    column: Column
    descending: bool = False


def parse_order(written: str, columns: Sequence[Column]) -> tuple[Order, ...]:
    """Return the order that `order_by` asks for, which always ends with the row id.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND; FIELDS_INVALID for what is no such list, a column of a type
            that has no order, a column that comes twice, or more than `ORDER_COLUMNS_MAX`.
    """
    known = {column.name: column for column in (*SYSTEM_COLUMNS, *columns)}
    orders: dict[str, Order] = {}
    for name, descending in _items(written):
        column = known.get(name)
        if column is None:
            raise InvalidArgument(
                "COLUMN_NOT_FOUND", f"order_by names no column {name!r}", column=name
            )
        if column.type.kind in _NOT_ORDERED:
            raise field_invalid(
                "order_by", f"column {name!r} of type {column.type.kind} has no order"
            )
        if name in orders:
            raise field_invalid("order_by", f"column {name!r} comes twice")
        if len(orders) == ORDER_COLUMNS_MAX:
            raise field_invalid("order_by", f"{ORDER_COLUMNS_MAX} columns are the most")
        orders[name] = Order(column=column, descending=descending)
        if name == ROW_ID:
            # No two rows are alike up to here; what follows decides nothing.
            return tuple(orders.values())
    return (*orders.values(), Order(column=known[ROW_ID]))


def _items(written: str) -> Iterator[tuple[str, bool]]:
    at, more = 0, bool(written.strip())
    while more:
        found = _ITEM.match(written, at)
        if found is None:
            raise field_invalid("order_by", f"no column at {written[at : at + 20].strip()!r}")
        name = found["plain"] or found["quoted"].replace('""', '"')
        yield name, (found["direction"] or "").lower() == "desc"
        at, more = found.end(), found["end"] == ","
