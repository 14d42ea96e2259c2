"""Territories, currencies and languages go in, change their schema and come out as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chassis.values import to_value
from flux.table.v1 import row_service_pb2, table_pb2, table_service_pb2
from tests.table_service import money
from tests.table_service.relation_calls import (
    alter,
    assert_holds,
    assert_query_gives,
    assert_references_hold,
    import_all,
    import_rows,
    migrate,
    revert,
)
from tests.table_service.relation_changes import (
    Operation,
    add,
    changed,
    drop,
    rename,
    reorder,
    retype,
    same_rows,
)
from tests.table_service.relation_files import CSV, FORMATS, JSON_LINES, PARQUET, rows_of
from tests.table_service.relations import Kind, relation, row_hashes
from tests.table_service.serving import Client, answered, column, reason, refused, serving

STATUS = table_pb2.Type(
    kind=Kind.KIND_ENUM, labels=["official", "de_facto_official", "official_regional"]
)
NUMBER = column("number", Kind.KIND_INT64)
NUMBER.default.function = table_pb2.Default.FUNCTION_SEQUENCE
Header = row_service_pb2.ImportHeader


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(tmp_path) as served:
        yield served.client()


async def test_every_table_comes_back_in_every_format(client: Client) -> None:
    await import_all(client, money.relations().values())
    for one in money.relations().values():
        await assert_holds(client, one)
        await assert_query_gives(client, one)
    await assert_references_hold(client, money.relations().values())


async def test_languages_go_to_enums_and_longer_decimals_and_back(client: Client) -> None:
    before = money.relations()["territory_languages"]
    await import_all(client, [before])
    await migrate(
        client,
        before,
        retype("status", STATUS, str),
        retype("percent", "decimal(15,10)", lambda percent: percent.quantize(Decimal("1e-10"))),
        rename("percent", "Prozent der Bevölkerung"),
        reorder(["status", "Prozent der Bevölkerung", "language", "territory"]),
    )
    await revert(client, before, 1)
    await assert_holds(client, before)


async def test_dates_go_to_text_and_back(client: Client) -> None:
    before = money.relations()["currency_uses"]
    await import_all(client, [before])
    written = await migrate(
        client,
        before,
        same_rows(drop_check=Operation.DropCheck(name="period")),
        retype("starts", "text", _written, "strftime(starts, '%d.%m.%Y')"),
        rename("starts", "since"),
    )
    await migrate(
        client,
        written,
        retype("since", "date", _read, "CAST(strptime(since, '%d.%m.%Y') AS DATE)"),
        rename("since", "starts"),
        same_rows(add_check=Operation.AddCheck(check=before.table.checks[0])),
    )
    await assert_holds(client, before)


def _written(day: date) -> str:
    return f"{day.day:02}.{day.month:02}.{day.year:04}"


def _read(text: str) -> date:
    day, month, year = text.split(".")
    return date(int(year), int(month), int(day))


async def test_counter_that_is_added_numbers_the_rows_there_are(client: Client) -> None:
    before = money.relations()["currency_uses"]
    await import_all(client, [before])
    await alter(client, before, add(NUMBER, None, after="territory"))
    numbers = await client.values("SELECT number FROM currency_uses ORDER BY number")
    assert numbers == [(at,) for at in range(1, len(before.rows) + 1)]
    assert reason(await refused(revert(client, before, 1))) == "MIGRATION_LOSSY"
    await migrate(client, changed(before, [add(NUMBER, None)]), drop("number"))


async def test_upsert_and_replace_by_file_leave_what_the_source_says(client: Client) -> None:
    names = money.relations()["currency_names"]
    await import_all(client, [names])
    half = len(names.rows) // 2
    # Half of the rows with other values, under keys that are there.
    other = replace(names, rows=tuple((*row[:2], "?", None) for row in names.rows[:half]))
    await import_rows(client, other, CSV, mode=Header.MODE_UPSERT, key="locale_currency")
    [(changed_count,)] = await client.values("SELECT count(*) FROM currency_names WHERE name = '?'")
    assert changed_count == half
    answer = await import_rows(
        client, names, PARQUET, mode=Header.MODE_UPSERT, key="locale_currency"
    )
    assert (answer.row_count, answer.created_count) == (len(names.rows), 0)
    await assert_holds(client, names)
    reverse = replace(names, rows=names.rows[::-1])
    answer = await import_rows(client, reverse, JSON_LINES, mode=Header.MODE_REPLACE)
    assert (answer.row_count, answer.replaced_count) == (len(names.rows), len(names.rows))
    await assert_holds(client, reverse)


@pytest.mark.parametrize("file_format", FORMATS)
async def test_file_makes_its_own_table(client: Client, file_format: Any) -> None:
    uses = money.relations()["currency_uses"]
    made = replace(uses, table=table_pb2.Table(name="made", columns=uses.table.columns))
    for one in made.table.columns:
        one.not_null = False
    await import_rows(client, made, file_format, mode=Header.MODE_CREATE)
    request = table_service_pb2.GetTableRequest(table="made")
    found = (await client.call(client.tables.GetTable, request)).table
    assert [(c.name, c.type) for c in found.columns] == [(c.name, c.type) for c in made.columns]
    await assert_holds(client, made)


@pytest.mark.parametrize("file_format", FORMATS)
async def test_join_is_exported_as_python_joins(client: Client, file_format: Any) -> None:
    await import_all(client, money.relations().values())
    names = {row[:2]: row[2] for row in money.relations()["currency_names"].rows}
    expected = relation(
        "joined",
        "territory:text starts:date name:text",
        (
            (territory, starts, names["hi", currency])
            for territory, currency, starts, _, _ in money.relations()["currency_uses"].rows
            if ("hi", currency) in names
        ),
    )
    request = row_service_pb2.ExportRowsRequest(
        sql="SELECT territory, starts, n.name FROM currency_uses u JOIN currency_names n "
        "ON n.currency = u.currency AND n.locale = $locale",
        parameters={"locale": to_value("hi")},
        format=file_format,
    )
    parts = await answered(client.rows.ExportRows(request, metadata=client.metadata))
    content = b"".join(part.chunk for part in parts[:-1])
    found = row_hashes(expected.columns, rows_of(content, expected.columns, file_format))
    assert sorted(found) == sorted(row_hashes(expected.columns, expected.rows))
