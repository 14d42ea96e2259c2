"""What people ask of their data is answered, however they write it."""

from __future__ import annotations

from decimal import Decimal

import grpc
import pytest

from flux.table.v1 import query_service_pb2 as messages
from tests.table_service.legitimate_sql import LATE, LEGITIMATE
from tests.table_service.serving import Served, create_dataset


async def test_legitimate_analytics_are_answered_and_explained(served: Served) -> None:
    client = served.client()
    late = (await create_dataset(client, LATE)).dataset.id
    failed = []
    for sql in LEGITIMATE:
        datasets = {"late": late} if "late" in sql else {}
        explain = messages.ExplainQueryRequest(sql=sql, datasets=datasets)
        try:
            answer = await client.query(sql, datasets=datasets)
            plan = (await client.call(client.queries.ExplainQuery, explain)).plan
        except grpc.aio.AioRpcError as error:
            failed.append((sql, error.details()))
            continue
        assert answer.header.columns, sql
        assert "tbl_" not in plan, sql
        assert "ds_" not in plan, sql
    assert not failed


@pytest.mark.parametrize("times", [1, 3])
async def test_repeated_query_answers_the_same(served: Served, times: int) -> None:
    client = served.client()
    sql = (
        "SELECT carrier, sum(delay) AS late FROM flights WHERE delay > $least GROUP BY 1 ORDER BY 1"
    )
    for _ in range(times):
        assert await client.values(sql, {"least": 0}) == [("UA", 16)]
        assert await client.values(sql, {"least": 6}) == [("UA", 11)]
        assert await client.values("SELECT $x", {"x": 1}) == [(1,)]
        assert await client.values("SELECT $x", {"x": 2**40}) == [(2**40,)]
        assert await client.values("SELECT $x", {"x": "one"}) == [("one",)]


async def test_result_that_was_small_may_grow(served: Served) -> None:
    client = served.client()
    sql = "SELECT range AS n FROM range($n)"
    for count in (3, 3, 5000, 5000, 2, 2, 1024, 1024, 1025, 1025):
        answer = await client.query(sql, {"n": count}, row_count_max=4000)
        assert len(answer.values()) == min(count, 4000)
        assert answer.summary.truncated == (count > 4000)


async def test_fields_without_names_are_numbered(served: Served) -> None:
    answer = await served.client().query("SELECT row(1, 'x', now() IS NULL) AS r, [row(2.5)] AS l")
    [r, _] = answer.header.columns
    assert [field.name for field in r.type.fields] == ["1", "2", "3"]
    [(first, second)] = answer.values()
    assert first == {"1": 1, "2": "x", "3": False}
    assert [dict(one) for one in second] == [{"1": Decimal("2.5")}]
