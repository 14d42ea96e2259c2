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
from tests.table_service.sandbox_corpus import (
    ACCEPTED,
    COLUMNS,
    EXPRESSIONS,
    NOT_EXPRESSIONS,
    REFUSED,
    UNSEEN,
)

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


@pytest.mark.parametrize("name", ["levenshtein", "editdist3"])
def test_what_nothing_stops_is_for_queries_alone(engine: Engine, name: str) -> None:
    sandbox.check_statement(engine.serialize(f"SELECT {name}('a', 'b')"))
    with pytest.raises(InvalidArgument, match="in queries alone"):
        sandbox.check_expression(expression(engine, f"{name}(name, name) = 1"), COLUMNS)


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
