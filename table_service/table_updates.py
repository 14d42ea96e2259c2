"""What becomes of a table's definition, its schema aside: renamed, described, filed, deleted, brought back.

Pure. Each change makes another revision, and so another etag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from chassis.faults import Aborted, FieldViolation, InvalidArgument
from table_service.tables import Catalog, Table, TableState, table_exists

NAME_CHARACTERS_MAX = 62
DESCRIPTION_CHARACTERS_MAX = 2000
LABELS_MAX = 64
LABEL_CHARACTERS_MAX = 256
FIELDS = ("name", "description", "labels")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NAME_RULE = f"^[a-z][a-z0-9_]*$ and have at most {NAME_CHARACTERS_MAX} characters"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableUpdate:
    """New values for a table; None leaves what is there."""

    name: str | None = None
    description: str | None = None
    labels: Mapping[str, str] | None = None


def chosen(update: TableUpdate, paths: Sequence[str]) -> TableUpdate:
    """Return the update of what a field mask names; of what is set, if it names nothing.

    Raises:
        InvalidArgument: FIELDS_INVALID for another path, or for a value that breaks a limit.
    """
    violations = [
        FieldViolation(
            field=f"update_mask.paths[{at}]",
            description=f"{path!r} cannot be updated; only {', '.join(FIELDS)} can",
        )
        for at, path in enumerate(paths)
        if path not in FIELDS
    ]
    wanted = TableUpdate(
        name=update.name if "name" in paths or (not paths and update.name) else None,
        description=update.description
        if "description" in paths or (not paths and update.description)
        else None,
        labels=update.labels if "labels" in paths or (not paths and update.labels) else None,
    )
    violations += [
        FieldViolation(field=f"values.{field}", description=why)
        for field, why in _broken_limits(wanted)
    ]
    if violations:
        raise InvalidArgument(
            "FIELDS_INVALID",
            f"{violations[0].field}: {violations[0].description}",
            violations=tuple(violations),
        )
    return wanted


def updated(table: Table, update: TableUpdate, now: datetime) -> Table:
    """Return the table with its new values; the same if nothing differs."""
    changed = replace(
        table,
        name=table.name if update.name is None else update.name,
        description=table.description if update.description is None else update.description,
        labels=table.labels if update.labels is None else dict(update.labels),
    )
    return table if changed == table else revised(changed, now)


def differences(before: Table, after: Table) -> list[str]:
    """Return what an update has changed, a sentence each."""
    changes = []
    if before.name != after.name:
        changes.append(f"renamed from {before.full_name!r} to {after.full_name!r}")
    if before.description != after.description:
        changes.append("described anew")
    for key in sorted({*before.labels, *after.labels}):
        if key not in after.labels:
            changes.append(f"label {key!r} removed")
        elif before.labels.get(key) != after.labels[key]:
            changes.append(f"label {key!r} set to {after.labels[key]!r}")
    return changes


def deleted(table: Table, now: datetime) -> Table:
    """Return the table as it is kept after its deletion."""
    return revised(replace(table, state=TableState.DELETED, delete_time=now), now)


def undeleted(table: Table, name: str, now: datetime) -> Table:
    """Return a deleted table as it is once it is back, under `name`, or its own if that is empty."""
    back = replace(table, state=TableState.ACTIVE, delete_time=None, name=name or table.name)
    return revised(back, now)


def revised(table: Table, now: datetime) -> Table:
    """Return the table as changed just now."""
    return replace(table, update_time=now, revision=table.revision + 1)


def check_etag(table: Table, etag: str) -> None:
    """Refuse to change another state of a table than the caller has seen; an empty etag is any.

    Raises:
        Aborted: ETAG_MISMATCH.
    """
    if etag and etag != table.etag:
        raise Aborted(
            "ETAG_MISMATCH",
            f"table {table.full_name!r} has etag {table.etag!r}, not {etag!r}",
            table=table.full_name,
            etag=table.etag,
            expected=etag,
        )


def check_name_free(catalog: Catalog, table: Table) -> None:
    """Refuse a name that another active table has.

    Raises:
        AlreadyExists: TABLE_EXISTS.
    """
    other = catalog.active.get((table.namespace, table.name))
    if other is not None and other.id != table.id:
        raise table_exists(table)


def _broken_limits(update: TableUpdate) -> list[tuple[str, str]]:
    broken: list[tuple[str, str]] = []
    if update.name is not None and not _is_name(update.name):
        broken.append(
            (
                "name",
                f"must match ^[a-z][a-z0-9_]*$ and have at most {NAME_CHARACTERS_MAX} characters",
            )
        )
    if update.description is not None and len(update.description) > DESCRIPTION_CHARACTERS_MAX:
        broken.append(("description", f"at most {DESCRIPTION_CHARACTERS_MAX} characters"))
    labels = update.labels or {}
    if len(labels) > LABELS_MAX:
        broken.append(("labels", f"at most {LABELS_MAX} labels"))
    for key, value in labels.items():
        if not _is_name(key):
            broken.append((f"labels[{key!r}]", f"the key must match {_NAME_RULE}"))
        if len(value) > LABEL_CHARACTERS_MAX:
            why = f"the value has at most {LABEL_CHARACTERS_MAX} characters"
            broken.append((f"labels[{key!r}]", why))
    return broken


def _is_name(text: str) -> bool:
    return len(text) <= NAME_CHARACTERS_MAX and _NAME.fullmatch(text) is not None
