"""Operations on schemas: what a migration is asked to do, one change each.

Pure. Columns go by the names that they have after the operations before.
"""

from __future__ import annotations

from dataclasses import dataclass

from table_service.tables import Check, UniqueKey
from table_service.types import Column, Default, Type


@dataclass(frozen=True, slots=True, kw_only=True)
class AddColumn:
    """A new column after another, at the end if `after` is empty. An id of 0 is yet to be given.

    `unique` brings a unique key of the column alone with it, `check` a check called after it.
    """

    column: Column
    after: str = ""
    unique: bool = False
    check: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropColumn:
    """A column goes, and the keys and checks that use it."""

    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameColumn:
    """A column gets another name."""

    column: str
    new_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetypeColumn:
    """A column gets another type; `using` is an expression for the new value, empty for the value itself."""

    column: str
    type: Type
    using: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDefault:
    """Rows to come get a default; None takes it away."""

    column: str
    default: Default | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNotNull:
    """A column refuses null, or takes it again."""

    column: str
    not_null: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDescription:
    """A column is described anew."""

    column: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddUniqueKey:
    """No two rows may share these values. A key without a name gets one."""

    key: UniqueKey


@dataclass(frozen=True, slots=True, kw_only=True)
class DropUniqueKey:
    """Rows may share these values again."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCheck:
    """Every row must satisfy this. A check without a name gets one."""

    check: Check


@dataclass(frozen=True, slots=True, kw_only=True)
class DropCheck:
    """Rows need not satisfy this any more."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReorderColumns:
    """The columns get another order; every one is named."""

    columns: tuple[str, ...]


SchemaOperation = (
    AddColumn
    | DropColumn
    | RenameColumn
    | RetypeColumn
    | SetDefault
    | SetNotNull
    | SetDescription
    | AddUniqueKey
    | DropUniqueKey
    | AddCheck
    | DropCheck
    | ReorderColumns
)
