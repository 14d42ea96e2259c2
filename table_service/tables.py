"""Tables: their definitions, their names, and who may come near them.

Pure. A `Catalog` is a snapshot that is never changed: the store replaces it after each commit.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chassis.faults import Aborted, AlreadyExists, InvalidArgument, NotFound, PermissionDenied
from chassis.identity import Principal, PrincipalKind, Role
from table_service.access import Decision, Grant, Right, Rule, decide
from table_service.types import Column, Kind

MAIN = "main"
# Each namespace but "main" belongs to the service of its name.
NAMESPACES = (MAIN, "auth", "workflow")
_READ_BY_ADMINS = frozenset({"workflow"})
_NAME_CHARACTERS_MAX = 100
RETRY_AFTER = timedelta(seconds=1)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class TableState(StrEnum):
    """ACTIVE can be read and written; DELETED is kept so that it can be brought back."""

    ACTIVE = "ACTIVE"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueKey:
    """Columns whose values no two rows share, by name, in order."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A condition that every row must satisfy, as it was written and checked to be about one row."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as its definition says.

    `storage` is the name of the physical table, another after each rebuild. `column_ids` is the greatest
    id that a column has had. `revision` grows with every change of the definition, `schema_version` with
    those of columns, keys and checks.
    """

    id: str
    namespace: str
    name: str
    description: str
    columns: tuple[Column, ...]
    unique_keys: tuple[UniqueKey, ...]
    schema_version: int
    state: TableState
    owner: str
    create_time: datetime
    update_time: datetime
    storage: str
    checks: tuple[Check, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()
    column_ids: int = 0
    revision: int = 1
    delete_time: datetime | None = None

    @property
    def etag(self) -> str:
        """Return what changes with every change of the definition."""
        return f"{self.revision}"

    def unique_key(self, name: str) -> UniqueKey:
        """Return the key called `name`.

        Raises:
            InvalidArgument: KEY_NOT_FOUND.
        """
        for key in self.unique_keys:
            if key.name == name:
                return key
        raise InvalidArgument(
            "KEY_NOT_FOUND",
            f"table {self.full_name!r} has no unique key {name!r}",
            table=self.full_name,
            key=name,
        )

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

    def without_table(self, table: Table) -> Catalog:
        """Return a catalog that has never heard of the table."""
        return Catalog(
            active={key: other for key, other in self.active.items() if other.id != table.id},
            by_id={id_: other for id_, other in self.by_id.items() if id_ != table.id},
        )


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


def table_exists(table: Table) -> AlreadyExists:
    """Return the fault of a name that is taken."""
    name = table.full_name
    return AlreadyExists("TABLE_EXISTS", f"table {name!r} exists", table=name)


def table_changed(table: Table) -> Aborted:
    """Return the fault of a request that was made for another version of the schema than there is."""
    return Aborted(
        "TABLE_CHANGED",
        f"table {table.full_name!r} has changed to version {table.schema_version}",
        retry_after=RETRY_AFTER,
        table=table.full_name,
        schema_version=table.schema_version,
    )


def check_namespace(namespace: str, principal: Principal, *, writes: bool) -> None:
    """Refuse a caller for whom the namespace is closed.

    Raises:
        PermissionDenied: NAMESPACE_CLOSED, also where there is no such namespace.
    """
    if namespace == MAIN or (namespace in NAMESPACES and principal.is_service(namespace)):
        return
    if writes or not _reads_as_admin(namespace, principal):
        raise PermissionDenied(
            "NAMESPACE_CLOSED", f"namespace {namespace!r} is closed to you", namespace=namespace
        )


def resolve(catalog: Catalog, written: str, principal: Principal, *rights: Right) -> Table:
    """Return the table that a request names, if the caller has each of the rights on it, and some right.

    Raises:
        NotFound: TABLE_NOT_FOUND, also if the caller has no right at all on it.
        PermissionDenied: NAMESPACE_CLOSED or RIGHT_REQUIRED.
    """
    return resolve_in(catalog, split_name(written), principal, *rights)


def resolve_in(
    catalog: Catalog, named: tuple[str, str], principal: Principal, *rights: Right
) -> Table:
    """Do the same for a namespace and a name."""
    namespace, name = named
    check_namespace(namespace, principal, writes=any(right is not Right.READ for right in rights))
    table = catalog.find(namespace, name)
    for right in rights:
        require(table, principal, right)
    if not rights and not visible(table, principal):
        raise table_not_found(table.full_name)
    return table


def decide_on(table: Table, principal: Principal, right: Right) -> Decision:
    """Return which rule gives the right."""
    if table.namespace == MAIN:
        return decide(table.owner, table.grants, principal, right)
    if principal.is_service(table.namespace):
        return Decision(rule=Rule.NAMESPACE)
    if right is Right.READ and _reads_as_admin(table.namespace, principal):
        return Decision(rule=Rule.ADMINISTRATOR)
    return Decision(rule=Rule.NONE)


def visible(table: Table, principal: Principal) -> bool:
    """Return whether the caller may know that the table exists."""
    if not table.grants:
        # Without grants, who reads has every right, and who does not has none.
        return decide_on(table, principal, Right.READ).allowed
    return any(decide_on(table, principal, right).allowed for right in Right)


def require(table: Table, principal: Principal, right: Right) -> None:
    """Refuse a caller without the right.

    Raises:
        NotFound: TABLE_NOT_FOUND if the caller has no right at all on the table.
        PermissionDenied: RIGHT_REQUIRED.
    """
    if decide_on(table, principal, right).allowed:
        return
    if not visible(table, principal):
        raise table_not_found(table.full_name)
    raise PermissionDenied(
        "RIGHT_REQUIRED",
        f"you do not have the right {right.lower()} on table {table.full_name!r}",
        table=table.full_name,
        right=right.lower(),
    )


def _reads_as_admin(namespace: str, principal: Principal) -> bool:
    return (
        namespace in _READ_BY_ADMINS
        and principal.kind is PrincipalKind.PERSON
        and principal.holds(Role.ADMIN)
    )


def numbered(columns: Iterable[Column], after: int = 0) -> tuple[Column, ...]:
    """Return the columns with ids, from the one after `after` on."""
    return tuple(replace(column, id=at) for at, column in enumerate(columns, start=after + 1))


def free_name(wanted: str, taken: Collection[str]) -> str:
    """Return a name like `wanted` that a key or a check can have and none has."""
    plain = re.sub(r"[^a-z0-9]+", "_", wanted.lower()).strip("_")[:_NAME_CHARACTERS_MAX]
    plain = plain if plain[:1].isalpha() else f"key_{plain}".rstrip("_")
    numbers = (f"{plain}_{at}" for at in itertools.count(2))
    return next(name for name in itertools.chain([plain], numbers) if name not in taken)


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
        elif inner.kind is Kind.ENUM and not _are_labels(inner.labels):
            why = "an enum needs labels, each another, without NUL characters"
        if why:
            raise InvalidArgument(
                "SQL_INVALID", f"column {column.name!r}: {why}", column=column.name
            )
        check_whole(inner.fields)


def _are_labels(labels: Sequence[str]) -> bool:
    return 0 < len(labels) == len(set(labels)) and not any("\0" in label for label in labels)
