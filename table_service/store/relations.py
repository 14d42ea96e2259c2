"""What the names in a caller's statement stand for."""

from __future__ import annotations

from collections.abc import Mapping

from chassis.identity import Principal
from table_service.access import Right
from table_service.sandbox import Relation
from table_service.serialized_sql import TableName, fold
from table_service.store.statements import Names
from table_service.store.writer import Writer
from table_service.tables import MAIN, Table, resolve_in
from table_service.types import SYSTEM_COLUMNS


class Relations:
    """The relations behind the names of one statement, for one caller: those in `named` before tables.

    Tables are found in the newest catalog. Where the snapshot that the statement then reads is another, it
    meets no table of that physical name, and fails with TABLE_CHANGED.
    """

    def __init__(self, writer: Writer, principal: Principal, named: Mapping[str, Relation]) -> None:
        self._writer = writer
        self._principal = principal
        self._named = named
        self._tables: dict[str, Table] = {}

    def find(self, names: Names) -> Mapping[TableName, Relation]:
        """Return the relation behind each name.

        Raises:
            NotFound: TABLE_NOT_FOUND.
            PermissionDenied: NAMESPACE_CLOSED or RIGHT_REQUIRED.
        """
        relations: dict[TableName, Relation] = {}
        for namespace, name in names.tables:
            given = None if namespace else self._named.get(fold(name))
            relations[namespace, name] = given or self._table(
                namespace, name, system_columns=names.system_columns
            )
        return relations

    def names(self) -> dict[str, str]:
        """Return what the caller calls what has a physical name."""
        named = {relation.table: name for name, relation in self._named.items()}
        return named | {table.storage: table.full_name for table in self._tables.values()}

    def _table(self, namespace: str, name: str, *, system_columns: bool) -> Relation:
        """Return a table as statements see it.

        The server's own columns are there for a statement that names one, and else not: `SELECT *` should
        give what was put in, and NATURAL JOIN should not join by them.
        """
        named = fold(namespace) or MAIN, fold(name)
        table = resolve_in(self._writer.catalog, named, self._principal, Right.READ)
        self._tables[table.id] = table
        columns = (*SYSTEM_COLUMNS, *table.columns) if system_columns else table.columns
        return Relation(
            schema=table.namespace,
            table=table.storage,
            columns=tuple((column.name, column.name) for column in columns),
        )
