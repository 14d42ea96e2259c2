"""Changing or deleting the rows that are named, or that a filter holds for, all of them or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from chassis.faults import FailedPrecondition
from table_service.store.expressions import TRUE, Expression, expressions_told
from table_service.store.rows import row_not_found, row_versions
from table_service.store.staging import refuse_faults, stage, write_staged
from table_service.store.statements import reading
from table_service.store.transaction import Transaction, physical
from table_service.store.violations import STAGE
from table_service.tables import Table
from table_service.types import ROW_ID, VERSION, incoming, quoted, sql_type
from table_service.value_bounds import within_bounds

_VALUE = "__value_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Rows of a table: those of `row_ids`, or else those that `filter` holds for.

    `affected_max`: how many they may be; None is any number.
    """

    row_ids: tuple[int, ...] = ()
    filter: Expression = TRUE
    affected_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignments:
    """New values of columns: those in the only row of `values`, which are carriers, and those of expressions.

    No column is in both.
    """

    values: pa.Table | None = None
    expressions: Mapping[str, Expression] = field(default_factory=dict)


def check_binding(
    cursor: duckdb.DuckDBPyConnection,
    table: Table,
    selection: Selection,
    assignments: Assignments | None,
    parameters: Mapping[str, object],
) -> None:
    """Refuse expressions that DuckDB cannot bind, before the writer meets them.

    Raises:
        InvalidArgument: SQL_INVALID.
    """
    made = assignments.expressions if assignments else {}
    values = [f"CAST({made[name].sql} AS {sql_type(table.column(name).type)})" for name in made]
    selected = ", ".join([f"CAST({selection.filter.sql} AS BOOLEAN)", *values])
    named = {name for one in (selection.filter, *made.values()) for name in one.parameters}
    with reading(cursor):
        # DESCRIBE binds and runs nothing.
        cursor.execute(
            f"DESCRIBE SELECT {selected} FROM {physical(table)}",
            {name: parameters[name] for name in named} or None,
        )


def update_selected(
    transaction: Transaction,
    table: Table,
    selection: Selection,
    assignments: Assignments,
    parameters: Mapping[str, object],
    path: str = "selection",
) -> int:
    """Give the selected rows new values; return how many they are.

    Raises:
        NotFound: ROW_NOT_FOUND.
        FailedPrecondition: TOO_MANY_ROWS.
        InvalidArgument: QUERY_FAILED for an expression; in a careful transaction ROW_INVALID, CHECK_FAILED.
        AlreadyExists: DUPLICATE_KEY, in a careful transaction.
    """
    table = transaction.current(table)
    where = _where(transaction, table, selection, parameters)
    values = _values(transaction, table, assignments)
    named = [*([] if selection.row_ids else [selection.filter]), *assignments.expressions.values()]
    with expressions_told():
        if transaction.careful:
            with stage(transaction, table):
                future = ", ".join(values.get(c.name, quoted(c.name)) for c in table.columns)
                _run(
                    transaction,
                    f"INSERT INTO {STAGE} SELECT {future}, {ROW_ID}, {VERSION} + 1, {ROW_ID}, false"
                    f" FROM {physical(table)} WHERE {where}",
                    named,
                    parameters,
                )
                refuse_faults(transaction, table, path, given=values.keys(), indexed=False)
                _, changed = write_staged(transaction, table, values.keys())
            return _affected(selection, changed)
        changes = [f"{quoted(name)} = {value}" for name, value in values.items()]
        changed = _run(
            transaction,
            f"UPDATE {physical(table)} SET {', '.join([*changes, f'{VERSION} = {VERSION} + 1'])}"
            f" WHERE {where}",
            named,
            parameters,
        )
    return _affected(selection, changed)


def delete_selected(
    transaction: Transaction,
    table: Table,
    selection: Selection,
    parameters: Mapping[str, object],
) -> int:
    """Delete the selected rows; return how many they were.

    Raises:
        NotFound: ROW_NOT_FOUND.
        FailedPrecondition: TOO_MANY_ROWS.
        InvalidArgument: QUERY_FAILED for the filter.
    """
    table = transaction.current(table)
    where = _where(transaction, table, selection, parameters)
    with expressions_told():
        sql = f"DELETE FROM {physical(table)} WHERE {where}"
        named = [] if selection.row_ids else [selection.filter]
        return _affected(selection, _run(transaction, sql, named, parameters))


def _where(
    transaction: Transaction,
    table: Table,
    selection: Selection,
    parameters: Mapping[str, object],
) -> str:
    """Return a condition for the selected rows, which are there and not too many."""
    row_ids = selection.row_ids
    if not row_ids:
        most = selection.affected_max
        if most is not None:
            with expressions_told():
                _affected(
                    selection,
                    _run(
                        transaction,
                        f"SELECT count(*) FROM {physical(table)} WHERE {selection.filter.sql}",
                        [selection.filter],
                        parameters,
                    ),
                )
        return selection.filter.sql
    _affected(selection, len(row_ids))
    versions = row_versions(transaction, table, row_ids)
    for row_id in row_ids:
        if row_id not in versions:
            raise row_not_found(table, row_id)
    view = transaction.show(pa.table({"__row_id": pa.array(row_ids, pa.int64())}))
    return (
        f"{ROW_ID} BETWEEN {min(row_ids):d} AND {max(row_ids):d}"
        f" AND {ROW_ID} IN (SELECT __row_id FROM {view})"
    )


def _values(transaction: Transaction, table: Table, assignments: Assignments) -> dict[str, str]:
    """Return SQL of the new value of each column that changes."""
    made = {}
    for name, expression in assignments.expressions.items():
        type_ = table.column(name).type
        made[name] = within_bounds(f"CAST({expression.sql} AS {sql_type(type_)})", type_)
    if assignments.values is not None:
        names = assignments.values.schema.names
        view = transaction.show(assignments.values.rename_columns([_VALUE + n for n in names]))
        for name in names:
            value = incoming(quoted(_VALUE + name), table.column(name).type)
            made[name] = f"(SELECT {value} FROM {view})"
    return made


def _run(
    transaction: Transaction,
    sql: str,
    named: Iterable[Expression],
    parameters: Mapping[str, object],
) -> int:
    """Run a statement with the parameters that the expressions in it name; return the number it answers."""
    bindings = {name: parameters[name] for expression in named for name in expression.parameters}
    rows = transaction.cursor.execute(sql, bindings or None).fetchall()
    return int(rows[0][0])


def _affected(selection: Selection, count: int) -> int:
    most = selection.affected_max
    if most is not None and count > most:
        raise FailedPrecondition(
            "TOO_MANY_ROWS",
            f"this is about {count} rows, not {most} at the most",
            count=count,
            max_affected=most,
        )
    return count
