"""Schema operations, plans, versions and events as messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flux.table.v1 import migration_pb2
from table_service import schema_operations as operations
from table_service.schema_operations import SchemaOperation
from table_service.schema_requirements import Method
from table_service.store.migration_plans import Obstacle, Plan
from table_service.store.table_events import EventKind, TableEvent
from table_service.store.table_versions import TableVersion
from table_service.wire import (
    from_check,
    from_columns,
    from_default,
    from_type,
    from_unique_key,
    to_checks,
    to_columns,
    to_unique_keys,
)

_EVENT_KINDS = {kind: migration_pb2.TableEvent.Kind.Value(f"KIND_{kind}") for kind in EventKind}

_METHODS = {
    method: migration_pb2.MigrationPlan.Method.Value(f"METHOD_{method}") for method in Method
}


def from_operations(
    messages: Sequence[migration_pb2.SchemaOperation],
) -> list[SchemaOperation]:
    """Return operations.

    Raises:
        InvalidArgument: FIELDS_INVALID for a default whose text is not what its kind says.
    """
    found = []
    for message in messages:
        kind = message.WhichOneof("kind")
        assert kind is not None
        found.append(_READERS[kind](getattr(message, kind)))
    return found


def _add_column(message: migration_pb2.SchemaOperation.AddColumn) -> SchemaOperation:
    [column] = from_columns([message.column])
    return operations.AddColumn(
        column=column,
        after=message.after,
        unique=message.column.unique,
        check=message.column.check,
    )


# By the name of the operation in the contract.
_READERS: dict[str, Callable[[Any], SchemaOperation]] = {
    "add_column": _add_column,
    "drop_column": lambda m: operations.DropColumn(column=m.column),
    "rename_column": lambda m: operations.RenameColumn(column=m.column, new_name=m.new_name),
    "retype_column": lambda m: operations.RetypeColumn(
        column=m.column, type=from_type(m.type), using=m.using
    ),
    "set_default": lambda m: operations.SetDefault(
        column=m.column, default=from_default(m.default)
    ),
    "drop_default": lambda m: operations.SetDefault(column=m.column, default=None),
    "set_not_null": lambda m: operations.SetNotNull(column=m.column, not_null=True),
    "drop_not_null": lambda m: operations.SetNotNull(column=m.column, not_null=False),
    "set_description": lambda m: operations.SetDescription(
        column=m.column, description=m.description
    ),
    "add_unique_key": lambda m: operations.AddUniqueKey(key=from_unique_key(m.key)),
    "drop_unique_key": lambda m: operations.DropUniqueKey(name=m.name),
    "add_check": lambda m: operations.AddCheck(check=from_check(m.check)),
    "drop_check": lambda m: operations.DropCheck(name=m.name),
    "reorder_columns": lambda m: operations.ReorderColumns(columns=tuple(m.columns)),
}


def to_plan(plan: Plan) -> migration_pb2.MigrationPlan:
    """Return a plan as a message."""
    return migration_pb2.MigrationPlan(
        steps=[
            migration_pb2.MigrationPlan.Step(
                method=_METHODS[step.method], description=step.description, loss=step.loss
            )
            for step in plan.steps
        ],
        obstacles=[_to_obstacle(obstacle) for obstacle in plan.obstacles],
        row_count=plan.row_count,
    )


def _to_obstacle(obstacle: Obstacle) -> migration_pb2.MigrationPlan.Obstacle:
    return migration_pb2.MigrationPlan.Obstacle(
        operation=obstacle.operation,
        description=obstacle.description,
        row_count=obstacle.row_count,
        samples=[
            migration_pb2.MigrationPlan.Sample(row_id=sample.row_id, value=sample.value)
            for sample in obstacle.samples
        ],
    )


def to_version(version: TableVersion) -> migration_pb2.TableVersion:
    """Return a version as a message."""
    message = migration_pb2.TableVersion(
        schema_version=version.schema_version,
        columns=to_columns(version.schema.columns),
        unique_keys=to_unique_keys(version.schema.unique_keys),
        checks=to_checks(version.schema.checks),
        changes=version.changes,
        author=version.author,
    )
    message.create_time.FromDatetime(version.create_time)
    return message


def to_event(event: TableEvent) -> migration_pb2.TableEvent:
    """Return an event as a message."""
    message = migration_pb2.TableEvent(
        id=event.id,
        kind=_EVENT_KINDS[event.kind],
        table_id=event.table_id,
        table=event.table,
        schema_version=event.schema_version,
        subject=event.subject,
        actor=event.actor,
        changes=event.changes,
    )
    message.create_time.FromDatetime(event.create_time)
    return message
