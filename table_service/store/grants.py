"""Grants as they are kept: a row for each table and grantee."""

from __future__ import annotations

from dataclasses import replace

import duckdb

from chassis.identity import Role
from table_service.access import Grant, Grantee, Right, in_order, with_grant
from table_service.store.moments import moment, stored
from table_service.store.transaction import Transaction
from table_service.tables import Table


def load_grants(cursor: duckdb.DuckDBPyConnection) -> dict[str, tuple[Grant, ...]]:
    """Return every grant that is kept, by the table's id."""
    grants: dict[str, list[Grant]] = {}
    for table_id, user_id, role, rights, granter, created in cursor.execute(
        "SELECT table_id, user_id, role, rights, granter, create_time FROM catalog.grants"
    ).fetchall():
        grant = Grant(
            grantee=Grantee(user_id=user_id, role=Role(role) if role else None),
            rights=frozenset(map(Right, rights)),
            granter=granter,
            create_time=moment(created),
        )
        grants.setdefault(table_id, []).append(grant)
    return {table_id: in_order(kept) for table_id, kept in grants.items()}


def store_grant(
    transaction: Transaction, table: Table, grantee: Grantee, grant: Grant | None
) -> Table:
    """Record what a grantee has on a table, None for nothing; return the table as it is then."""
    role = grantee.role or ""
    transaction.rows(
        "DELETE FROM catalog.grants WHERE table_id = $1 AND user_id = $2 AND role = $3",
        [table.id, grantee.user_id, role],
    )
    if grant is not None:
        transaction.rows(
            "INSERT INTO catalog.grants VALUES ($1, $2, $3, $4, $5, $6)",
            [
                table.id,
                grantee.user_id,
                role,
                sorted(grant.rights),
                grant.granter,
                stored(grant.create_time),
            ],
        )
    changed = replace(table, grants=with_grant(table.grants, grantee, grant))
    transaction.catalog = transaction.catalog.with_table(changed)
    return changed
