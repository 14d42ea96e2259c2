"""The adversarial corpus through a real port: refused or harmless, and the service goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from chassis.values import to_value
from flux.table.v1 import query_service_pb2 as messages
from table_service.store.database import Limits
from table_service.store.heavy import HeavyLimits
from tests.table_service import adversarial_sql as corpus
from tests.table_service.serving import (
    FLIGHTS,
    Client,
    Kind,
    Served,
    column,
    create_dataset,
    reason,
    refused,
    serving,
)

REFUSALS = {"SQL_REFUSED", "SQL_INVALID"}
MEMORY = Limits(memory="200MB", spill="200MB", threads=2)


@pytest.fixture
async def attacked(tmp_path: Path) -> AsyncIterator[Served]:
    """Somebody's flights, and somebody else's secrets."""
    limits = HeavyLimits(query_time_s=1.5, result_rows=100_000, result_bytes=4_000_000)
    async with serving(tmp_path, limits=limits, store_limits=MEMORY) as served:
        other = served.client("usr_2")
        await other.create_table("secrets", column("id", Kind.KIND_INT64))
        client = served.client()
        await client.create_table(
            "flights",
            column("id", Kind.KIND_INT64),
            column("carrier", Kind.KIND_STRING),
            column("delay", Kind.KIND_INT32),
        )
        await client.import_file("flights", FLIGHTS)
        yield served


def physical(served: Served, name: str) -> str:
    return served.store.writer.catalog.active["main", name].storage


async def refusal(client: Client, sql: str) -> tuple[str, str]:
    """Return the reason and the sentence with which a query is refused; no reason if it is answered."""
    names = {name: 1 for name in ("n", "name") if f"${name}" in sql}
    try:
        await client.query(sql, names)
    except grpc.aio.AioRpcError as error:
        return reason(error), str(error.details())
    return "", "answered"


async def test_refused_says_nothing_of_the_server(attacked: Served) -> None:
    client, admitted = attacked.client(), []
    secret = [str(attacked.store.spool.parent), physical(attacked, "flights"), "flux.duckdb"]
    for sql in (*corpus.REFUSED, *corpus.TOO_BIG):
        why, sentence = await refusal(client, sql)
        if why not in REFUSALS or any(text in sentence for text in secret):
            admitted.append((sql[:100], why, sentence[:200]))
    assert not admitted
    assert await client.values("SELECT count(*), sum(delay) FROM flights") == [(4, 13)]


async def test_what_is_anothers_is_answered_like_what_is_not_there(attacked: Served) -> None:
    client, found = attacked.client(), []
    for template in corpus.UNSEEN:
        for name in ("flights", "secrets"):
            sql = template.replace("{table}", physical(attacked, name))
            why, sentence = await refusal(client, sql)
            if why not in {"TABLE_NOT_FOUND", "SQL_INVALID"} or "may" in sentence:
                found.append((sql, why, sentence))
    assert not found
    there, not_there = await refusal(client, "FROM secrets"), await refusal(client, "FROM zecrets")
    assert there == (not_there[0], not_there[1].replace("zecrets", "secrets"))


async def test_closed_namespaces_stay_closed(attacked: Served) -> None:
    client = attacked.client()
    for sql in corpus.CLOSED:
        why, _ = await refusal(client, sql)
        assert why == "NAMESPACE_CLOSED", sql


@pytest.mark.parametrize("sql", corpus.LIMITED, ids=lambda sql: sql[:60])
async def test_what_is_endless_ends_and_others_go_on(attacked: Served, sql: str) -> None:
    why, sentence = await refusal(attacked.client(), sql)
    assert why == "QUERY_LIMIT", sentence
    assert await attacked.client("usr_2").values("SELECT 1") == [(1,)]


async def test_harmless_is_answered(attacked: Served) -> None:
    client = attacked.client()
    for sql, value in corpus.HARMLESS:
        assert await client.values(sql) == [(value,)], sql


async def test_every_door_has_the_same_walls(attacked: Served) -> None:
    client = attacked.client()
    for sql in corpus.REFUSED[::7]:
        parameters = {"name": to_value("sum")} if "$name" in sql else {}
        explain = messages.ExplainQueryRequest(sql=sql, parameters=parameters, analyze=True)
        describe = messages.DescribeQueryRequest(sql=sql, parameter_names=list(parameters))
        for call in (
            client.call(client.queries.ExplainQuery, explain),
            client.call(client.queries.DescribeQuery, describe),
            create_dataset(client, sql, parameters=parameters),
        ):
            assert reason(await refused(call)) in REFUSALS, sql
    assert not attacked.store.datasets
