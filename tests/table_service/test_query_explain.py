"""ExplainQuery: what a plan says, and that it says nothing of the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chassis.faults import InvalidArgument
from chassis.values import to_value
from flux.table.v1 import query_service_pb2 as messages
from table_service.plans import PLAN_CHARACTERS_MAX, plan_text
from table_service.store.heavy import HeavyLimits
from tests.table_service.serving import Client, Served, create_dataset, reason, refused, serving

TABLE = "tbl_01J8ZQ00000000000000000000"
ENDLESS = "SELECT count(*) FROM range(100000) a, range(100000) b WHERE a.range * b.range = -1"


async def explain(client: Client, sql: str, **fields: object) -> messages.ExplainQueryResponse:
    request = messages.ExplainQueryRequest(sql=sql, **fields)  # type: ignore[arg-type]  # as given
    answer: messages.ExplainQueryResponse = await client.call(client.queries.ExplainQuery, request)
    return answer


async def test_plan_names_what_is_read_as_its_caller_does(served: Served) -> None:
    client = served.client()
    made = await create_dataset(client, "SELECT 'UA' AS carrier, 7 AS n")
    answer = await explain(
        client,
        "SELECT carrier, count(*) FROM flights f JOIN names USING (carrier) WHERE delay > $least"
        " GROUP BY 1 ORDER BY 2",
        parameters={"least": to_value(3)},
        datasets={"names": made.dataset.id},
    )
    lines = answer.plan.splitlines()
    assert any(line.strip().startswith("SEQ_SCAN flights | ") for line in lines), answer.plan
    assert any(line.strip().startswith("SEQ_SCAN names | ") for line in lines), answer.plan
    assert "about" in answer.plan
    assert lines[0] == lines[0].strip() != ""
    assert lines[-1].startswith("  ")
    assert list(answer.tables) == ["flights"]
    assert not answer.HasField("duration")
    for told in ("tbl_", "ds_", "__internal", "flux.", str(served.store.spool.parent)):
        assert told not in answer.plan


async def test_analyze_runs_the_query_and_says_how_long(served: Served) -> None:
    answer = await explain(
        served.client(), "SELECT sum(delay) FROM flights WHERE id < 4", analyze=True
    )
    assert answer.duration.ToTimedelta().total_seconds() > 0
    assert " rows in 0." in answer.plan
    assert "flights" in answer.plan
    assert "tbl_" not in answer.plan


async def test_explaining_has_the_limits_of_querying(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=HeavyLimits(query_time_s=0.2)) as served:
        client = served.client()
        assert (await explain(client, ENDLESS)).plan
        error = await refused(explain(client, ENDLESS, analyze=True))
        assert reason(error) == "QUERY_LIMIT"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT nope FROM flights", "SQL_INVALID"),
        ("FROM nowhere", "TABLE_NOT_FOUND"),
        ("FROM auth.users", "NAMESPACE_CLOSED"),
        ("DELETE FROM flights", "SQL_REFUSED"),
        ("SELECT carrier::INT FROM flights", "QUERY_FAILED"),
    ],
)
async def test_what_cannot_run_cannot_be_explained(served: Served, sql: str, expected: str) -> None:
    error = await refused(explain(served.client(), sql, analyze=True))
    assert reason(error) == expected
    assert "tbl_" not in str(error.details())


def test_names_within_details_are_the_callers() -> None:
    plan = [
        {
            "name": "SEQ_SCAN ",
            "extra_info": {
                "Table": f'flux.main."{TABLE}_v3"',
                "Filters": [f"{TABLE}_v3.a > 1", "tbl_01J8ZQ99999999999999999999.b"],
                "Projections": "__internal_compress_string_uinteger(__internal_x(#0))",
                "Estimated Cardinality": "7",
            },
        }
    ]
    text = plan_text(json.dumps(plan), {f"{TABLE}_v3": "flights"}, analyzed=False)
    assert text == (
        "SEQ_SCAN flights | filters: flights.a > 1, ….b | projections: #0 | about 7 rows"
    )


def test_long_details_and_long_plans_are_cut() -> None:
    node: dict[str, object] = {"name": "FILTER", "extra_info": {"Expression": "x" * 9_999}}
    assert len(plan_text(json.dumps([node]), {}, analyzed=False)) < 600
    text = plan_text(json.dumps([node] * 4_000), {}, analyzed=False)
    assert PLAN_CHARACTERS_MAX - 1_000 < len(text) <= PLAN_CHARACTERS_MAX
    assert text.endswith("\n…")


def test_plan_too_deep_to_read_is_refused() -> None:
    deep = '[{"name":"FILTER","children":' * 3_000 + "[]" + "}]" * 3_000
    with pytest.raises(InvalidArgument):
        plan_text(deep, {}, analyzed=False)
