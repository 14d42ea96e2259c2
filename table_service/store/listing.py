"""Reading rows of one table: by id, and page by page through a filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import duckdb
import pyarrow as pa

from chassis.faults import InvalidArgument
from table_service import sandbox
from table_service.store.readers import read_arrow
from table_service.store.rows import row_not_found
from table_service.store.statements import bound, serialised
from table_service.store.transaction import physical
from table_service.tables import Table
from table_service.types import ROW_ID, SYSTEM_COLUMNS, Column, outgoing_list

_FILTERS_KEPT = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What to read: rows after a row id, at most `size`, for which `filter` holds; empty means all."""

    columns: tuple[Column, ...]
    after: int
    size: int
    filter: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filter:
    """A checked filter as SQL, and the parameters it names."""

    sql: str
    parameters: frozenset[str]


def read_columns(table: Table, names: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of an answer: the server's two, then those named, or all.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND.
    """
    chosen = tuple(table.column(name) for name in names) if names else table.columns
    return (*SYSTEM_COLUMNS, *chosen)


def get_row(cursor: duckdb.DuckDBPyConnection, table: Table, row_id: int) -> pa.Table:
    """Return one row as carriers, the server's columns first.

    Raises:
        NotFound: ROW_NOT_FOUND.
    """
    columns = read_columns(table, ())
    found = read_arrow(
        cursor,
        f"SELECT {outgoing_list(columns)} FROM {physical(table)} WHERE {ROW_ID} = {row_id:d}",
    )
    if found.num_rows == 0:
        raise row_not_found(table, row_id)
    return found


class Lister:
    """Lists rows; remembers the filters it has checked. Any reader thread may use it."""

    def __init__(self) -> None:
        self._checked = lru_cache(_FILTERS_KEPT)(_unchecked)

    def page(
        self, cursor: duckdb.DuckDBPyConnection, table: Table, page: Page
    ) -> tuple[pa.Table, int | None]:
        """Return a page of carriers and the row id to go on after; None on the last page.

        Raises:
            InvalidArgument: SQL_INVALID or SQL_REFUSED for the filter.
        """
        where = f"{ROW_ID} > {page.after:d}"
        parameters: dict[str, object] = {}
        if page.filter:
            names = tuple(column.name for column in (*SYSTEM_COLUMNS, *table.columns))
            checked = self._filter(cursor, page.filter, names)
            for name in sorted(checked.parameters - page.parameters.keys()):
                raise InvalidArgument(
                    "SQL_INVALID", f"the filter's ${name} has no value", parameter=name
                )
            parameters = bound({name: page.parameters[name] for name in checked.parameters})
            where = f"{where} AND {checked.sql}"
        found = read_arrow(
            cursor,
            f"SELECT {outgoing_list(page.columns)} FROM {physical(table)} WHERE {where}"
            f" ORDER BY {ROW_ID} LIMIT {page.size + 1:d}",
            parameters,
        )
        if found.num_rows <= page.size:
            return found, None
        found = found.slice(0, page.size)
        return found, found.column(0)[page.size - 1].as_py()

    def _filter(
        self, cursor: duckdb.DuckDBPyConnection, written: str, columns: tuple[str, ...]
    ) -> _Filter:
        entry = self._checked(written, columns)
        if not entry:
            entry.append(_check(cursor, written, columns))
        return entry[0]


def _unchecked(written: str, columns: tuple[str, ...]) -> list[_Filter]:
    """Return the place for a filter's checked form, which an error leaves empty."""
    return []


def _check(cursor: duckdb.DuckDBPyConnection, written: str, columns: tuple[str, ...]) -> _Filter:
    serialized = serialised(cursor, sandbox.expression_statement(written))
    tree = sandbox.parse(serialized)
    sandbox.check_expression(tree, columns)
    [[checked]] = cursor.execute("SELECT json_deserialize_sql($1::JSON)", [serialized]).fetchall()
    return _Filter(
        sql=sandbox.expression_sql(checked), parameters=frozenset(sandbox.parameters(tree))
    )
