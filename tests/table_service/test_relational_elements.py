"""The chemical elements go in, change their schema and come out with every value as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from flux.table.v1 import table_pb2
from flux.type.v1 import value_pb2
from tests.table_service import elements
from tests.table_service.relation_calls import (
    alter,
    assert_holds,
    assert_query_gives,
    assert_references_hold,
    import_all,
    migrate,
    revert,
)
from tests.table_service.relation_changes import (
    Operation,
    add,
    combine,
    drop,
    rename,
    reorder,
    retype,
    same_rows,
)
from tests.table_service.relation_files import CSV, JSON_LINES, PARQUET
from tests.table_service.relations import Kind
from tests.table_service.serving import Client, column, reason, refused, serving

BLOCKS = table_pb2.Type(kind=Kind.KIND_ENUM, labels=["s", "p", "d", "f"])
RELATIONS = table_pb2.Type(kind=Kind.KIND_ENUM, labels=["=", "~", "<", ">", " "])
HALF_LIFE = table_pb2.Type(
    kind=Kind.KIND_STRUCT,
    fields=[column("value", Kind.KIND_DOUBLE), column("unit", Kind.KIND_STRING)],
)
KNOWN = column("known", Kind.KIND_BOOL, not_null=True)
KNOWN.default.literal.bool = True
DASH = "\N{EN DASH}"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(tmp_path) as served:
        yield served.client()


async def test_every_table_comes_back_in_every_format(client: Client) -> None:
    await import_all(client, elements.relations().values())
    for relation in elements.relations().values():
        await assert_holds(client, relation)
        await assert_query_gives(client, relation)
    await assert_references_hold(client, elements.relations().values())


async def test_elements_survive_every_kind_of_operation(client: Client) -> None:
    await import_all(client, elements.relations().values())
    before = elements.relations()["elements"]
    year = value_pb2.Value(int64=1800)
    after = await migrate(
        client,
        before,
        rename("name_origin", "etymology"),
        retype("block", BLOCKS, str),
        retype("en_pauling", "double", float),
        retype("discovery_year", "int64", int),
        retype(
            "recycling_rate",
            "text",
            lambda rate: rate.replace(DASH, " to "),
            using=f"replace(recycling_rate, '{DASH}', ' to ')",
        ),
        add(KNOWN, True, after="symbol"),
        drop("vdw_radius"),
        same_rows(
            set_default=Operation.SetDefault(
                column="discovery_year", default=table_pb2.Default(literal=year)
            )
        ),
        same_rows(drop_not_null=Operation.DropNotNull(column="cas")),
        same_rows(
            set_description=Operation.SetDescription(
                column="cas", description="CAS Registry Number"
            )
        ),
        same_rows(
            add_unique_key=Operation.AddUniqueKey(
                key=table_pb2.UniqueKey(columns=["cas"], name="registry")
            )
        ),
        same_rows(
            add_check=Operation.AddCheck(
                check=table_pb2.Check(name="heavy", expression="atomic_weight >= 1")
            )
        ),
        same_rows(drop_unique_key=Operation.DropUniqueKey(name="symbol")),
    )
    order = sorted(after.names, reverse=True)
    after = await migrate(client, after, reorder(order), rename("uses", 'made "into"'))
    await assert_holds(client, after)
    await assert_references_hold(client, elements.relations().values())


async def test_isotopes_go_to_structs_and_wider_numbers_and_back(client: Client) -> None:
    before = elements.relations()["isotopes"]
    await import_all(client, [before])
    after = await migrate(
        client,
        before,
        same_rows(drop_check=Operation.DropCheck(name="half_life")),
        combine(
            "half_life",
            HALF_LIFE,
            "{'value': half_life, 'unit': half_life_unit}",
            lambda half_life, half_life_unit, **_: {"value": half_life, "unit": half_life_unit},
        ),
        rename("half_life_unit", "unit"),
        retype("mass_number", "int64", int),
    )
    await assert_holds(client, after, CSV, JSON_LINES, PARQUET)
    await migrate(
        client,
        after,
        combine(
            "half_life",
            before.columns[7].type,
            "half_life.value",
            lambda half_life, **_: half_life["value"],
        ),
        rename("unit", "half_life_unit"),
        retype("mass_number", "int16", int),
        same_rows(add_check=Operation.AddCheck(check=before.table.checks[1])),
    )


async def test_reverting_brings_the_first_schema_back_with_every_value(client: Client) -> None:
    before = elements.relations()["isotopedecaymodes"]
    await import_all(client, [before])
    after = await migrate(
        client,
        before,
        rename("mode", "decay"),
        retype("relation", RELATIONS, str),
        retype("isotope_id", "int64", int),
        reorder(["decay", "intensity", "id", "isotope_id", "relation", *before.names[5:]]),
    )
    await migrate(
        client,
        after,
        same_rows(
            add_check=Operation.AddCheck(
                check=table_pb2.Check(name="named", expression="length(decay) > 0")
            )
        ),
    )
    await revert(client, before, 1)
    await assert_holds(client, before)


async def test_reverting_refuses_to_lose_values_and_brings_no_lost_ones_back(
    client: Client,
) -> None:
    before = elements.relations()["ionicradii"]
    await import_all(client, [before])
    after = await migrate(client, before, add(KNOWN, True), drop("origin"))
    error = await refused(revert(client, before, 1))
    assert reason(error) == "MIGRATION_LOSSY"
    assert "known" in str(error.details())
    await assert_holds(client, after, CSV)
    await migrate(client, after, drop("known"))
    await revert(client, before, 1)
    at = before.names.index("origin")
    empty = tuple((*row[:at], None, *row[at + 1 :]) for row in before.rows)
    await assert_holds(client, replace(before, rows=empty))


async def test_rows_that_stand_against_a_migration_are_counted_and_shown(client: Client) -> None:
    relation = elements.relations()["elements"]
    await import_all(client, [relation])
    nulls = [row[0] for row in relation.rows if row[relation.names.index("description")] is None]
    plan = await alter(
        client,
        relation,
        same_rows(set_not_null=Operation.SetNotNull(column="description")),
        same_rows(
            add_check=Operation.AddCheck(
                check=table_pb2.Check(name="recent", expression="discovery_year > 1750")
            )
        ),
        same_rows(
            add_unique_key=Operation.AddUniqueKey(key=table_pb2.UniqueKey(columns=["period"]))
        ),
        retype("cas", "int32", int),
        validate_only=True,
    )
    years = [row[relation.names.index("discovery_year")] for row in relation.rows]
    found = {obstacle.operation: obstacle for obstacle in plan.obstacles}
    assert found[0].row_count == len(nulls)
    assert {sample.row_id for sample in found[0].samples} <= set(nulls)
    assert found[1].row_count == sum(isinstance(year, int) and year <= 1750 for year in years)
    assert found[2].row_count > 0
    assert found[3].row_count == len(relation.rows)
    error = await refused(
        alter(client, relation, same_rows(set_not_null=Operation.SetNotNull(column="description")))
    )
    assert reason(error) == "MIGRATION_BLOCKED"
    await assert_holds(client, relation)
