"""Relations in a running table_service: made, filled, read back, and held against their source."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import Any

from flux.table.v1 import migration_pb2, row_service_pb2, table_service_pb2
from tests.table_service.relation_changes import Change, changed
from tests.table_service.relation_files import ARROW, FORMATS, file_of, rows_of
from tests.table_service.relations import Relation, row_hashes
from tests.table_service.serving import Client


async def create(client: Client, relation: Relation) -> None:
    """Make the table of a relation."""
    request = table_service_pb2.CreateTableRequest(table=relation.table)
    await client.call(client.tables.CreateTable, request)


async def import_all(client: Client, relations: Iterable[Relation]) -> None:
    """Make every table and import its rows, one format after the other in turn."""
    for relation, file_format in zip(relations, cycle(FORMATS), strict=False):
        await create(client, relation)
        await import_rows(client, relation, file_format)


async def import_rows(
    client: Client, relation: Relation, file_format: Any, **fields: Any
) -> row_service_pb2.ImportRowsResponse:
    """Import the rows of a relation and return the last answer."""
    header = row_service_pb2.ImportHeader(table=relation.name, format=file_format, **fields)
    answer = (await client.import_answers(header, file_of(relation, file_format)))[-1]
    assert answer.row_count == len(relation.rows), relation.name
    return answer


async def assert_holds(client: Client, relation: Relation, *formats: Any) -> None:
    """Check that exports, in every format if none is named, have the relation's columns and rows in order."""
    expected = row_hashes(relation.columns, relation.rows)
    for file_format in formats or FORMATS:
        content = await client.export_file(relation.name, file_format)
        found = row_hashes(relation.columns, rows_of(content, relation.columns, file_format))
        name = row_service_pb2.FileFormat.Name(file_format)
        assert found == expected, (relation.name, name)


async def assert_query_gives(client: Client, relation: Relation) -> None:
    """Check that a query has the relation's rows, as typed values."""
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in relation.names)
    values = await client.values(f'SELECT {names} FROM "{relation.name}" ORDER BY _row_id')
    assert row_hashes(relation.columns, values) == row_hashes(relation.columns, relation.rows)


async def assert_references_hold(client: Client, relations: Iterable[Relation]) -> None:
    """Check that joins over every reference find the row that is meant."""
    for relation in relations:
        for reference in relation.references:
            pairs = zip(reference.columns, reference.target_columns, strict=True)
            equal = " AND ".join(f's."{here}" = t."{there}"' for here, there in pairs)
            known = " AND ".join(f's."{here}" IS NOT NULL' for here in reference.columns)
            sql = (
                f'SELECT count(*) FROM "{relation.name}" s ANTI JOIN "{reference.target}" t '
                f"ON {equal} WHERE {known}"
            )
            assert await client.values(sql) == [(0,)], (relation.name, reference)


async def alter(
    client: Client, relation: Relation, *changes: Change, **fields: Any
) -> migration_pb2.MigrationPlan:
    """Ask for the changes of a table's schema and return the plan."""
    request = table_service_pb2.AlterTableRequest(
        table=relation.name, operations=[change.operation for change in changes], **fields
    )
    answer: table_service_pb2.AlterTableResponse
    answer = await client.call(client.tables.AlterTable, request)
    return answer.plan


async def migrate(client: Client, relation: Relation, *changes: Change, **fields: Any) -> Relation:
    """Change a table's schema, check that it holds what it should then, and return that."""
    plan = await alter(client, relation, *changes, **fields)
    assert (len(plan.steps), plan.row_count) == (len(changes), len(relation.rows))
    assert not plan.obstacles
    after = changed(relation, changes)
    await assert_holds(client, after, ARROW)
    return after


async def revert(client: Client, relation: Relation, schema_version: int) -> None:
    """Bring an earlier schema of a table back."""
    request = table_service_pb2.RevertTableRequest(
        table=relation.name, schema_version=schema_version
    )
    await client.call(client.tables.RevertTable, request)
