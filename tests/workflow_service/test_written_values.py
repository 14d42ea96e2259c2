"""Rows written out in a workflow: CEL values reach columns of every kind as they were meant."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from chassis.scalars import Json, Span
from flux.table.v1 import table_pb2
from tests.support.editor import Editor
from tests.support.harness import open_stack

# By kind: the expression, and what stands in the table then.
VALUES: dict[str, tuple[str, object]] = {
    "BOOL": ("1 < 2", True),
    "INT32": ("40 + 2", 42),
    "INT64": ("9007199254740993", 9007199254740993),
    "INT128": ("'170141183460469231731687303715884105727'", 2**127 - 1),
    "DECIMAL": ("'12.50'", Decimal("12.50")),
    "DOUBLE": ("0.1", 0.1),
    "STRING": ("'Grüße'", "Grüße"),
    "BYTES": ("b'\\x00\\xff'", b"\x00\xff"),
    "UUID": (
        "'00000000-0000-0000-0000-000000000001'",
        UUID("00000000-0000-0000-0000-000000000001"),
    ),
    "DATE": ("'2013-01-31'", date(2013, 1, 31)),
    "TIME": ("'05:15:00.5'", time(5, 15, 0, 500_000)),
    "TIMESTAMP": (
        "timestamp('2013-01-31T05:15:00.25Z')",
        datetime(2013, 1, 31, 5, 15, 0, 250_000, UTC),
    ),
    "LOCAL_TIMESTAMP": ("'2013-01-31T05:15:00'", datetime(2013, 1, 31, 5, 15)),  # noqa: DTZ001  # it has none
    "INTERVAL": ("duration('-90.5s')", Span(months=0, days=0, microseconds=-90_500_000)),
    "JSON": ("{'a': [1, null, 'x']}", Json('{"a": [1, null, "x"]}')),
}


async def test_values_of_cel_reach_columns_of_every_kind(tmp_path: Path) -> None:
    columns = [
        table_pb2.Column(
            name=kind.lower(),
            type=table_pb2.Type(
                kind=table_pb2.Type.Kind.Value(f"KIND_{kind}"), scale=2 if kind == "DECIMAL" else 0
            ),
        )
        for kind in VALUES
    ]
    row = {kind.lower(): expression for kind, (expression, _) in VALUES.items()}
    action = {"insert_rows": {"table": "kinds", "values": {"rows": [{"values": row}]}}}
    source = json.dumps({"name": "kinds", "steps": [{"id": "written", "action": action}]})
    async with open_stack(tmp_path, with_workflow=True) as stack:
        token = await stack.register("ada")
        editor = Editor(
            table=stack.peer(stack.table, token), workflow=stack.peer(stack.workflow, token)
        )
        await editor.create_table(table_pb2.Table(name="kinds", columns=columns))
        await editor.create_workflow(source)
        await editor.run("kinds")
        [found] = await editor.rows("SELECT * FROM kinds")
    assert dict(zip(VALUES, found, strict=True)) == {
        kind: expected for kind, (_, expected) in VALUES.items()
    }
