"""The schema of a table: its columns, unique keys and checks, and what makes one whole.

Pure. A table's schema is replaced as a whole, never changed; each has a version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from chassis.faults import FieldViolation, InvalidArgument
from table_service.column_rules import KEY_KINDS, column_violations
from table_service.tables import Check, Table, TableState, UniqueKey, free_name
from table_service.types import Column

COLUMNS_MAX = 1000
KEYS_MAX = 16
CHECKS_MAX = 64
_VIOLATIONS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What a version of a table's schema is made of."""

    columns: tuple[Column, ...]
    unique_keys: tuple[UniqueKey, ...] = ()
    checks: tuple[Check, ...] = ()

    def column(self, name: str) -> Column | None:
        """Return the column called `name`, None if there is none."""
        return next((column for column in self.columns if column.name == name), None)

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Return names of columns in the order of the columns."""
        chosen = set(names)
        return [column.name for column in self.columns if column.name in chosen]

    def with_column(self, changed: Column) -> Schema:
        """Return the schema in which `changed` replaces the column that has its id."""
        return replace(
            self, columns=tuple(changed if c.id == changed.id else c for c in self.columns)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedKey:
    """A unique key that a request asks for, and where it stands there."""

    path: str
    key: UniqueKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedCheck:
    """A check that a request asks for, and where it and its expression stand there."""

    path: str
    expression_path: str
    check: Check


def schema_of(table: Table) -> Schema:
    """Return the schema that a table has."""
    return Schema(columns=table.columns, unique_keys=table.unique_keys, checks=table.checks)


def new_table(
    schema: Schema,
    *,
    id_: str,
    namespace: str,
    name: str,
    owner: str,
    now: datetime,
    description: str = "",
    labels: Mapping[str, str] | None = None,
) -> Table:
    """Return the definition of a table at its first version."""
    return Table(
        id=id_,
        namespace=namespace,
        name=name,
        description=description,
        columns=schema.columns,
        unique_keys=schema.unique_keys,
        checks=schema.checks,
        schema_version=1,
        state=TableState.ACTIVE,
        owner=owner,
        create_time=now,
        update_time=now,
        storage=id_,
        column_ids=len(schema.columns),
        labels=labels or {},
    )


def new_schema(columns: Sequence[Column], keys: Sequence[PlacedKey], path: str = "table") -> Schema:
    """Return the schema of a new table, its checks aside; `path` is where the request describes it.

    Raises:
        InvalidArgument: SCHEMA_INVALID with every contradiction.
    """
    violations = column_violations(columns, f"{path}.columns")
    schema = Schema(columns=tuple(columns))
    given = {placed.key.name for placed in keys}
    for placed in keys:
        violations += key_violations(placed.key, schema, placed.path)
        key = named_key(placed.key, given)
        given.add(key.name)
        schema = replace(schema, unique_keys=(*schema.unique_keys, key))
    refuse(violations)
    return schema


def with_checks(
    schema: Schema, checks: Sequence[PlacedCheck], used: Sequence[Iterable[str]]
) -> Schema:
    """Return a new table's schema with its checks; `used` are the columns that each uses.

    Raises:
        InvalidArgument: SCHEMA_INVALID with every contradiction.
    """
    violations: list[FieldViolation] = []
    given = {placed.check.name for placed in checks}
    for placed, names in zip(checks, used, strict=True):
        violations += check_violations(placed.check, schema, placed.path)
        check = named_check(placed.check, schema.ordered(names), given)
        given.add(check.name)
        schema = replace(schema, checks=(*schema.checks, check))
    refuse(violations)
    return schema


def named_key(key: UniqueKey, taken: Collection[str]) -> UniqueKey:
    """Return the key with a name; one without gets its columns' names."""
    return replace(key, name=key.name or free_name("_".join(key.columns), taken))


def named_check(check: Check, columns: Sequence[str], taken: Collection[str]) -> Check:
    """Return the check with a name; one without gets those of the columns that it uses."""
    return replace(check, name=check.name or free_name("_".join([*columns, "check"]), taken))


def key_violations(key: UniqueKey, schema: Schema, path: str) -> list[FieldViolation]:
    """Return what keeps a key from joining those of the schema."""
    violations: list[FieldViolation] = []
    for position, name in enumerate(key.columns):
        column = schema.column(name)
        if column is None:
            why = f"unique key names no column {name!r}"
        elif column.type.kind not in KEY_KINDS:
            why = f"column {name!r} of type {column.type.kind} cannot be part of a unique key"
        else:
            continue
        violations.append(FieldViolation(field=f"{path}.columns[{position}]", description=why))
    for other in schema.unique_keys:
        if set(other.columns) == set(key.columns):
            why = f"unique key {other.name!r} has the same columns"
            violations.append(FieldViolation(field=path, description=why))
        if key.name and other.name == key.name:
            why = f"there is a unique key {key.name!r} already"
            violations.append(FieldViolation(field=f"{path}.name", description=why))
    if len(schema.unique_keys) >= KEYS_MAX:
        why = f"a table has at most {KEYS_MAX} unique keys"
        violations.append(FieldViolation(field=path, description=why))
    return violations


def check_violations(check: Check, schema: Schema, path: str) -> list[FieldViolation]:
    """Return what keeps a check from joining those of the schema; its expression is looked at elsewhere."""
    violations: list[FieldViolation] = []
    if check.name and any(other.name == check.name for other in schema.checks):
        why = f"there is a check {check.name!r} already"
        violations.append(FieldViolation(field=f"{path}.name", description=why))
    if len(schema.checks) >= CHECKS_MAX:
        why = f"a table has at most {CHECKS_MAX} checks"
        violations.append(FieldViolation(field=path, description=why))
    return violations


def refuse(violations: Sequence[FieldViolation]) -> None:
    """Refuse a schema, if there is something wrong with it.

    Raises:
        InvalidArgument: SCHEMA_INVALID.
    """
    if violations:
        raise InvalidArgument(
            "SCHEMA_INVALID",
            violations[0].description,
            violations=tuple(violations[:_VIOLATIONS_MAX]),
        )
