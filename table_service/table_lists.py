"""Lists of tables: which a caller is shown, in which order, and how to go on.

Pure. Sorting costs more than choosing, so the orders of one catalog are kept until the next replaces it.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.faults import InvalidArgument
from chassis.identity import Principal
from table_service.access import Right
from table_service.tables import EMPTY_CATALOG, Catalog, Table, TableState, decide_on, visible

# A position in an order: the value ordered by, as text, then the id.
Position = tuple[str, str]


class TableOrder(StrEnum):
    """Orders; the names are those of the contract without the prefix. Equal ones go by id."""

    NAME = "NAME"
    CREATE_TIME = "CREATE_TIME"
    UPDATE_TIME = "UPDATE_TIME"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFilter:
    """Which tables: of a namespace, in a state, and of these whatever the rest says; empty says nothing."""

    namespace: str
    state: TableState = TableState.ACTIVE
    name_prefix: str = ""
    labels: Mapping[str, str]
    owner: str = ""


class TableLists:
    """Every table in each order. Threads must not share it."""

    def __init__(self) -> None:
        self._catalog = EMPTY_CATALOG
        self._ordered: dict[tuple[str, TableState, TableOrder], list[tuple[Position, Table]]] = {}

    def after(
        self,
        catalog: Catalog,
        wanted: TableFilter,
        order: TableOrder,
        position: Position | None,
        principal: Principal,
        *,
        descending: bool,
    ) -> Iterator[tuple[Position, Table]]:
        """Yield the tables that the caller may see after a position, each with its own."""
        entries = self._entries(catalog, wanted.namespace, wanted.state, order)
        at: Callable[[tuple[Position, Table]], Position] = lambda entry: entry[0]  # noqa: E731
        if descending:
            stop = len(entries) if position is None else bisect_left(entries, position, key=at)
            places = range(stop - 1, -1, -1)
        else:
            start = 0 if position is None else bisect_right(entries, position, key=at)
            places = range(start, len(entries))
        for place in places:
            table = entries[place][1]
            if _matches(table, wanted) and _shown(table, principal):
                yield entries[place]

    def _entries(
        self, catalog: Catalog, namespace: str, state: TableState, order: TableOrder
    ) -> list[tuple[Position, Table]]:
        if catalog is not self._catalog:
            self._catalog, self._ordered = catalog, {}
        key = (namespace, state, order)
        if key not in self._ordered:
            self._ordered[key] = sorted(
                (
                    (_position(table, order), table)
                    for table in catalog.by_id.values()
                    if table.namespace == namespace and table.state is state
                ),
                key=lambda entry: entry[0],
            )
        return self._ordered[key]


def write_position(position: Position) -> str:
    """Return a position as a page token carries it."""
    return json.dumps(position)


def read_position(text: str) -> Position | None:
    """Return what `write_position` wrote; None for the start, which is empty.

    Raises:
        InvalidArgument: PAGE_TOKEN_INVALID.
    """
    if not text:
        return None
    try:
        value, id_ = json.loads(text)
    except ValueError as error:
        raise InvalidArgument("PAGE_TOKEN_INVALID", "page_token is damaged") from error
    return str(value), str(id_)


def _position(table: Table, order: TableOrder) -> Position:
    match order:
        case TableOrder.NAME:
            return table.name, table.id
        case TableOrder.CREATE_TIME:
            return _sortable(table.create_time), table.id
        case TableOrder.UPDATE_TIME:
            return _sortable(table.update_time), table.id


def _sortable(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def _matches(table: Table, wanted: TableFilter) -> bool:
    return (
        table.name.startswith(wanted.name_prefix)
        and wanted.owner in ("", table.owner)
        and all(table.labels.get(key) == value for key, value in wanted.labels.items())
    )


def _shown(table: Table, principal: Principal) -> bool:
    """Return whether the caller may see the table; one that is deleted, who could bring it back."""
    if table.state is TableState.DELETED:
        return decide_on(table, principal, Right.ALTER).allowed
    return visible(table, principal)
