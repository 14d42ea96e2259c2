"""What changes of a schema ask of the rows that are there, and how each can be carried out.

Pure. What stood before holds already, so only what is new, or is about values that change, is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from table_service.schema_changes import Applied, Changes, Columns
from table_service.schema_operations import (
    AddColumn,
    DropColumn,
    RenameColumn,
    ReorderColumns,
    RetypeColumn,
    SetDefault,
    SetDescription,
    SetNotNull,
)
from table_service.sql_literals import plain_literal
from table_service.tables import Check, UniqueKey
from table_service.types import Column, sql_type


class Method(StrEnum):
    """How an operation is carried out; the names are those of MigrationPlan.Method without the prefix."""

    DEFINITION = "DEFINITION"
    IN_PLACE = "IN_PLACE"
    REBUILD = "REBUILD"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoNull:
    """No row may have null in the column, because of an operation, counted from 0."""

    operation: int
    column: Column


@dataclass(frozen=True, slots=True, kw_only=True)
class NoDuplicates:
    """No two rows may share the values of the key."""

    operation: int
    key: UniqueKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """The check must be true or null for every row."""

    operation: int
    check: Check


_ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
Requirement = NoNull | NoDuplicates | Holds


def requirements(
    changes: Changes, used: Callable[[str, Columns], frozenset[str]]
) -> list[Requirement]:
    """Return what the rows must satisfy once the values have changed, by the schema at the end.

    Each is laid to the last operation that has to do with it. `used` is that of `Conditions`.
    """
    blamed = _Blame(changes)
    after = changes.after
    found: list[Requirement] = []
    for column in after.columns:
        operation = blamed.by(blamed.nulls.get(column.id), [column])
        if column.not_null and operation is not None:
            found.append(NoNull(operation=operation, column=column))
    for key in after.unique_keys:
        columns = [column for column in after.columns if column.name in key.columns]
        operation = blamed.by(blamed.rules.get(key), columns)
        if operation is not None:
            found.append(NoDuplicates(operation=operation, key=key))
    for check in after.checks:
        names = used(check.expression, after.columns)
        columns = [column for column in after.columns if column.name in names]
        operation = blamed.by(blamed.rules.get(check), columns)
        if operation is not None:
            found.append(Holds(operation=operation, check=check))
    return found


def method_of(applied: Applied) -> Method:
    """Return the least that carries an operation out, if the table could be changed where it is."""
    operation, before, after = applied.operation, applied.before, applied.after
    match operation:
        case RetypeColumn(using=using) if using:
            return Method.REBUILD
        case _ if before == after:
            return Method.DEFINITION
        case SetDefault() | SetDescription() | ReorderColumns():
            return Method.DEFINITION
        case RenameColumn() | SetNotNull(not_null=False):
            return Method.IN_PLACE
        case AddColumn(column=column, unique=False, check="") if _fills_in_place(column):
            return Method.IN_PLACE
        case DropColumn() if not before.unique_keys and before.checks == after.checks:
            # An index is in the way of every column before those that it is on.
            return Method.IN_PLACE
        case RetypeColumn(column=name, type=type_):
            retyped = before.column(name)
            assert retyped is not None
            same = sql_type(retyped.type) == sql_type(type_)
            return Method.DEFINITION if same else Method.REBUILD
        case _:
            # DuckDB adds and drops no constraints, and sets NOT NULL only where no update is outstanding.
            return Method.REBUILD


def methods_of(changes: Sequence[Applied]) -> list[Method]:
    """Return how the operations are carried out together: one that rebuilds takes the others with it."""
    methods = [method_of(applied) for applied in changes]
    if Method.REBUILD not in methods:
        return methods
    return [Method.REBUILD if method is Method.IN_PLACE else method for method in methods]


def changes_nothing(changes: Changes) -> bool:
    """Return whether table and rows would be as they were before."""
    return changes.before == changes.after and not any(
        isinstance(applied.operation, RetypeColumn) and method_of(applied) is Method.REBUILD
        for applied in changes.applied
    )


def _fills_in_place(column: Column) -> bool:
    if column.not_null:
        return False
    # Which moment it is does not matter to whether it can be written.
    return column.default is None or bool(plain_literal(column.default, column.type, _ANY_MOMENT))


class _Blame:
    """Which operation, counted from 0, has last touched what: columns' values and rules."""

    def __init__(self, changes: Changes) -> None:
        self.values: dict[int, int] = {}
        self.nulls: dict[int, int] = {}
        self.rules: dict[UniqueKey | Check, int] = {}
        for index, applied in enumerate(changes.applied):
            self._note(index, applied)

    def _note(self, index: int, applied: Applied) -> None:
        before, after = applied.before, applied.after
        match applied.operation:
            case AddColumn(column=column):
                self.values.update({c.id: index for c in after.columns if c.name == column.name})
            case RetypeColumn(column=name) if method_of(applied) is Method.REBUILD:
                self.values.update({c.id: index for c in after.columns if c.name == name})
            case SetNotNull(column=name, not_null=True):
                was = before.column(name)
                assert was is not None
                if not was.not_null:
                    self.nulls[was.id] = index
            case RenameColumn():
                self._follow(before.unique_keys, after.unique_keys)
                self._follow(before.checks, after.checks)
            case _:
                pass
        if not isinstance(applied.operation, RenameColumn):
            before_: tuple[UniqueKey | Check, ...] = (*before.unique_keys, *before.checks)
            after_: tuple[UniqueKey | Check, ...] = (*after.unique_keys, *after.checks)
            self.rules.update({rule: index for rule in after_ if rule not in before_})

    def _follow(
        self, before: Sequence[UniqueKey | Check], after: Sequence[UniqueKey | Check]
    ) -> None:
        """Keep what is known of rules that a rename has rewritten, one for one."""
        for old, new in zip(before, after, strict=True):
            if old in self.rules:
                self.rules[new] = self.rules.pop(old)

    def by(self, rule: int | None, columns: Sequence[Column]) -> int | None:
        """Return the last operation that touched a rule or the values that it is about; None if none did."""
        touched = [self.values[column.id] for column in columns if column.id in self.values]
        return max([*touched, *([] if rule is None else [rule])], default=None)
