"""The way from a schema back to an earlier one of the same table, as operations.

Pure. Columns are the same if they have the same id, whatever they are called.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from table_service.schema_changes import Conditions
from table_service.schema_operations import (
    AddCheck,
    AddColumn,
    AddUniqueKey,
    DropCheck,
    DropColumn,
    DropUniqueKey,
    RenameColumn,
    ReorderColumns,
    RetypeColumn,
    SchemaOperation,
    SetDefault,
    SetDescription,
    SetNotNull,
)
from table_service.schemas import Schema
from table_service.tables import Check, UniqueKey, free_name
from table_service.types import Column


def operations_between(now: Schema, then: Schema, read: Conditions) -> list[SchemaOperation]:
    """Return what makes `then` of `now`; the order of keys and checks aside."""
    way = _Way(now=now, then=then, read=read)
    return [
        *way.rules_dropped(),
        *way.columns_exchanged(),
        *way.columns_changed(),
        *way.rules_added(),
        *way.columns_ordered(),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    now: Schema
    then: Schema
    read: Conditions

    def rules_dropped(self) -> Iterator[SchemaOperation]:
        """Yield the end of keys and checks that are not there then, or that a retype would break."""
        kept = {rule.name for rule in self._kept_keys()}
        yield from (
            DropUniqueKey(name=key.name) for key in self.now.unique_keys if key.name not in kept
        )
        kept = {rule.name for rule in self._kept_checks()}
        yield from (
            DropCheck(name=check.name) for check in self.now.checks if check.name not in kept
        )

    def rules_added(self) -> Iterator[SchemaOperation]:
        """Yield the keys and checks that are not there now, or no more."""
        kept = {key.name for key in self._kept_keys()}
        yield from (AddUniqueKey(key=key) for key in self.then.unique_keys if key.name not in kept)
        kept = {check.name for check in self._kept_checks()}
        yield from (AddCheck(check=check) for check in self.then.checks if check.name not in kept)

    def columns_exchanged(self) -> Iterator[SchemaOperation]:
        """Yield what drops, renames and adds columns, so that no two have one name on the way."""
        now, then = _by_id(self.now), _by_id(self.then)
        gone = [column for id_, column in now.items() if id_ not in then]
        names = {id_: column.name for id_, column in now.items()}
        if len(gone) < len(now):
            yield from (DropColumn(column=column.name) for column in gone)
            for column in gone:
                del names[column.id]
        else:
            # A table has a column at any time, so the new ones come first, under names that are free.
            for column in gone:
                taken = _folded([*names.values(), *(c.name for c in self.then.columns)])
                if column.name.lower() in _folded(c.name for c in self.then.columns):
                    new = free_name(f"{column.name}_before", taken)
                    yield RenameColumn(column=column.name, new_name=new)
                    names[column.id] = new
        wanted = {id_: column.name for id_, column in then.items() if id_ in now}
        yield from _renames({id_: names[id_] for id_ in wanted}, wanted)
        for column in self.then.columns:
            if column.id not in now:
                yield AddColumn(column=column)
        if len(gone) == len(now):
            yield from (DropColumn(column=names[column.id]) for column in gone)

    def columns_changed(self) -> Iterator[SchemaOperation]:
        """Yield what else differs of columns that are there now and then, which have their names by now."""
        now = _by_id(self.now)
        for column in self.then.columns:
            before = now.get(column.id)
            if before is not None and replace(before, name=column.name) != column:
                yield from _column_changes(before, column)

    def columns_ordered(self) -> Iterator[SchemaOperation]:
        """Yield the order of the columns, unless they have come to be in it."""
        now, then = _by_id(self.now), _by_id(self.then)
        order = [id_ for id_ in now if id_ in then] + [id_ for id_ in then if id_ not in now]
        if order != list(then):
            yield ReorderColumns(columns=tuple(column.name for column in self.then.columns))

    def _kept_keys(self) -> list[UniqueKey]:
        now, then = _ids(self.now), _ids(self.then)
        there = {
            (key.name, tuple(then[name] for name in key.columns)) for key in self.then.unique_keys
        }
        return [
            key
            for key in self.now.unique_keys
            if (key.name, tuple(now[name] for name in key.columns)) in there
        ]

    def _kept_checks(self) -> list[Check]:
        then = _by_id(self.then)
        names = {c.name: then[c.id].name for c in self.now.columns if c.id in then}
        retyped = {c.name for c in self.now.columns if c.id in then and then[c.id].type != c.type}
        same = {c.name: c.name for c in self.then.columns}
        there = {
            (check.name, self.read.renamed(check.expression, self.then.columns, same))
            for check in self.then.checks
        }
        return [
            check
            for check in self.now.checks
            if (used := self.read.used(check.expression, self.now.columns))
            <= names.keys() - retyped
            and (check.name, self._renamed(check, used, names)) in there
        ]

    def _renamed(self, check: Check, used: Collection[str], names: Mapping[str, str]) -> str:
        return self.read.renamed(
            check.expression, self.now.columns, {name: names[name] for name in used}
        )


def _column_changes(before: Column, after: Column) -> Iterator[SchemaOperation]:
    name = after.name
    if before.default is not None and before.default != after.default:
        yield SetDefault(column=name, default=None)
    if before.not_null and not after.not_null:
        yield SetNotNull(column=name, not_null=False)
    if before.type != after.type:
        yield RetypeColumn(column=name, type=after.type)
    if after.default is not None and before.default != after.default:
        yield SetDefault(column=name, default=after.default)
    if after.not_null and not before.not_null:
        yield SetNotNull(column=name, not_null=True)
    if before.description != after.description:
        yield SetDescription(column=name, description=after.description)


def _renames(names: dict[int, str], wanted: Mapping[int, str]) -> Iterator[SchemaOperation]:
    """Yield renames, one of a circle by way of a name that is free."""
    # Ends when each has its name: every turn gives one its name, or takes one out of a circle.
    while open_ := [id_ for id_ in wanted if names[id_] != wanted[id_]]:
        for id_ in open_:
            others = _folded(name for other, name in names.items() if other != id_)
            if wanted[id_].lower() not in others:
                new = wanted[id_]
                break
        else:
            id_ = open_[0]
            new = free_name(f"{names[id_]}_before", _folded([*names.values(), *wanted.values()]))
        yield RenameColumn(column=names[id_], new_name=new)
        names[id_] = new


def _by_id(schema: Schema) -> dict[int, Column]:
    return {column.id: column for column in schema.columns}


def _ids(schema: Schema) -> dict[str, int]:
    return {column.name: column.id for column in schema.columns}


def _folded(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}
