"""Tables: their definitions, their names, and who may come near them.

Pure. A `Catalog` is a snapshot that is never changed: the store replaces it after each commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from chassis.faults import FieldViolation, InvalidArgument, NotFound, PermissionDenied
from chassis.identity import Principal, PrincipalKind, Role
from table_service.types import (
    DECIMAL_PRECISION_MAX,
    TYPE_DEPTH_MAX,
    Column,
    Kind,
    Type,
    precision,
)

MAIN = "main"
# Each namespace but "main" belongs to the service of its name.
NAMESPACES = (MAIN, "auth", "workflow")
_READ_BY_ADMINS = frozenset({"workflow"})
_NO_KEY = frozenset({Kind.LIST, Kind.JSON, Kind.INTERVAL, Kind.DOUBLE, Kind.FLOAT})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class TableState(StrEnum):
    """ACTIVE can be read and written; DELETED is kept so that it can be brought back."""

    ACTIVE = "ACTIVE"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as its definition says; `id` is also the name of the physical table."""

    id: str
    namespace: str
    name: str
    description: str
    columns: tuple[Column, ...]
    unique_keys: tuple[tuple[str, ...], ...]
    schema_version: int
    state: TableState
    owner: str
    create_time: datetime
    update_time: datetime

    @property
    def full_name(self) -> str:
        """Return the name by which requests call the table."""
        return full_name(self.namespace, self.name)

    def column(self, name: str) -> Column:
        """Return the column called `name`.

        Raises:
            InvalidArgument: COLUMN_NOT_FOUND.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise InvalidArgument(
            "COLUMN_NOT_FOUND",
            f"table {self.full_name!r} has no column {name!r}",
            table=self.full_name,
            column=name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Every table there is: the active ones by (namespace, name), all by id."""

    active: Mapping[tuple[str, str], Table]
    by_id: Mapping[str, Table]

    def find(self, namespace: str, name: str) -> Table:
        """Return the active table of that name.

        Raises:
            NotFound: TABLE_NOT_FOUND.
        """
        table = self.active.get((namespace, name))
        if table is None:
            raise table_not_found(full_name(namespace, name))
        return table

    def with_table(self, table: Table) -> Catalog:
        """Return a catalog in which `table` replaces what had its id."""
        active = {key: other for key, other in self.active.items() if other.id != table.id}
        if table.state is TableState.ACTIVE:
            active[table.namespace, table.name] = table
        return Catalog(active=active, by_id={**self.by_id, table.id: table})


EMPTY_CATALOG = Catalog(active={}, by_id={})


def full_name(namespace: str, name: str) -> str:
    """Return the name by which requests call a table."""
    return name if namespace == MAIN else f"{namespace}.{name}"


def split_name(written: str) -> tuple[str, str]:
    """Return the namespace and name in "flights" or "workflow.events"."""
    namespace, dot, name = written.rpartition(".")
    return (namespace, name) if dot else (MAIN, name)


def table_not_found(written: str) -> NotFound:
    """Return the fault of a name that no table has."""
    return NotFound("TABLE_NOT_FOUND", f"no table {written!r}", table=written)


def check_namespace(namespace: str, principal: Principal, *, writes: bool) -> None:
    """Refuse a caller for whom the namespace is closed.

    Raises:
        PermissionDenied: NAMESPACE_CLOSED, also where there is no such namespace.
    """
    if namespace == MAIN or (namespace in NAMESPACES and principal.is_service(namespace)):
        return
    reads_as_admin = (
        namespace in _READ_BY_ADMINS
        and principal.kind is PrincipalKind.PERSON
        and principal.holds(Role.ADMIN)
    )
    if writes or not reads_as_admin:
        raise PermissionDenied(
            "NAMESPACE_CLOSED", f"namespace {namespace!r} is closed to you", namespace=namespace
        )


def resolve(catalog: Catalog, written: str, principal: Principal, *, writes: bool) -> Table:
    """Return the table that a request names, if the caller may read or write it.

    Raises:
        NotFound: TABLE_NOT_FOUND.
        PermissionDenied: NAMESPACE_CLOSED.
    """
    namespace, name = split_name(written)
    check_namespace(namespace, principal, writes=writes)
    return catalog.find(namespace, name)


def deleted(table: Table, now: datetime) -> Table:
    """Return the table as it is kept after its deletion."""
    return replace(table, state=TableState.DELETED, update_time=now)


def check_definition(columns: tuple[Column, ...], keys: tuple[tuple[str, ...], ...]) -> None:
    """Refuse a schema that contradicts itself, naming every contradiction.

    Raises:
        InvalidArgument: SCHEMA_INVALID.
    """
    violations: list[FieldViolation] = []
    first: dict[str, str] = {}
    for index, column in enumerate(columns):
        path = f"table.columns[{index}]"
        folded = column.name.lower()
        if folded in first:
            same = f"column {column.name!r} has the name of {first[folded]!r}"
            violations.append(FieldViolation(field=f"{path}.name", description=same))
        first.setdefault(folded, column.name)
        violations += _name_violations(column.name, f"{path}.name")
        violations += _type_violations(column.type, f"{path}.type", depth=0)
    violations += _key_violations(columns, keys)
    if violations:
        raise InvalidArgument(
            "SCHEMA_INVALID", violations[0].description, violations=tuple(violations)
        )


def check_whole(columns: Iterable[Column]) -> None:
    """Refuse columns of a result that could not be, whose types no table needs to have.

    Raises:
        InvalidArgument: SQL_INVALID.
    """
    for column in columns:
        why = "a name has no control characters" if _CONTROL.search(column.name) else ""
        inner = column.type
        while inner.kind in (Kind.LIST, Kind.MAP) and inner.element is not None:
            inner = inner.element
        if inner.kind in (Kind.LIST, Kind.MAP):
            why = f"a {inner.kind.lower()} needs an element"
        elif inner.kind is Kind.UNKNOWN and inner is not column.type:
            why = "what a list or a map holds has a type that is known"
        elif any(of.type.kind is Kind.UNKNOWN for of in inner.fields):
            why = "a struct's fields have types that are known"
        if why:
            raise InvalidArgument(
                "SQL_INVALID", f"column {column.name!r}: {why}", column=column.name
            )
        check_whole(inner.fields)


def _name_violations(name: str, path: str) -> list[FieldViolation]:
    if name.startswith("_"):
        why = f"column {name!r}: names that begin with '_' are the server's"
    elif _CONTROL.search(name):
        why = f"column {name!r}: a name has no control characters"
    else:
        return []
    return [FieldViolation(field=path, description=why)]


def _type_violations(type_: Type, path: str, *, depth: int) -> list[FieldViolation]:
    why = ""
    match type_.kind:
        case Kind.STRUCT | Kind.MAP:
            why = f"{type_.kind} is not yet a type of a table's columns"
        case Kind.UNKNOWN:
            why = "a table's column has a type that is known"
        case Kind.LIST if type_.element is None:
            why = "a list needs an element"
        case Kind.LIST if depth >= TYPE_DEPTH_MAX:
            why = f"lists nest at most {TYPE_DEPTH_MAX} deep"
        case Kind.LIST if type_.element is not None:
            return _type_violations(type_.element, f"{path}.element", depth=depth + 1)
        case Kind.DECIMAL if type_.precision > DECIMAL_PRECISION_MAX:
            why = f"a decimal has at most {DECIMAL_PRECISION_MAX} digits"
        case Kind.DECIMAL if type_.scale > precision(type_):
            why = f"scale {type_.scale} is more than precision {precision(type_)}"
    return [FieldViolation(field=path, description=why)] if why else []


def _key_violations(
    columns: tuple[Column, ...], keys: tuple[tuple[str, ...], ...]
) -> list[FieldViolation]:
    types = {column.name: column.type for column in columns}
    violations: list[FieldViolation] = []
    seen: set[frozenset[str]] = set()
    for index, key in enumerate(keys):
        path = f"table.unique_keys[{index}]"
        for position, name in enumerate(key):
            if name not in types:
                why = f"unique key names no column {name!r}"
            elif types[name].kind in _NO_KEY:
                why = f"column {name!r} of type {types[name].kind} cannot be part of a unique key"
            else:
                continue
            violations.append(FieldViolation(field=f"{path}.columns[{position}]", description=why))
        if frozenset(key) in seen:
            violations.append(FieldViolation(field=path, description="the same key comes twice"))
        seen.add(frozenset(key))
    return violations
