"""Events: what was done to tables, by whom and when, kept in the commit that did it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import duckdb

from chassis.identity import Principal
from table_service.store.moments import moment, stored
from table_service.store.transaction import Transaction
from table_service.tables import Table


class EventKind(StrEnum):
    """What happened; the names are those of flux.table.v1.TableEvent.Kind without the prefix."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    ALTERED = "ALTERED"
    DELETED = "DELETED"
    UNDELETED = "UNDELETED"
    PURGED = "PURGED"
    GRANTED = "GRANTED"
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEvent:
    """What was done to a table; `table` is its name then, `actor` the service that acted, if any."""

    id: str
    kind: EventKind
    table_id: str
    table: str
    schema_version: int
    subject: str
    actor: str
    changes: tuple[str, ...]
    create_time: datetime


def record_event(
    transaction: Transaction,
    *,
    id_: str,
    kind: EventKind,
    table: Table,
    principal: Principal,
    changes: Sequence[str] = (),
) -> None:
    """Record what this transaction does to a table; `id_` is greater than that of every earlier event."""
    transaction.rows(
        "INSERT INTO catalog.table_events VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            id_,
            kind,
            table.id,
            table.full_name,
            table.schema_version,
            principal.subject,
            principal.actor,
            list(changes),
            stored(transaction.now),
        ],
    )


def list_events(
    cursor: duckdb.DuckDBPyConnection, table_id: str, before: str, count: int
) -> list[TableEvent]:
    """Return at most `count` events, newest first, of one table or, for an empty id, of all.

    Only those with ids less than `before`, unless that is empty.
    """
    rows = cursor.execute(
        "SELECT id, kind, table_id, table_name, schema_version, subject, actor, changes, create_time"
        " FROM catalog.table_events"
        " WHERE ($1 = '' OR table_id = $1) AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3",
        [table_id, before, count],
    ).fetchall()
    return [
        TableEvent(
            id=id_,
            kind=EventKind(kind),
            table_id=of,
            table=name,
            schema_version=schema_version,
            subject=subject,
            actor=actor,
            changes=tuple(changes),
            create_time=moment(created),
        )
        for id_, kind, of, name, schema_version, subject, actor, changes, created in rows
    ]
