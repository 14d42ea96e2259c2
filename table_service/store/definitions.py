"""Definitions of tables as the catalog keeps them: JSON texts."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from chassis.values import from_value, to_value
from flux.type.v1 import value_pb2
from table_service.tables import Check, Table, UniqueKey
from table_service.types import Column, Default, DefaultFunction, Kind, Type

_Json = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What of a table is kept as one text."""

    description: str
    columns: tuple[Column, ...]
    unique_keys: tuple[UniqueKey, ...]
    checks: tuple[Check, ...]
    labels: Mapping[str, str]
    storage: str
    column_ids: int
    revision: int
    delete_time: datetime | None


def write_definition(table: Table) -> str:
    """Return the text of a table's definition."""
    return json.dumps(
        {
            "description": table.description,
            "columns": [_column_value(column) for column in table.columns],
            "unique_keys": [{"name": k.name, "columns": k.columns} for k in table.unique_keys],
            "checks": [{"name": c.name, "expression": c.expression} for c in table.checks],
            "labels": dict(table.labels),
            "storage": table.storage,
            "column_ids": table.column_ids,
            "revision": table.revision,
            "delete_time": table.delete_time.isoformat() if table.delete_time else None,
        }
    )


def read_definition(text: str) -> Definition:
    """Return the definition that `write_definition` wrote."""
    value = json.loads(text)
    deleted = value["delete_time"]
    return Definition(
        description=value["description"],
        columns=_columns(value["columns"]),
        unique_keys=tuple(
            UniqueKey(name=key["name"], columns=tuple(key["columns"]))
            for key in value["unique_keys"]
        ),
        checks=tuple(
            Check(name=check["name"], expression=check["expression"]) for check in value["checks"]
        ),
        labels=value["labels"],
        storage=value["storage"],
        column_ids=value["column_ids"],
        revision=value["revision"],
        delete_time=datetime.fromisoformat(deleted) if deleted else None,
    )


def write_columns(columns: Sequence[Column]) -> str:
    """Return the text of columns."""
    return json.dumps([_column_value(column) for column in columns])


def read_columns(text: str) -> tuple[Column, ...]:
    """Return the columns that `write_columns` wrote."""
    return _columns(json.loads(text))


def _column_value(column: Column) -> _Json:
    return {
        "id": column.id,
        "name": column.name,
        "type": _type_value(column.type),
        "not_null": column.not_null,
        "description": column.description,
        "default": _default_value(column.default) if column.default else None,
    }


def _default_value(default: Default) -> _Json:
    if default.function is not None:
        return {"function": default.function}
    return {"literal": b64encode(to_value(default.literal).SerializeToString()).decode()}


def _default(value: _Json) -> Default:
    if "function" in value:
        return Default(function=DefaultFunction(str(value["function"])))
    literal = value_pb2.Value.FromString(b64decode(str(value["literal"])))
    return Default(literal=from_value(literal))


def _type_value(type_: Type) -> _Json:
    return {
        "kind": type_.kind,
        "precision": type_.precision,
        "scale": type_.scale,
        "element": _type_value(type_.element) if type_.element else None,
        "fields": [_column_value(field) for field in type_.fields],
        "labels": type_.labels,
    }


def _columns(values: object) -> tuple[Column, ...]:
    assert isinstance(values, list)
    return tuple(
        Column(
            id=value["id"],
            name=value["name"],
            type=_type(value["type"]),
            not_null=value["not_null"],
            description=value["description"],
            default=_default(value["default"]) if value["default"] else None,
        )
        for value in values
    )


def _type(value: object) -> Type:
    assert isinstance(value, dict)
    return Type(
        kind=Kind(value["kind"]),
        precision=value["precision"],
        scale=value["scale"],
        element=_type(value["element"]) if value["element"] else None,
        fields=_columns(value["fields"]),
        labels=tuple(value["labels"]),
    )
