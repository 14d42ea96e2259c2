"""Changes of a relation's schema twice over: the operation to ask for, and what it makes of Python's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flux.table.v1 import migration_pb2, table_pb2
from tests.table_service.relations import Relation, Row, type_of

Operation = migration_pb2.SchemaOperation


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An operation, and the same done to a relation here."""

    operation: migration_pb2.SchemaOperation
    apply: Callable[[Relation], Relation]


def changed(relation: Relation, changes: Iterable[Change]) -> Relation:
    """Return the relation after the changes."""
    for change in changes:
        relation = change.apply(relation)
    return relation


def rename(column: str, new_name: str) -> Change:
    """Give a column another name."""

    def apply(relation: Relation) -> Relation:
        made = _copy(relation.table)
        made.columns[relation.names.index(column)].name = new_name
        return _with(relation, made, relation.rows)

    kind = Operation.RenameColumn(column=column, new_name=new_name)
    return Change(operation=Operation(rename_column=kind), apply=apply)


def retype(
    column: str, type_: str | table_pb2.Type, convert: Callable[[Any], Any], using: str = ""
) -> Change:
    """Give a column another type; `convert` is given the values that are not null."""
    wanted = type_of(type_) if isinstance(type_, str) else type_

    def apply(relation: Relation) -> Relation:
        at, made = relation.names.index(column), _copy(relation.table)
        made.columns[at].type.CopyFrom(wanted)
        rows = (
            (*row[:at], None if row[at] is None else convert(row[at]), *row[at + 1 :])
            for row in relation.rows
        )
        return _with(relation, made, rows)

    kind = Operation.RetypeColumn(column=column, type=wanted, using=using)
    return Change(operation=Operation(retype_column=kind), apply=apply)


def combine(column: str, type_: table_pb2.Type, using: str, convert: Callable[..., Any]) -> Change:
    """Give a column another type by an expression; `convert` is given the row's values by name."""

    def apply(relation: Relation) -> Relation:
        at, made = relation.names.index(column), _copy(relation.table)
        made.columns[at].type.CopyFrom(type_)
        rows = (
            (*row[:at], convert(**dict(zip(relation.names, row, strict=True))), *row[at + 1 :])
            for row in relation.rows
        )
        return _with(relation, made, rows)

    kind = Operation.RetypeColumn(column=column, type=type_, using=using)
    return Change(operation=Operation(retype_column=kind), apply=apply)


def drop(column: str) -> Change:
    """Drop a column."""

    def apply(relation: Relation) -> Relation:
        at, made = relation.names.index(column), _copy(relation.table)
        del made.columns[at]
        return _with(relation, made, (row[:at] + row[at + 1 :] for row in relation.rows))

    return Change(operation=Operation(drop_column=Operation.DropColumn(column=column)), apply=apply)


def add(column: table_pb2.Column, value: object, after: str = "") -> Change:
    """Add a column, in which every row that is there gets `value`."""

    def apply(relation: Relation) -> Relation:
        made, names = _copy(relation.table), relation.names
        at = names.index(after) + 1 if after else len(names)
        made.columns.insert(at, column)
        return _with(relation, made, ((*row[:at], value, *row[at:]) for row in relation.rows))

    kind = Operation.AddColumn(column=column, after=after)
    return Change(operation=Operation(add_column=kind), apply=apply)


def reorder(columns: Sequence[str]) -> Change:
    """Give the columns another order."""

    def apply(relation: Relation) -> Relation:
        places = [relation.names.index(name) for name in columns]
        made = _copy(relation.table)
        del made.columns[:]
        made.columns.extend(relation.columns[at] for at in places)
        return _with(relation, made, (tuple(row[at] for at in places) for row in relation.rows))

    kind = Operation.ReorderColumns(columns=columns)
    return Change(operation=Operation(reorder_columns=kind), apply=apply)


def same_rows(**kind: Any) -> Change:
    """Change something that rows do not show, such as `add_check`."""
    return Change(operation=Operation(**kind), apply=lambda relation: relation)


def _copy(table: table_pb2.Table) -> table_pb2.Table:
    made = table_pb2.Table()
    made.CopyFrom(table)
    return made


def _with(relation: Relation, table: table_pb2.Table, rows: Iterable[Row]) -> Relation:
    return replace(relation, table=table, rows=tuple(rows))
