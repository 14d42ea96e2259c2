"""QueryService through a real port: what people's SQL gives, may not do, and where it ends."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest

from chassis.scalars import Json, Span
from flux.table.v1 import query_service_pb2 as messages
from flux.table.v1 import rows_pb2
from table_service.store.heavy import HeavyLimits
from tests.support.waiting import eventually_true
from tests.table_service.serving import (
    Kind,
    Served,
    column,
    create_dataset,
    reason,
    refused,
    serving,
)

Rows = rows_pb2.Rows
ENDLESS = (
    "SELECT count(*) FROM range(100000) a, range(100000) b, range(1000) c"
    " WHERE (a.range * b.range + c.range) % 7 = 9"
)
# DuckDB 1.5 does not parse what 2.0 parses and the sandbox refuses.
REFUSED_OR_INVALID = "SQL_REFUSED or SQL_INVALID"


async def test_query_answers_header_rows_and_summary(served: Served) -> None:
    answer = await served.client().query(
        "SELECT carrier, count(*) AS flights, avg(delay) AS late FROM flights GROUP BY 1 ORDER BY 1"
    )
    assert [c.name for c in answer.header.columns] == ["carrier", "flights", "late"]
    assert [c.type.kind for c in answer.header.columns] == [
        Kind.KIND_STRING,
        Kind.KIND_INT64,
        Kind.KIND_DOUBLE,
    ]
    assert answer.values() == [("AA", 1, -3.0), ("DL", 1, None), ("UA", 2, 8.0)]
    assert (answer.summary.row_count, answer.summary.truncated) == (3, False)
    assert answer.summary.duration.ToTimedelta() > timedelta(0)


async def test_result_of_no_rows_has_its_header(served: Served) -> None:
    answer = await served.client().query("SELECT id FROM flights WHERE false")
    assert [c.name for c in answer.header.columns] == ["id"]
    assert answer.values() == []
    assert answer.summary.row_count == 0


async def test_order_of_the_query_is_the_order_of_the_rows(served: Served) -> None:
    found = await served.client().values("SELECT range FROM range(50000) ORDER BY range DESC")
    assert found == [(number,) for number in reversed(range(50000))]


@pytest.mark.parametrize(
    "value",
    [
        *(True, 7, -(2**63), 2**100, -(2**127), 1.5, "text", "", b"\x00\xff", None),
        *(Decimal("12.50"), Decimal("1E+5"), Decimal("-0.001"), Decimal("9" * 38)),
        *(date(2013, 1, 31), time_of_day(5, 15, 0, 1), datetime.fromisoformat("2013-01-31T05:15")),
        *(datetime(2013, 1, 31, 5, 15, 0, 7, tzinfo=UTC), UUID(int=7), Json('{"a":1}')),
        *(Span(months=14, days=-3, microseconds=1), [1, 2], ["a", None], [date(2013, 1, 31)]),
        [Span(months=1, days=0, microseconds=0)],
    ],
)
async def test_parameter_of_every_kind_comes_back_as_it_went(served: Served, value: object) -> None:
    [[back]] = await served.client().values("SELECT $x", {"x": value})
    assert back == value


async def test_missing_and_unused_parameters_are_all_named(served: Served) -> None:
    error = await refused(served.client().query("SELECT $a, $b", {"b": 1, "c": 2}))
    assert reason(error) == "SQL_INVALID"
    assert error.details() == "no value for $a; the SQL does not use $c"


async def test_decimal_that_would_be_rounded_is_refused(served: Served) -> None:
    error = await refused(served.client().query("SELECT $a", {"a": Decimal("1" * 39)}))
    assert reason(error) == "SQL_INVALID"


async def test_json_encoding_loses_nothing(served: Served) -> None:
    answer = await served.client().query(
        "SELECT 9007199254740993::BIGINT AS big, 1.10::DECIMAL(5,2) AS price, 7 AS small,"
        " TIMESTAMPTZ '2013-01-01 05:00:00+00' AS t, 'nan'::DOUBLE AS odd",
        encoding=Rows.ENCODING_JSON,
    )
    [row] = answer.batches[0].json.rows
    assert dict(row) == {
        "big": "9007199254740993",
        "price": "1.10",
        "small": 7,
        "t": "2013-01-01T05:00:00Z",
        "odd": "NaN",
    }


async def test_batches_stay_under_a_mebibyte_in_every_encoding(served: Served) -> None:
    sql = "SELECT range AS n, substring(repeat('x', 300), 1, (range % 300)::INT) AS s FROM range(30000)"
    for encoding in (Rows.ENCODING_TYPED, Rows.ENCODING_JSON, Rows.ENCODING_ARROW_IPC):
        answer = await served.client().query(sql, encoding=encoding)
        assert len(answer.batches) > 3
        assert max(batch.ByteSize() for batch in answer.batches) <= 1024 * 1024
        assert answer.summary.row_count == 30000
    tables = [pa.ipc.open_stream(batch.arrow_ipc).read_all() for batch in answer.batches]
    assert pa.concat_tables(tables).column("n").to_pylist() == list(range(30000))


async def test_row_count_max_cuts_and_says_so(served: Served) -> None:
    client = served.client()
    cut = await client.query("SELECT id FROM flights ORDER BY id", row_count_max=3)
    assert (cut.values(), cut.summary.truncated) == ([(1,), (2,), (3,)], True)
    whole = await client.query("SELECT id FROM flights", row_count_max=4)
    assert (whole.summary.row_count, whole.summary.truncated) == (4, False)


async def test_columns_of_one_name_get_names_of_their_own(served: Served) -> None:
    answer = await served.client().query(
        "SELECT a.id, b.id, 1 AS ID FROM flights a, flights b LIMIT 1"
    )
    assert [c.name for c in answer.header.columns] == ["id", "id_1", "ID_2"]


async def test_system_columns_are_there_for_whoever_names_them(served: Served) -> None:
    client = served.client()
    star = await client.query("SELECT * FROM flights LIMIT 1")
    assert [c.name for c in star.header.columns] == ["id", "carrier", "delay"]
    assert await client.values("SELECT _row_id, _version FROM flights WHERE id = 1") == [(1, 1)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELEC 1", "SQL_INVALID"),
        ("SELECT nope FROM flights", "SQL_INVALID"),
        ("SELECT 1; SELECT 2", "SQL_REFUSED"),
        ("DELETE FROM flights", "SQL_REFUSED"),
        ("WITH x AS (DELETE FROM flights RETURNING *) FROM x", REFUSED_OR_INVALID),
        ("WITH x AS (COPY (SELECT 1) TO '/tmp/y') FROM x", REFUSED_OR_INVALID),
        ("COPY flights TO '/tmp/x'", "SQL_REFUSED"),
        ("SELECT * FROM read_csv('/etc/passwd')", "SQL_REFUSED"),
        ("SELECT * FROM '/etc/passwd'", "TABLE_NOT_FOUND"),
        ("SELECT * FROM duckdb_tables()", "SQL_REFUSED"),
        ("SELECT * FROM information_schema.tables", "NAMESPACE_CLOSED"),
        ("SELECT * FROM catalog.receipts", "NAMESPACE_CLOSED"),
        ("SELECT * FROM auth.users", "NAMESPACE_CLOSED"),
        ("SELECT * FROM datasets.ds_1", "NAMESPACE_CLOSED"),
        ("SELECT * FROM flux.main.flights", "SQL_REFUSED"),
        ("SELECT * FROM nowhere", "TABLE_NOT_FOUND"),
        ("SELECT current_setting('temp_directory')", "SQL_REFUSED"),
        ("SELECT getenv('HOME')", "SQL_REFUSED"),
        ("SET memory_limit = '1TB'", "SQL_REFUSED"),
        ("ATTACH '/tmp/x.db'", "SQL_REFUSED"),
        ("SELECT repeat('a', 2000000000)", "SQL_REFUSED"),
        pytest.param("SELECT " + "(" * 49000 + "1" + ")" * 49000, "SQL_REFUSED", id="brackets"),
        pytest.param("FROM a" + ",a" * 49000, REFUSED_OR_INVALID, id="joins"),
        ("SELECT carrier::INT FROM flights", "QUERY_FAILED"),
        ("SELECT error('no') FROM flights", "QUERY_FAILED"),
    ],
)
async def test_sql_that_is_refused_says_why_and_nothing_of_the_server(
    served: Served, sql: str, expected: str
) -> None:
    client = served.client()
    error = await refused(client.query(sql))
    assert reason(error) in expected
    [table_id] = served.store.writer.catalog.by_id
    assert table_id not in str(error.details())
    assert str(served.store.spool.parent) not in str(error.details())
    created = await refused(create_dataset(client, sql))
    assert reason(created) in expected
    assert not served.store.datasets


async def test_a_query_cannot_write_even_past_the_sandbox(served: Served) -> None:
    """The second wall: a statement that writes does not bind in a transaction that reads."""
    import duckdb  # noqa: PLC0415

    from table_service.store.statements import Names, Statement, describe  # noqa: PLC0415

    [table] = served.store.writer.catalog.by_id
    cursor = served.store.database.cursor()
    nothing = Names(tables=frozenset(), parameters=frozenset(), system_columns=False)
    for sql in (
        f'WITH x AS (DELETE FROM main."{table}" RETURNING *) FROM x',
        f'DELETE FROM main."{table}" RETURNING *',
        f'INSERT INTO main."{table}" VALUES (9, 9, 9, 9, 9)',
        "COPY (SELECT 1) TO '/tmp/y'",
    ):
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        with pytest.raises(duckdb.Error):
            describe(cursor, Statement(sql=sql, names=nothing), {})
        cursor.execute("ROLLBACK")
    assert await served.client().values("SELECT count(*) FROM flights") == [(4,)]


async def test_client_that_goes_stops_its_query(served: Served) -> None:
    client = served.client()
    request = messages.QueryRequest(sql=ENDLESS)
    call = client.queries.Query(request, metadata=client.metadata)
    waiting = asyncio.create_task(call.read())
    await eventually_true(lambda: served.heavy.query_jobs._jobs == 1)
    call.cancel()
    started = time.monotonic()
    await eventually_true(lambda: served.heavy.query_jobs._jobs == 0, every_s=0.005)
    assert time.monotonic() - started < 0.5
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_query_past_its_time_is_stopped(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=HeavyLimits(query_time_s=0.2)) as served:
        client = served.client()
        for call in (client.query(ENDLESS), create_dataset(client, ENDLESS)):
            started = time.monotonic()
            error = await refused(call)
            assert reason(error) == "QUERY_LIMIT"
            assert time.monotonic() - started < 2
        assert not served.store.datasets
        assert await client.values("SELECT 1") == [(1,)]


async def test_result_past_its_bytes_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=HeavyLimits(result_bytes=1_000_000)) as served:
        error = await refused(served.client().query("SELECT * FROM range(1000000)"))
        assert reason(error) == "QUERY_LIMIT"


async def test_query_past_memory_is_refused(served: Served) -> None:
    sql = "SELECT list(repeat('x', 10000)) FROM range(1000000)"
    error = await refused(served.client().query(sql))
    assert reason(error) == "QUERY_LIMIT"


async def test_queries_past_the_queue_are_refused(tmp_path: Path) -> None:
    limits = HeavyLimits(query_threads=1, query_queue=1)
    async with serving(tmp_path, limits=limits) as served:
        client = served.client()
        calls = [asyncio.create_task(client.query(ENDLESS)) for _ in range(3)]
        error = await refused(
            next(iter((await asyncio.wait(calls, return_when="FIRST_COMPLETED"))[0]))
        )
        assert reason(error) == "QUEUE_FULL"
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await eventually_true(lambda: served.heavy.query_jobs._jobs == 0)
        assert await client.values("SELECT 1") == [(1,)]


async def test_slow_reader_holds_no_snapshot(served: Served) -> None:
    client = served.client()
    request = messages.QueryRequest(
        sql="SELECT range, repeat('x', 1000) FROM range(50000)", encoding=Rows.ENCODING_TYPED
    )
    call = client.queries.Query(request, metadata=client.metadata)
    parts = aiter(call)
    assert (await anext(parts)).WhichOneof("part") == "header"
    assert served.heavy.query_jobs._jobs == 0
    rest = [part async for part in parts]
    assert rest[-1].summary.row_count == 50000


async def test_describe_gives_columns_and_what_is_read(served: Served) -> None:
    client = served.client()
    relation = messages.DescribeQueryRequest.Relation(
        columns=[column("carrier", Kind.KIND_STRING), column("name", Kind.KIND_STRING)]
    )
    answer = await client.call(
        client.queries.DescribeQuery,
        messages.DescribeQueryRequest(
            sql="SELECT f.carrier, a.name, sum(delay) AS late FROM flights f JOIN names a"
            " USING (carrier) WHERE delay > $least GROUP BY ALL",
            parameter_names=["least"],
            relations={"names": relation, "unread": relation},
        ),
    )
    assert [(c.name, c.type.kind) for c in answer.columns] == [
        ("carrier", Kind.KIND_STRING),
        ("name", Kind.KIND_STRING),
        ("late", Kind.KIND_INT128),
    ]
    assert (list(answer.tables), list(answer.relations)) == (["flights"], ["names"])


@pytest.mark.parametrize(
    ("sql", "names", "expected"),
    [
        ("SELECT nope FROM flights", [], "SQL_INVALID"),
        ("SELECT nope FROM step", [], "SQL_INVALID"),
        ("SELECT $a", [], "SQL_INVALID"),
        ("SELECT 1", ["a"], "SQL_INVALID"),
        ("SELECT * FROM nowhere", [], "TABLE_NOT_FOUND"),
        ("DELETE FROM flights", [], "SQL_REFUSED"),
    ],
)
async def test_describe_refuses_what_could_not_run(
    served: Served, sql: str, names: list[str], expected: str
) -> None:
    client = served.client()
    relation = messages.DescribeQueryRequest.Relation(columns=[column("x", Kind.KIND_INT64)])
    request = messages.DescribeQueryRequest(
        sql=sql, parameter_names=names, relations={"step": relation}
    )
    error = await refused(client.call(client.queries.DescribeQuery, request))
    assert reason(error) == expected


async def test_describe_takes_parameters_that_refuse_null(served: Served) -> None:
    client = served.client()
    request = messages.DescribeQueryRequest(
        sql="SELECT quantile_cont(delay, $q) AS q FROM flights LIMIT 5", parameter_names=["q"]
    )
    answer = await client.call(client.queries.DescribeQuery, request)
    assert [c.name for c in answer.columns] == ["q"]
