"""The stage: rows as they would be after a write, in a temporary table, looked at before they are written.

For writes that must say precisely what is wrong, or write what is right of them (see `violations`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa

from table_service.row_faults import RowFault
from table_service.store.defaults import IN_ORDER, column_names, counts, default_sql, mark
from table_service.store.transaction import Transaction, physical
from table_service.store.violations import AT, STAGE, find_faults, refusal
from table_service.tables import Table
from table_service.types import ROW_ID, VERSION, incoming, quoted

_CREATED = "__created"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows that come from outside the table, as SQL.

    `relation` counts its rows from 0 in `__at`, up to `row_count`. `values` is SQL of the stored value of
    each column that came, over the relation as `s`; `missing` SQL that is true where a row came without it,
    for columns that came in some rows only.
    """

    relation: str
    values: Mapping[str, str]
    row_count: int
    missing: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str, otherwise: str) -> str:
        """Return SQL of a value, over the relation as `s`: `otherwise` where a row came without it."""
        if name not in self.values:
            return otherwise
        value, missing = self.values[name], self.missing.get(name)
        return f"CASE WHEN {missing} THEN {otherwise} ELSE {value} END" if missing else value

    def same(self, key: Collection[str]) -> str:
        """Return SQL that is true where a row has the key that a row of the table has, as `t`."""
        return " AND ".join(f"t.{quoted(name)} = {self.values[name]}" for name in key)

    @property
    def given(self) -> frozenset[str]:
        """Return the columns that came in every row."""
        return frozenset(self.values.keys() - self.missing.keys())


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of rows that stand alone: the place and row id of each written, and whether it is new."""

    places: tuple[int, ...]
    row_ids: tuple[int, ...]
    created: tuple[bool, ...]
    faults: tuple[RowFault, ...]


def arrow_source(
    transaction: Transaction, table: Table, rows: pa.Table, places: pa.Array | None = None
) -> Source:
    """Return marked rows of carriers as a source; `places`: theirs among those sent, if some are left out."""
    places = pa.array(range(rows.num_rows), pa.int64()) if places is None else places
    names = column_names(rows)
    return Source(
        relation=transaction.show(rows.append_column(AT, places)),
        values={name: incoming(f"s.{quoted(name)}", table.column(name).type) for name in names},
        missing={
            name: f"s.{quoted(mark(name))}" for name in names if mark(name) in rows.schema.names
        },
        row_count=places[-1].as_py() + 1 if len(places) else 0,
    )


@contextmanager
def stage(transaction: Transaction, table: Table) -> Iterator[None]:
    """Have an empty stage for rows of the table; one at a time."""
    transaction.rows(
        f"CREATE TEMPORARY TABLE {STAGE} AS SELECT {_names(table)}, {ROW_ID}, {VERSION},"
        f" {ROW_ID} AS {AT}, true AS {_CREATED} FROM {physical(table)} LIMIT 0"
    )
    yield
    # After an error there is no need: the transaction is rolled back, and this with it.
    transaction.rows(f"DROP TABLE {STAGE}")


def stage_new(transaction: Transaction, table: Table, source: Source, where: str = "true") -> int:
    """Stage new rows of a source with their defaults, those that `where`, over `s`, holds for.

    Return the row id of place 0; the others follow.
    """
    count, at = source.row_count, f"s.{AT}"
    if counts(table, source.given):
        # Numbers are for rows that are written, and no others: a sequence may be short.
        [[new]] = transaction.rows(f"SELECT count(*) FROM {source.relation} AS s WHERE {where}")
        assert isinstance(new, int)
        count, at = new, IN_ORDER
    made = default_sql(transaction, table, source.given, count, at)
    first = transaction.take_row_ids(table, source.row_count)
    values = [source.value(c.name, made.get(c.name, "NULL")) for c in table.columns]
    transaction.rows(
        f"INSERT INTO {STAGE} SELECT {', '.join(values)}, {first} + s.{AT}, 1, s.{AT}, true"
        f" FROM {source.relation} AS s WHERE {where}"
    )
    return first


def stage_changed(transaction: Transaction, table: Table, source: Source, same: str) -> None:
    """Stage rows of the table, as `t`, with new values from the rows of a source for which `same` holds."""
    values = [source.value(c.name, f"t.{quoted(c.name)}") for c in table.columns]
    transaction.rows(
        f"INSERT INTO {STAGE} SELECT {', '.join(values)}, t.{ROW_ID}, t.{VERSION} + 1, s.{AT}, false"
        f" FROM {physical(table)} AS t JOIN {source.relation} AS s ON {same}"
    )


def refuse_faults(
    transaction: Transaction,
    table: Table,
    path: str,
    *,
    given: Collection[str] | None,
    indexed: bool,
) -> None:
    """Refuse what is staged if anything is wrong with it; `given` is that of `find_faults`.

    Raises:
        InvalidArgument: ROW_INVALID or CHECK_FAILED.
        AlreadyExists: DUPLICATE_KEY.
    """
    if faults := find_faults(transaction, table, given=given):
        raise refusal(faults, path, indexed=indexed)


def write_good(
    transaction: Transaction,
    table: Table,
    changed: Collection[str] = (),
    *,
    given: Collection[str] | None,
) -> Written:
    """Write those staged rows that can be, as `write_staged` does, and say what is wrong with the others.

    `given` is that of `find_faults`.
    """
    faults = find_faults(transaction, table, given=given, limit=None)
    if faults:
        bad = sorted({fault.index for fault in faults})
        transaction.rows(f"DELETE FROM {STAGE} WHERE {AT} IN (SELECT unnest($1::BIGINT[]))", [bad])
    write_staged(transaction, table, changed)
    return written(transaction, faults)


def written(transaction: Transaction, faults: Sequence[RowFault] = ()) -> Written:
    """Return what became of the staged rows, which are written."""
    found = transaction.rows(f"SELECT {AT}, {ROW_ID}, {_CREATED} FROM {STAGE} ORDER BY {AT}")
    places, row_ids, created = zip(*found, strict=True) if found else ((), (), ())
    return Written(places=places, row_ids=row_ids, created=created, faults=tuple(faults))


def write_staged(
    transaction: Transaction, table: Table, changed: Collection[str]
) -> tuple[int, int]:
    """Write the staged rows, which are good: the new ones, and of the others the columns `changed`.

    Return how many were new, and how many changed.
    """
    target, new = physical(table), _CREATED
    [[created, updated]] = transaction.rows(
        f"SELECT count(*) FILTER ({_CREATED}), count(*) FILTER (NOT {_CREATED}) FROM {STAGE}"
    )
    assert isinstance(created, int)
    assert isinstance(updated, int)
    if updated and any(name in key.columns for key in table.unique_keys for name in changed):
        # DuckDB updates 2,048 rows at a time: one could meet the key that another is about to leave.
        new = "true"
        transaction.rows(
            f"DELETE FROM {target}"
            f" WHERE {ROW_ID} IN (SELECT {ROW_ID} FROM {STAGE} WHERE NOT {_CREATED})"
        )
    elif updated:
        changes = [f"{quoted(name)} = s.{quoted(name)}" for name in changed]
        transaction.rows(
            f"UPDATE {target} AS t SET {', '.join([*changes, f'{VERSION} = s.{VERSION}'])}"
            f" FROM {STAGE} AS s WHERE t.{ROW_ID} = s.{ROW_ID} AND NOT s.{_CREATED}"
        )
    transaction.rows(
        f"INSERT INTO {target} ({_names(table)}, {ROW_ID}, {VERSION})"
        f" SELECT {_names(table)}, {ROW_ID}, {VERSION} FROM {STAGE} WHERE {new} ORDER BY {ROW_ID}"
    )
    return created, updated


def _names(table: Table) -> str:
    return ", ".join(quoted(column.name) for column in table.columns)
