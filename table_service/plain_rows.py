"""Rows whose cells are stored as they came: the short way for the few small rows that most inserts bring.

What is not plain takes the way of `codec`, which knows every type, says what is wrong, and gives defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from flux.table.v1 import rows_pb2
from table_service.arrow_types import carrier_type
from table_service.tables import Table
from table_service.typed_rows import MEMBERS
from table_service.types import INTEGER_BITS, Column, Kind

# More are as cheap by Arrow.
PLAIN_ROWS_MAX = 64
# The member of a value is what is stored, but for integers that may be too large.
_KINDS = frozenset(
    {Kind.BOOL, Kind.INT16, Kind.INT32, Kind.INT64, Kind.DOUBLE, Kind.STRING, Kind.BYTES}
)
_PLANS_KEPT = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRows:
    """Rows of plain cells: for each of `columns`, which are in the table's order, a list of `count` cells."""

    columns: tuple[Column, ...]
    cells: tuple[list[object], ...]
    count: int

    def carriers(self) -> pa.Table:
        """Return the rows as `codec.decode` would have."""
        arrays = [
            pa.array(cells, carrier_type(column.type))
            for column, cells in zip(self.columns, self.cells, strict=True)
        ]
        return pa.Table.from_arrays(arrays, names=[column.name for column in self.columns])


def are_plain(columns: Iterable[Column]) -> bool:
    """Return whether DuckDB's Python values of all these columns are their plain cells."""
    return all(column.type.kind in _KINDS for column in columns)


def merged(batches: Sequence[PlainRows]) -> PlainRows:
    """Return the rows of all of them, in order; they have the same columns."""
    if len(batches) == 1:
        return batches[0]
    return PlainRows(
        columns=batches[0].columns,
        cells=tuple(
            [cell for cells in column for cell in cells]
            for column in zip(*(batch.cells for batch in batches), strict=True)
        ),
        count=sum(batch.count for batch in batches),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """How rows that name some columns of a table, in some order, are read.

    `columns` in the table's order; for each, where it stands in a row, which member of a value it has, the
    integers that fit, and whether it may be null.
    """

    columns: tuple[Column, ...]
    steps: tuple[tuple[int, str, range | None, bool], ...]


class PlainReader:
    """Reads plain rows; remembers what it has found out about tables. The event loop's."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, int, tuple[str, ...]], _Plan | None] = {}

    def read(self, rows: rows_pb2.Rows, table: Table) -> PlainRows | None:
        """Return the rows if they are new rows that are plain, all of them right; else None."""
        typed = rows.typed
        sent = typed.rows
        count = len(sent)
        if not 0 < count <= PLAIN_ROWS_MAX:
            return None
        plan = self._plan(table, tuple(typed.columns))
        if plan is None:
            return None
        cells: tuple[list[object], ...] = tuple([] for _ in plan.steps)
        for row in sent:
            values = row.values
            if len(values) != len(plan.steps):
                return None
            for (at, member, fitting, nullable), column in zip(plan.steps, cells, strict=True):
                value = values[at]
                found = value.WhichOneof("kind")
                if found == member:
                    cell = getattr(value, member)
                    if fitting is not None and cell not in fitting:
                        return None
                elif nullable and (found is None or found == "null"):
                    cell = None
                else:
                    return None
                column.append(cell)
        return PlainRows(columns=plan.columns, cells=cells, count=count)

    def _plan(self, table: Table, names: tuple[str, ...]) -> _Plan | None:
        key = (table.id, table.revision, names)
        try:
            return self._plans[key]
        except KeyError:
            plan = _planned(table, names)
            # Names that the table does not have come from outside, and may be of any length.
            if plan is None and not set(names) <= {column.name for column in table.columns}:
                return None
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            self._plans[key] = plan
            return plan


def _planned(table: Table, names: tuple[str, ...]) -> _Plan | None:
    """Return how to read such rows, or None if they are for `codec`."""
    places = {name: at for at, name in enumerate(names)}
    columns = tuple(column for column in table.columns if column.name in places)
    if not names or len(places) != len(names) or len(columns) != len(names):
        return None
    if not are_plain(columns):
        return None
    if any(
        (column.default is not None or column.not_null) and column.name not in places
        for column in table.columns
    ):
        return None
    return _Plan(
        columns=columns,
        steps=tuple(
            (
                places[column.name],
                MEMBERS[column.type.kind],
                _fitting(column.type.kind),
                not column.not_null,
            )
            for column in columns
        ),
    )


def _fitting(kind: Kind) -> range | None:
    """Return the integers that fit; None where whatever the member holds does."""
    if kind not in (Kind.INT16, Kind.INT32):
        return None
    bound = 1 << (INTEGER_BITS[kind] - 1)
    return range(-bound, bound)
