"""The sandbox against the real DuckDB: what is refused, and what goes on meaning the same."""

# ruff: noqa: E501 (a statement on one line is a statement that can be read and pasted)

from __future__ import annotations

import json
import re

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.faults import InvalidArgument, NotFound
from table_service import sandbox
from table_service.sandbox import Relation
from table_service.sandbox_rules import DEPTH_MAX, SIZE_MAX
from table_service.serialized_sql import JsonObject

FLIGHTS = """
    SELECT i AS id, ['AA', 'BB', 'CC'][i % 3 + 1] AS carrier, i * 7 % 40 AS delay,
           DATE '2024-01-01' + (i % 50)::INT AS day, [i, i + 1] AS legs,
           {'city': 'c' || i % 4, 'gate': i % 9} AS origin, MAP {'k': i} AS tags,
           '{"a": ' || i || '}' AS note
    FROM range(60) r(i)
"""
CARRIERS = """
    SELECT * FROM (VALUES ('AA', 'Alpha', 1), ('BB', 'Beta', 2), ('DD', 'Delta', 3))
    AS v(carrier, title, "Rank It")
"""
DATA = {
    ("", "flights"): FLIGHTS,
    ("ops", "carriers"): CARRIERS,
    ("", "odd name"): 'SELECT 1 AS "a""b"',
}

ACCEPTED = [
    "SELECT * FROM flights",
    "FROM flights SELECT carrier",
    "TABLE flights",
    "SELECT flights.carrier, t.delay FROM flights, flights AS t WHERE flights.id = t.id",
    "SELECT FLIGHTS.Carrier FROM Flights",
    "SELECT a, b FROM flights AS t(a, b)",
    'SELECT "a""b" FROM "odd name"',
    "SELECT ops.carriers.title FROM ops.carriers",
    "SELECT ops.carriers.carrier, f.delay FROM ops.carriers JOIN flights f USING (carrier)",
    'SELECT \'it\'\'s; -- "x"\' AS "a\'""b;--" FROM flights',
    "SELECT f.carrier, count(*), sum(delay), avg(delay)::DECIMAL(10, 2) FROM flights f GROUP BY 1",
    "SELECT carrier, sum(delay) FROM flights GROUP BY ALL HAVING sum(delay) > 10 ORDER BY ALL",
    "SELECT carrier, day, sum(delay), grouping(carrier) FROM flights GROUP BY GROUPING SETS ((carrier), (day), ())",
    "SELECT carrier, sum(delay) FROM flights GROUP BY CUBE (carrier)",
    "SELECT carrier, sum(delay) FROM flights GROUP BY ROLLUP (carrier, day)",
    "SELECT count(DISTINCT carrier) FILTER (WHERE delay > 3), string_agg(carrier, ',' ORDER BY id) FROM flights",
    "SELECT id, sum(delay) OVER (PARTITION BY carrier ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM flights",
    "SELECT id, lag(delay, 1, 0) OVER w, rank() OVER w FROM flights WINDOW w AS (ORDER BY delay, id)",
    "SELECT id, avg(delay) OVER (ORDER BY day RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND CURRENT ROW) AS a FROM flights",
    "SELECT * FROM flights QUALIFY row_number() OVER (PARTITION BY carrier ORDER BY id) = 1",
    "SELECT DISTINCT ON (carrier) carrier, id FROM flights ORDER BY carrier, id DESC",
    "SELECT f.id, c.title FROM flights f LEFT JOIN ops.carriers c ON f.carrier = c.carrier",
    "SELECT f.id, c.title FROM flights f FULL JOIN ops.carriers c USING (carrier)",
    "SELECT count(*) FROM flights CROSS JOIN ops.carriers",
    "SELECT * FROM flights NATURAL JOIN ops.carriers",
    "SELECT id FROM flights SEMI JOIN ops.carriers USING (carrier)",
    "SELECT id FROM flights ANTI JOIN ops.carriers USING (carrier)",
    "SELECT a.id, b.id FROM flights a POSITIONAL JOIN flights b",
    "SELECT a.id, b.id FROM flights a ASOF JOIN flights b ON a.carrier = b.carrier AND a.id > b.id",
    "SELECT id, x FROM flights, unnest(legs) AS u(x)",
    "SELECT id, unnest(legs) FROM flights",
    "SELECT f.id, l.n FROM flights f, LATERAL (SELECT f.delay + 1 AS n) l",
    "SELECT f.id, r.i FROM flights f, LATERAL (SELECT i FROM range(3) r(i)) r",
    "SELECT * FROM generate_series(DATE '2024-01-01', DATE '2024-02-01', INTERVAL 1 DAY) AS d(day)",
    "SELECT * FROM range(20000)",
    "SELECT id FROM flights WHERE carrier IN (SELECT carrier FROM ops.carriers)",
    "SELECT id FROM flights f WHERE EXISTS (FROM ops.carriers c WHERE c.carrier = f.carrier)",
    'SELECT id FROM flights WHERE delay > ALL (SELECT "Rank It" FROM ops.carriers)',
    "SELECT (SELECT max(delay) FROM flights) AS m, ARRAY(SELECT id FROM flights ORDER BY id) AS a",
    "SELECT carrier FROM flights UNION SELECT carrier FROM ops.carriers",
    "SELECT carrier FROM flights EXCEPT ALL SELECT carrier FROM ops.carriers",
    "SELECT carrier, id FROM flights UNION ALL BY NAME SELECT carrier, title FROM ops.carriers",
    "(SELECT id FROM flights ORDER BY id LIMIT 2) INTERSECT (SELECT id FROM flights)",
    "WITH late AS (FROM flights WHERE delay > 20) SELECT late.carrier, count(*) FROM late GROUP BY 1",
    "WITH flights AS (SELECT id FROM flights WHERE id < 3) SELECT flights.id FROM flights",
    "WITH a AS (SELECT 1 x), b AS (WITH a AS (SELECT 2 x) FROM a) SELECT a.x, b.x FROM a, b",
    "WITH a AS MATERIALIZED (SELECT id FROM flights), b AS NOT MATERIALIZED (FROM a) SELECT * FROM a x JOIN b USING (id)",
    "WITH a(p, q) AS (SELECT id, delay FROM flights) SELECT p + q FROM a WHERE p = (SELECT max(p) FROM a)",
    'WITH "A b" AS (SELECT 1 x) SELECT "a B".x FROM "A B"',
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 9) SELECT t.n FROM t",
    "WITH RECURSIVE t AS (WITH u AS (SELECT 1 x) SELECT x FROM u UNION ALL SELECT t.x + 1 FROM t WHERE x < 3) FROM t",
    "WITH RECURSIVE t(a, b) USING KEY (a) AS (SELECT 1, 5 UNION SELECT r.a, r.b - 1 FROM recurring.t AS r, t WHERE r.b > 1 AND t.a = r.a) FROM t",
    "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(x, y) JOIN flights ON x = id",
    "VALUES (1), (2)",
    "SELECT * EXCLUDE (legs) REPLACE (delay + 1 AS delay) FROM flights",
    "SELECT f.* RENAME (id AS key) FROM flights f",
    "SELECT min(COLUMNS('d.*')) FROM flights",
    "SELECT COLUMNS(lambda c: c LIKE 'd%') FROM flights",
    "SELECT origin.city, flights.origin.gate, origin['city'], tags['k'], legs[1], legs[1:2] FROM flights",
    "SELECT flights FROM flights",
    "SELECT note::JSON->>'$.a', json_extract(note, '$.a') FROM flights",
    "SELECT list_transform(legs, lambda x: x * 2), [x + 1 FOR x IN legs IF x > 3], list_aggregate(legs, 'sum') FROM flights",
    "SELECT {'a': id, 'b': [1, 2]}, MAP {'x': id}, struct_pack(p := id), (id, delay), [id] FROM flights",
    "SELECT CASE carrier WHEN 'AA' THEN 1 ELSE 0 END, coalesce(NULL, id), nullif(id, 3), if(id > 3, 1, 2) FROM flights",
    "SELECT extract(year FROM day), date_trunc('month', day), day + INTERVAL 1 MONTH, strftime(day, '%Y-%m') FROM flights",
    "SELECT TIMESTAMPTZ '2024-01-01 00:00:00+00' AT TIME ZONE 'UTC', INTERVAL (id) DAY FROM flights",
    "SELECT lpad(carrier, 10, '.'), rpad(carrier, 5, ' '), repeat('ab', 3), format('{:>8}', carrier), printf('%08.3f', 1.5) FROM flights",
    "SELECT substring(carrier FROM 1 FOR 1), position('A' IN carrier), trim(BOTH 'A' FROM carrier), regexp_replace(carrier, 'A', 'x', 'g') FROM flights",
    "SELECT id FROM flights WHERE carrier LIKE 'A%' ESCAPE '!' OR carrier NOT ILIKE 'b_' OR carrier SIMILAR TO 'C+' OR carrier GLOB 'C*'",
    "SELECT -id, +id, id ** 2, id // 2, id % 7, ~id, @(-id), id << 1, 1 != id, id IS DISTINCT FROM 3, NOT (id IN (1, 2)) FROM flights",
    "SELECT id::VARCHAR::INT, TRY_CAST(carrier AS INT), id::BIGINT, legs::VARCHAR[], [1.0, 2.0]::FLOAT[2] FROM flights",
    "SELECT CAST({'a': 1} AS STRUCT(a BIGINT)), 'x'::ENUM('x', 'y'), MAP {1: 2}::MAP(BIGINT, INT), TIME '10:00', 1::UNION(n INT)",
    "SELECT carrier COLLATE nocase FROM flights ORDER BY carrier COLLATE nocase DESC NULLS LAST, #1",
    "SELECT quantile_cont(delay, [0.25, 0.5]), percentile_cont(0.5) WITHIN GROUP (ORDER BY delay), median(delay), mode(carrier) FROM flights",
    "SELECT arg_max(carrier, delay), histogram(carrier), approx_count_distinct(id) FROM flights",
    "SELECT * FROM (SELECT carrier, delay FROM flights) PIVOT (sum(delay) FOR carrier IN ('AA', 'BB'))",
    "SELECT * FROM (SELECT id, delay FROM flights) UNPIVOT (v FOR n IN (id, delay))",
    "SELECT x: id + 1, y: carrier FROM flights",
    "SELECT id FROM flights ORDER BY id LIMIT 5 OFFSET 2",
    "SELECT id FROM flights ORDER BY id LIMIT 10%",
    "SELECT id FROM flights TABLESAMPLE 100%",
    "SELECT id FROM flights USING SAMPLE 100 ROWS",
    "SELECT 1e9::DOUBLE AS d, 10000000000000000000000, 1.50, NULL, true, '\\x00'::BLOB, E'\\n', 0x1F",
    "SELECT count(*) FROM flights WHERE day = current_date OR now() IS NULL",
]

REFUSED = [
    "WITH x AS (DELETE FROM flights RETURNING *) FROM x",
    "WITH x AS (INSERT INTO flights VALUES (1) RETURNING *) FROM x",
    "WITH x AS (UPDATE flights SET id = 1 RETURNING *) FROM x",
    "WITH x AS (COPY (SELECT 1) TO '/tmp/y') FROM x",
    "SELECT * FROM (WITH x AS (DELETE FROM flights RETURNING *) FROM x)",
    "SELECT (WITH x AS (DELETE FROM flights RETURNING id) SELECT max(id) FROM x)",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE flights",
    "DELETE FROM flights",
    "DROP TABLE flights",
    "COPY flights TO '/tmp/x'",
    "ATTACH '/tmp/x.db'",
    "SET memory_limit = '1TB'",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "EXPLAIN SELECT 1",
    "PIVOT flights ON carrier USING sum(delay)",
    "",
    "DESCRIBE flights",
    "SUMMARIZE flights",
    "SHOW TABLES",
    "FROM (DESCRIBE flights)",
    "FROM (SHOW ALL TABLES)",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd', header = true)",
    "SELECT * FROM \"READ_TEXT\"('/etc/passwd')",
    "SELECT * FROM main.read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM parquet_scan('x')",
    "SELECT * FROM parquet_metadata('x')",
    "SELECT * FROM sniff_csv('x')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_tables()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM pragma_table_info('flights')",
    "SELECT * FROM pragma_storage_info('flights')",
    "SELECT * FROM query('FROM secrets')",
    "SELECT * FROM query_table('secrets')",
    "SELECT * FROM query_table(['secrets'])",
    "SELECT * FROM seq_scan('secrets')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM secrets'))",
    "SELECT * FROM repeat('a', 1000000000)",
    "SELECT * FROM test_all_types()",
    "SELECT * FROM enable_logging()",
    "SELECT * FROM range(3) JOIN duckdb_tables() ON true",
    "SELECT (SELECT count(*) FROM duckdb_tables())",
    "SELECT id FROM flights ORDER BY (SELECT max(sql) FROM duckdb_tables())",
    "SELECT id FROM flights LIMIT (SELECT count(*) FROM duckdb_tables())",
    "SELECT sum(id) FILTER (WHERE getvariable('x') = 1) FROM flights",
    "SELECT sum(id) OVER (ORDER BY getvariable('x')) FROM flights",
    "SELECT list_transform(legs, lambda x: getvariable('x')) FROM flights",
    "SELECT * REPLACE (getvariable('x') AS id) FROM flights",
    "SELECT * FROM range(getvariable('x'))",
    "SELECT * FROM (VALUES (getvariable('x')))",
    "WITH RECURSIVE t AS (SELECT 1 n UNION ALL SELECT nextval('s') FROM t) FROM t",
    "SELECT current_setting('memory_limit')",
    "SELECT getenv('HOME')",
    "SELECT getvariable('x')",
    "SELECT nextval('s'), currval('s')",
    "SELECT setseed(0.5)",
    "SELECT version()",
    "SELECT pg_sleep(10)",
    "SELECT sleep_ms(10000)",
    "SELECT write_log('x')",
    "SELECT current_query()",
    "SELECT current_database()",
    "SELECT current_schema",
    "SELECT current_catalog",
    "SELECT current_schemas(true)",
    "SELECT txid_current()",
    "SELECT pg_get_viewdef(1)",
    "SELECT has_table_privilege('flights', 'select')",
    "SELECT json_serialize_sql('SELECT 1')",
    "SELECT stats(id) FROM flights",
    "SELECT main.repeat(1000000)",
    "SELECT main.range(5)",
    "SELECT * FROM main.range(5)",
    "SELECT ops.abs(1)",
    "SELECT system.main.abs(1)",
    "SELECT carrier.lower() FROM flights",
    "SELECT 'x'::REGCLASS",
    "SELECT 'x'::ops.mood",
    "FROM a.b.flights",
    "FROM system.information_schema.tables",
    "FROM memory.main.flights",
    "FROM flights AT (VERSION => 1)",
    "SELECT repeat('a', 2000000000)",
    "SELECT repeat('a', 2e9)",
    "SELECT repeat('a', 1000 * 1000 * 1000)",
    "SELECT repeat('a', '2000000000')",
    "SELECT repeat('a', 2000000000::BIGINT)",
    "SELECT repeat('a', id) FROM flights",
    "SELECT repeat('a', $n)",
    "SELECT repeat('a', (SELECT 1))",
    "SELECT repeat('a', -100000)",
    "SELECT \"REPEAT\"('a', 2000000000)",
    "SELECT 'a'.repeat(2000000000)",
    "SELECT repeat(repeat('a', 9000), 9000)",
    "WITH a AS (SELECT repeat('a', 9000) s) SELECT repeat(s, 9000) FROM a",
    "SELECT repeat([1], 100000)",
    "SELECT lpad('a', 2000000000, 'b')",
    "SELECT rpad('a', id, 'b') FROM flights",
    "SELECT bar(1, 0, 10, 100000000)",
    "SELECT range(1000000000)",
    "SELECT range(0, 1000000000)",
    "SELECT generate_series(1, 9000000000000000000)",
    "SELECT range(9000000000000000000, 0, -1)",
    "SELECT range(id) FROM flights",
    "SELECT list_transform(range(9000), lambda x: range(9000))",
    "SELECT unnest(generate_series(TIMESTAMP '1900-01-01', TIMESTAMP '2100-01-01', INTERVAL 1 MICROSECOND))",
    "SELECT list_resize([1], 1000000000)",
    "SELECT array_resize([1], 1000000000, 0)",
    "SELECT format('{:>1000000000}', 'a')",
    "SELECT format('{:>{}}', 'a', 1000000000)",
    "SELECT format(carrier) FROM flights",
    "SELECT printf('%1000000000d', 1)",
    "SELECT printf('%*d', 1000000000, 1)",
    "SELECT bitstring('1', 1000000000)",
    "SELECT NULL::INTEGER[10000][10000]",
    "SELECT NULL::INTEGER[100000]",
    "SELECT NULL::STRUCT(a INTEGER[4000], b INTEGER[4000])",
    "SELECT TRY_CAST(NULL AS INTEGER[100][100])",
    "SELECT list_reduce(range(40), lambda a, b: a || a)",
    "SELECT damerau_levenshtein('a', 'b')",
    "SELECT list_aggregate([1], 'bitstring_agg')",
    "SELECT list_aggregate([1], carrier) FROM flights",
    "SELECT " + "+".join(["1"] * 500),
    "SELECT " + "+".join(["1"] * 900),
    "SELECT " + "(SELECT " * 200 + "1" + ")" * 200,
    "SELECT " + "NOT " * 900 + "true",
    "SELECT " + "[" * 900 + "]" * 900,
    "SELECT " + ", ".join(["1"] * 21_000),
    "SELECT 'a\0b'",
    'SELECT 1 AS "a\0b"',
    "SELEC 1",
    "SELECT 'a",
    "SELECT * FROM flights FOR UPDATE OF nobody",
]

UNSEEN = [
    "FROM secrets",
    "FROM 'file.csv'",
    "FROM '/etc/passwd'",
    "FROM information_schema.tables",
    "FROM pg_catalog.pg_class",
    "FROM duckdb_tables",
    "FROM sqlite_master",
    "FROM main.flights",
    "FROM physical.t1",
    "FROM ops.flights",
    "FROM carriers",
    "FROM flights, secrets",
    "SELECT (SELECT max(x) FROM secrets)",
    "WITH secrets AS (FROM secrets) FROM secrets",
    "WITH a AS (WITH secrets AS (SELECT 1) FROM secrets) SELECT * FROM a, secrets",
    "SELECT * FROM (WITH secrets AS (SELECT 1) FROM secrets) x, secrets",
    "WITH RECURSIVE secrets AS (FROM secrets UNION ALL FROM secrets) FROM secrets",
    "WITH a AS (FROM b), b AS (SELECT 1) FROM a",
    "WITH secrets AS (SELECT 1) FROM main.secrets",
    "FROM recurring.secrets",
    'FROM "cte 1"',
    'WITH a AS (SELECT 1) FROM "cte 1"',
    "(FROM flights) UNION ALL (FROM secrets)",
    "SELECT id FROM flights WHERE id IN (FROM secrets)",
    "SELECT * FROM secrets PIVOT (sum(x) FOR y IN (1))",
    "SELECT id FROM flights ORDER BY (SELECT 1 FROM secrets)",
    "SELECT id FROM flights QUALIFY row_number() OVER (ORDER BY (FROM secrets)) = 1",
    "SELECT list_transform([1], lambda x: (SELECT max(x) FROM secrets))",
]

COLUMNS = ("id", "carrier", "delay", "legs", "origin", "note", "Odd Name")

EXPRESSIONS = [
    ("delay > 3", {"delay"}),
    ("ID = 1 AND Carrier LIKE 'A%'", {"id", "carrier"}),
    ('"odd name" IS NULL', {"Odd Name"}),
    ("origin.city = $city", {"origin"}),
    ("note->>'$.a' = '1'", {"note"}),
    ("list_filter(legs, lambda x: x > delay) != []", {"legs", "delay"}),
    ("len([x FOR x IN legs IF x > id]) > 1", {"legs", "id"}),
    ("id BETWEEN 1 AND 2 -- why not", {"id"}),
    ("CASE WHEN id IN (1, 2) THEN lower(carrier) END", {"id", "carrier"}),
    ("true", set()),
    ("(id)", {"id"}),
]

NOT_EXPRESSIONS = [
    "1) FROM secrets --",
    "1) FROM one_row --",
    "1), (2",
    "1) FROM one_row UNION ALL SELECT (2",
    "1) FROM one_row WHERE (id = 1",
    "1) AS x, (2",
    "1) FROM one_row; SELECT (1",
    "1) FROM one_row, (SELECT 1",
    "1) FROM secrets, (SELECT 1) x, (SELECT 2",
    "1) /*",
    "*",
    "COLUMNS(*)",
    "id, delay",
    "(SELECT 1)",
    "id IN (SELECT 1)",
    "EXISTS (FROM secrets)",
    "sum(id)",
    "list_transform(legs, lambda x: sum(id))",
    "row_number() OVER ()",
    "sum(id) OVER ()",
    "unnest(legs)",
    "#1",
    "secret",
    "secret->'$.a'",
    "one_row.id",
    "list_transform(legs, lambda x: secret)",
    "list_transform(legs, lambda id: 1) = secret",
    "lower(secret, lambda secret: 1)",
    "getvariable('x')",
    "repeat('a', id)",
    "id) ORDER BY (id",
    "id AS x",
    "",
    "DISTINCT id",
]


class Engine:
    """A database holding the same rows twice: under the names people use, and under physical ones."""

    def __init__(self) -> None:
        self.plain = duckdb.connect()
        self.guarded = duckdb.connect(config={"python_enable_replacements": False})
        self.guarded.execute(
            "CREATE SCHEMA physical; CREATE TABLE physical.secrets AS SELECT 42 AS x"
        )
        self.guarded.execute("CREATE TABLE main.secrets AS SELECT 42 AS x")
        self.plain.execute("CREATE SCHEMA ops")
        self.relations: dict[tuple[str, str], Relation] = {}
        for number, ((namespace, name), query) in enumerate(DATA.items()):
            written = f'"{namespace or "main"}"."{name}"'
            self.plain.execute(f"CREATE TABLE {written} AS {query}")
            names = [
                column[0] for column in self.plain.execute(f"FROM {written}").description or []
            ]
            pairs = tuple((f"c{place}", exposed) for place, exposed in enumerate(names))
            listed = ", ".join(f'"{physical}"' for physical, _ in pairs)
            self.guarded.execute(
                f"CREATE TABLE physical.t{number}({listed}, hidden) AS SELECT *, 42 FROM ({query})"
            )
            self.relations[namespace, name] = Relation(
                schema="physical", table=f"t{number}", columns=pairs
            )

    def serialize(self, statement: str) -> JsonObject:
        row = self.guarded.execute("SELECT json_serialize_sql($1::VARCHAR)", [statement]).fetchone()
        assert row is not None
        return sandbox.parse(row[0])

    def deserialize(self, serialized: JsonObject) -> str:
        text = json.dumps(serialized)
        row = self.guarded.execute("SELECT json_deserialize_sql($1::JSON)", [text]).fetchone()
        assert row is not None
        return str(row[0])

    def rewritten(self, statement: str) -> str:
        serialized = self.serialize(statement)
        sandbox.check_statement(serialized)
        text = self.deserialize(sandbox.rewrite(serialized, self.relations))
        sandbox.check_rewritten(self.serialize(text), self.relations)
        return text


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


def named(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    return [column[0] for column in cursor.description or []]


@pytest.mark.parametrize("statement", ACCEPTED)
def test_ordinary_sql_means_the_same_after_rewriting(engine: Engine, statement: str) -> None:
    expected, actual = (
        engine.plain.execute(statement),
        engine.guarded.execute(engine.rewritten(statement)),
    )

    # A result without a name is called after its text, which DuckDB 1.5 does not write back alike.
    chosen = [name for name in named(expected) if name.isidentifier()]
    assert [name for name in named(actual) if name.isidentifier()] == chosen
    assert sorted(map(repr, actual.fetchall())) == sorted(map(repr, expected.fetchall()))


@pytest.mark.parametrize("statement", REFUSED, ids=lambda statement: statement[:60])
def test_dangerous_sql_is_refused(engine: Engine, statement: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        sandbox.check_statement(engine.serialize(statement))

    assert caught.value.reason in ("SQL_REFUSED", "SQL_INVALID")


@pytest.mark.parametrize("statement", UNSEEN)
def test_table_that_is_not_given_is_not_found(engine: Engine, statement: str) -> None:
    with pytest.raises(NotFound) as caught:
        engine.rewritten(statement)

    assert caught.value.reason == "TABLE_NOT_FOUND"


@pytest.mark.parametrize("statement", ["SELECT hidden FROM flights", "SELECT rowid FROM flights"])
def test_column_that_is_not_exposed_cannot_be_read(engine: Engine, statement: str) -> None:
    with pytest.raises(duckdb.BinderException):
        engine.guarded.execute(engine.rewritten(statement))


def test_physical_names_do_not_show_in_the_names_of_columns(engine: Engine) -> None:
    statement = "SELECT 1, (SELECT max(id) FROM flights), id IN (WITH a AS (FROM ops.carriers) SELECT 1 FROM a) FROM flights"

    description = engine.guarded.execute(engine.rewritten(statement)).description

    assert [column[0] for column in description or []] == ["1", "column_2", "column_3"]


def test_refusal_names_the_construct(engine: Engine) -> None:
    with pytest.raises(InvalidArgument) as caught:
        sandbox.check_statement(engine.serialize("SELECT * FROM read_csv('x')"))

    assert caught.value.metadata == {"construct": "read_csv"}


def test_syntax_error_says_where(engine: Engine) -> None:
    with pytest.raises(InvalidArgument) as caught:
        engine.serialize("SELEC 1")

    assert caught.value.reason == "SQL_INVALID"
    assert caught.value.metadata == {"position": "0"}


def test_pivot_statement_is_told_of_the_clause(engine: Engine) -> None:
    with pytest.raises(InvalidArgument, match="FROM … PIVOT"):
        engine.serialize("PIVOT flights ON carrier USING sum(delay)")


def test_node_of_an_unknown_kind_is_refused(engine: Engine) -> None:
    serialized = engine.serialize("SELECT 1")
    text = json.dumps(serialized)

    for known in ("SELECT_NODE", "VALUE_CONSTANT", "EMPTY"):
        with pytest.raises(InvalidArgument):
            sandbox.check_statement(json.loads(text.replace(known, "TOMORROWS_NODE")))


def test_base_tables_are_the_names_that_no_common_table_expression_takes(engine: Engine) -> None:
    serialized = engine.serialize(
        "WITH a AS (FROM Raw), b AS (FROM a, ops.a) SELECT * FROM b, a, (WITH c AS (FROM a) FROM c), c"
    )

    assert sandbox.base_tables(serialized) == {("", "Raw"), ("ops", "a"), ("", "c")}


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("SELECT $a, $b, $a", {"a", "b"}),
        ("SELECT ?, ?", {"1", "2"}),
        ("SELECT (SELECT $2) + $1", {"1", "2"}),
        ("SELECT 1", set()),
    ],
)
def test_parameters_are_named(engine: Engine, statement: str, names: set[str]) -> None:
    assert sandbox.parameters(engine.serialize(statement)) == names


def test_parameters_survive_rewriting(engine: Engine) -> None:
    named = engine.rewritten("SELECT id FROM flights WHERE id = $wanted OR id = $other ORDER BY id")
    placed = engine.rewritten("SELECT id FROM flights WHERE id = ? OR id = ? ORDER BY id")

    assert engine.guarded.execute(named, {"wanted": 3, "other": 1}).fetchall() == [(1,), (3,)]
    assert engine.guarded.execute(placed, [3, 1]).fetchall() == [(1,), (3,)]


def test_rewriting_leaves_its_argument_alone(engine: Engine) -> None:
    serialized = engine.serialize("WITH a AS (FROM flights) SELECT flights.id FROM a, flights")
    before = json.dumps(serialized)

    sandbox.rewrite(serialized, engine.relations)

    assert json.dumps(serialized) == before


@pytest.mark.parametrize(
    "statement",
    ["FROM secrets", "FROM main.secrets", "FROM physical.secrets", "FROM range(1), 'x.csv'"],
)
def test_rewritten_text_that_reads_another_table_is_refused(engine: Engine, statement: str) -> None:
    with pytest.raises(InvalidArgument):
        sandbox.check_rewritten(engine.serialize(statement), engine.relations)


def expression(engine: Engine, text: str) -> JsonObject:
    return engine.serialize(sandbox.expression_statement(text))


@pytest.mark.parametrize(("text", "columns"), EXPRESSIONS)
def test_expression_gives_the_columns_it_uses(engine: Engine, text: str, columns: set[str]) -> None:
    assert sandbox.check_expression(expression(engine, text), COLUMNS) == columns


@pytest.mark.parametrize("text", NOT_EXPRESSIONS)
def test_what_is_not_one_expression_over_one_row_is_refused(engine: Engine, text: str) -> None:
    with pytest.raises(InvalidArgument):
        sandbox.check_expression(expression(engine, text), COLUMNS)


def test_expression_that_closes_its_parenthesis_keeps_its_meaning_beside_others(
    engine: Engine,
) -> None:
    serialized = expression(engine, "id = 1) OR (true")
    sandbox.check_expression(serialized, COLUMNS)

    text = sandbox.expression_sql(engine.deserialize(serialized))

    assert engine.plain.execute(
        f"SELECT count(*) FROM flights WHERE false AND {text}"
    ).fetchone() == (0,)


ALPHABET = st.characters(codec="utf-8", exclude_characters="\0")
NAMES = st.text(ALPHABET, min_size=1, max_size=12)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@settings(max_examples=150, deadline=None)
@given(names=st.lists(NAMES, min_size=4, max_size=4), value=st.text(ALPHABET))
def test_no_name_or_text_breaks_out_of_its_quotes(
    engine: Engine, names: list[str], value: str
) -> None:
    table, alias, column, label = names
    literal = "'" + value.replace("'", "''") + "'"
    relations = {("", table): Relation(schema="physical", table="t0", columns=(("c0", column),))}
    serialized = engine.serialize(
        f"WITH {quoted(label)} AS (SELECT {quoted(alias)}.{quoted(column)} AS {quoted(label)}, {literal} AS v"
        f" FROM {quoted(table)} AS {quoted(alias)}) SELECT {quoted(label)}, v FROM {quoted(label)} AS {quoted(alias)}"
    )
    sandbox.check_statement(serialized)

    text = engine.deserialize(sandbox.rewrite(serialized, relations))
    sandbox.check_rewritten(engine.serialize(text), relations)

    if label.lower() != "v":
        assert sorted(engine.guarded.execute(text).fetchall()) == [
            (number, value) for number in range(60)
        ]


@settings(max_examples=60, deadline=None)
@given(size=st.integers(min_value=-(2**70), max_value=2**70))
def test_size_is_allowed_exactly_up_to_the_limit(engine: Engine, size: int) -> None:
    serialized = engine.serialize(f"SELECT lpad('a', {size}, 'b')")

    if abs(size) <= SIZE_MAX:
        sandbox.check_statement(serialized)
    else:
        with pytest.raises(InvalidArgument):
            sandbox.check_statement(serialized)


@settings(max_examples=60, deadline=None)
@given(depth=st.integers(min_value=1, max_value=120))
def test_statement_is_refused_for_its_depth_or_can_be_rewritten(engine: Engine, depth: int) -> None:
    serialized = engine.serialize(
        "SELECT * FROM " + "(SELECT * FROM " * depth + "flights" + ")" * depth
    )
    levels = depth_of(serialized)
    if levels > DEPTH_MAX:
        with pytest.raises(InvalidArgument, match="nested"):
            sandbox.check_statement(serialized)
    else:
        sandbox.check_statement(serialized)
        engine.deserialize(sandbox.rewrite(serialized, engine.relations))


def depth_of(serialized: JsonObject) -> int:
    """Return how deep the first statement within is nested, counted in JSON levels."""
    level, deepest = 0, 0
    for letter in re.sub(r'"(\\.|[^"\\])*"', "", json.dumps(serialized)):
        level += (letter in "[{") - (letter in "]}")
        deepest = max(deepest, level)
    # The envelope and its list lie above the statement; a leaf within the deepest list or object below.
    return deepest - 2 + 1
