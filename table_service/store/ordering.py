"""Pages of rows in any order: SQL that sorts, and SQL that goes on after the last row of a page.

A page begins after a position: the values by which its predecessor's last row was sorted. So no row is
counted, and rows that come and go meanwhile move no page.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from chassis.faults import InvalidArgument
from table_service.ordering import Order
from table_service.types import quoted, sql_type

# What fits into a page token.
POSITION_BYTES_MAX = 700


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The values, as texts, by which a row is sorted, the row id last; None is null."""

    values: tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPosition:
    """A row whose values are too long to be told: it must still be there, at that version."""

    row_id: int
    version: int


def sort_sql(orders: Sequence[Order]) -> str:
    """Return what stands after ORDER BY, where the table is called `t`."""
    return ", ".join(
        f"{_column(order)} {'DESC NULLS FIRST' if order.descending else 'NULLS LAST'}"
        for order in orders
    )


def position_list(orders: Sequence[Order]) -> str:
    """Return a select list of the values of a position, where the table is called `t`."""
    return ", ".join(
        f'CAST({_column(order)} AS VARCHAR) AS "__order_{at}"' for at, order in enumerate(orders)
    )


def after_sql(
    orders: Sequence[Order], position: Position, taken: Collection[str]
) -> tuple[str, dict[str, str]]:
    """Return a condition for the rows of `t` after a position, and its parameters; none is `taken`."""
    names = _free_names(taken, len(orders))
    condition = "false"
    parameters: dict[str, str] = {}
    for at, (order, value) in reversed(list(enumerate(zip(orders, position.values, strict=True)))):
        name, parameter = _column(order), names[at]
        if value is None:
            beyond, same = f"{name} IS NOT NULL" if order.descending else "false", f"{name} IS NULL"
        else:
            parameters[parameter] = value
            stands = f"CAST(${parameter} AS {sql_type(order.column.type)})"
            beyond, same = (
                f"{name} {'<' if order.descending else '>'} {stands}",
                f"{name} = {stands}",
            )
            if not order.descending and not order.column.not_null:
                beyond = f"{beyond} OR {name} IS NULL"
        condition = beyond if condition == "false" else f"{beyond} OR ({same} AND ({condition}))"
    return f"({condition})", parameters


def write_position(position: Position, version: int) -> str:
    """Return the text of a position of a row at that version."""
    written = json.dumps(position.values, ensure_ascii=False, separators=(",", ":"))
    if len(written.encode()) <= POSITION_BYTES_MAX:
        return written
    return json.dumps({"row": position.values[-1], "version": version})


def read_position(written: str, orders: Sequence[Order]) -> Position | RowPosition | None:
    """Return the position that `write_position` wrote; None for the empty text, the beginning.

    Raises:
        InvalidArgument: PAGE_TOKEN_INVALID.
    """
    if not written:
        return None
    try:
        read = json.loads(written)
        if isinstance(read, dict):
            return RowPosition(row_id=int(read["row"]), version=int(read["version"]))
        *values, row_id = (None if value is None else str(value) for value in read)
        if len(read) == len(orders) and row_id is not None:
            return Position(values=(*values, str(int(row_id))))
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise InvalidArgument("PAGE_TOKEN_INVALID", "page_token does not belong to this request")


def _free_names(taken: Collection[str], count: int) -> list[str]:
    """Return names for parameters beside those `taken`; DuckDB takes no names beside numbers."""
    numbers = [int(name) for name in taken if name.isdigit()]
    if numbers:
        return [str(at) for at in range(max(numbers) + 1, max(numbers) + 1 + count)]
    prefix = "after_"
    while any(name.startswith(prefix) for name in taken):
        prefix += "_"
    return [f"{prefix}{at}" for at in range(count)]


def _column(order: Order) -> str:
    # Without the table's name it could be the carrier in the select list, which is sorted otherwise.
    return f"t.{quoted(order.column.name)}"
