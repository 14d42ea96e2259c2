"""Reading rows of one table: by id, and page by page through a filter, in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from chassis.faults import OutOfRange
from table_service.ordering import Order
from table_service.store.expressions import TRUE, Expressions, values_of
from table_service.store.ordering import (
    Position,
    RowPosition,
    after_sql,
    position_list,
    sort_sql,
    write_position,
)
from table_service.store.readers import read_arrow
from table_service.store.statements import reading
from table_service.store.transaction import physical
from table_service.tables import Table
from table_service.types import ROW_ID, SYSTEM_COLUMNS, VERSION, Column, outgoing_list


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What to read: at most `size` rows for which `filter` holds (empty: all), in an order that is total.

    `after`: where the page before ended; None for the first. `count`: whether to count all that the filter
    holds for.
    """

    columns: tuple[Column, ...]
    orders: tuple[Order, ...]
    after: Position | RowPosition | None
    size: int
    filter: str
    parameters: Mapping[str, object]
    count: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A page: rows of carriers, the values by which each is sorted, and whether there are more.

    `total_count` is None unless it was asked for.
    """

    rows: pa.Table
    sorted_by: pa.Table
    more: bool
    total_count: int | None

    def position(self, at: int) -> str:
        """Return where a page goes on after one of these rows; the first two columns are the server's."""
        values = tuple(column[at].as_py() for column in self.sorted_by.columns)
        return write_position(Position(values=values), self.rows.column(1)[at].as_py())


def read_columns(table: Table, names: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of an answer: the server's two, then those named, or all.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND.
    """
    chosen = tuple(table.column(name) for name in names) if names else table.columns
    return (*SYSTEM_COLUMNS, *chosen)


class Lister:
    """Lists rows. Any reader thread may use it."""

    def __init__(self, expressions: Expressions) -> None:
        self._expressions = expressions

    def page(self, cursor: duckdb.DuckDBPyConnection, table: Table, page: Page) -> Listed:
        """Return a page, and the count as of the same moment.

        Raises:
            InvalidArgument: SQL_INVALID, SQL_REFUSED or QUERY_FAILED for the filter.
            OutOfRange: PAGE_TOKEN_INVALID if the row where the page before ended has gone or changed,
                where its values were too long to be kept.
        """
        with reading(cursor):
            return self._page(cursor, table, page)

    def _page(self, cursor: duckdb.DuckDBPyConnection, table: Table, page: Page) -> Listed:
        expression = (
            self._expressions.check(cursor, page.filter, table, "filter") if page.filter else TRUE
        )
        bindings = values_of([expression], page.parameters)
        where, total_count = expression.sql, None
        if page.count:
            sql = f"SELECT count(*) FROM {physical(table)} WHERE {where}"
            [[total_count]] = cursor.execute(sql, bindings or None).fetchall()
        if page.after is not None:
            after = _position(cursor, table, page.orders, page.after)
            condition, values = after_sql(page.orders, after, bindings.keys())
            where, bindings = f"{condition} AND {where}", bindings | values
        found = read_arrow(
            cursor,
            # What is converted is what was chosen, and not every row.
            f"SELECT {outgoing_list(page.columns)}, {position_list(page.orders)}"
            f" FROM (FROM {physical(table)} AS t WHERE {where}"
            f" ORDER BY {sort_sql(page.orders)} LIMIT {page.size + 1:d}) AS t"
            f" ORDER BY {sort_sql(page.orders)}",
            bindings,
        )
        width, shown = len(page.columns), found.slice(0, page.size)
        return Listed(
            rows=shown.select(range(width)),
            sorted_by=shown.select(range(width, found.num_columns)),
            more=found.num_rows > page.size,
            total_count=total_count,
        )


def _position(
    cursor: duckdb.DuckDBPyConnection,
    table: Table,
    orders: Sequence[Order],
    after: Position | RowPosition,
) -> Position:
    if isinstance(after, Position):
        return after
    found = cursor.execute(
        f"SELECT {position_list(orders)} FROM {physical(table)} AS t"
        f" WHERE {ROW_ID} = {after.row_id:d} AND {VERSION} = {after.version:d}"
    ).fetchall()
    if not found:
        raise OutOfRange(
            "PAGE_TOKEN_INVALID",
            f"row {after.row_id}, with which the page before ended, has changed; begin again",
            row_id=after.row_id,
        )
    return Position(values=found[0])
