"""Statements made at random of what people and attackers write: none reads what it was not given."""

from __future__ import annotations

import json
from collections.abc import Sequence

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.faults import Fault
from table_service import sandbox
from table_service.sandbox import Relation
from table_service.serialized_sql import JsonObject

SECRET = "the secret"
RELATIONS = {
    ("", "flights"): Relation(
        schema="physical", table="tbl_a", columns=(("a", "id"), ("b", "carrier"))
    )
}


class Guarded:
    """A database with a table that is given, and a secret that is not, under several names."""

    def __init__(self) -> None:
        self.cursor = duckdb.connect(config={"python_enable_replacements": False})
        self.cursor.execute("CREATE SCHEMA physical")
        self.cursor.execute(
            f"CREATE TABLE physical.tbl_a AS SELECT range a, 'c' || range b, '{SECRET}' hidden FROM range(5)"
        )
        for name in (
            "physical.tbl_b",
            "main.secrets",
            "main.flights",
            "main.tbl_b",
            'main."cte 1"',
        ):
            self.cursor.execute(f"CREATE TABLE {name} AS SELECT 1 id, '{SECRET}' carrier")
        self.cursor.execute("SET enable_external_access = false")

    def rows(self, statement: str) -> Sequence[object]:
        """Return the result of what the sandbox makes of a statement.

        Raises:
            Fault: If it refuses.
            duckdb.Error: If DuckDB does.
        """
        tree = self._tree(statement)
        sandbox.check_statement(tree)
        rewritten = json.dumps(sandbox.rewrite(tree, RELATIONS))
        [[text]] = self.cursor.execute(
            "SELECT json_deserialize_sql($1::JSON)", [rewritten]
        ).fetchall()
        sandbox.check_rewritten(self._tree(text), RELATIONS)
        self.cursor.execute("BEGIN TRANSACTION READ ONLY")
        try:
            body = str(text).rstrip().removesuffix(";")
            return self.cursor.execute(f"SELECT * FROM ({body}) AS q LIMIT 50").fetchall()
        finally:
            self.cursor.execute("ROLLBACK")

    def _tree(self, statement: str) -> JsonObject:
        [[text]] = self.cursor.execute(
            "SELECT json_serialize_sql($1::VARCHAR)", [statement]
        ).fetchall()
        return sandbox.parse(text)


@pytest.fixture(scope="module")
def guarded() -> Guarded:
    return Guarded()


NAMES = st.sampled_from(
    [
        *("flights", "Flights", "main.flights", "secrets", "main.secrets", "physical.tbl_a"),
        *("physical.tbl_b", "tbl_b", '"tbl_b"', '"cte 1"', "x", "y", "recurring.x", "'f.csv'"),
        *("duckdb_tables()", "range(3)", "query('FROM secrets')", "query_table('secrets')"),
        *("read_csv('x')", "glob('*')", "(VALUES (1, 'v'))", "information_schema.tables"),
    ]
)
COLUMNS = st.sampled_from(
    [
        "id",
        "carrier",
        "hidden",
        "rowid",
        "x.id",
        "flights.carrier",
        "q.*",
        "*",
        "x",
        "1",
        "'v'",
        "#1",
    ]
)


def _expressions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "||", "=", "AND", "IN", "->>", "::"]), inner).map(
            " ".join
        ),
        st.tuples(
            st.sampled_from(
                ["max", "upper", "getenv", "list", "coalesce", "current_setting", "row"]
            ),
            inner,
        ).map(lambda pair: f"{pair[0]}({pair[1]})"),
        inner.map(lambda one: f"CASE WHEN true THEN {one} END"),
        inner.map(lambda one: f"sum(1) OVER (ORDER BY {one})"),
        inner.map(lambda one: f"list_transform([1], lambda x: {one})"),
    )


def _queries(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    source = st.one_of(NAMES, inner.map(lambda query: f"({query})"))
    item = st.one_of(
        st.recursive(COLUMNS, _expressions, max_leaves=4),
        inner.map(lambda query: f"({query})"),
        inner.map(lambda query: f"EXISTS ({query})"),
    )
    alias = st.sampled_from(["", " AS x", " AS flights", " AS secrets", " AS x(id, carrier)"])
    join = st.sampled_from(
        [", ", " NATURAL JOIN ", " CROSS JOIN ", " POSITIONAL JOIN ", ", LATERAL "]
    )
    return st.one_of(
        st.tuples(item, source, alias).map(lambda p: f"SELECT {p[0]} FROM {p[1]}{p[2]}"),
        st.tuples(source, alias).map(lambda p: f"FROM {p[0]}{p[1]}"),
        st.tuples(item, source, join, source).map(
            lambda p: f"SELECT {p[0]} FROM {p[1]}{p[2]}{p[3]}"
        ),
        st.tuples(
            st.sampled_from(["x", "flights", "secrets", "RECURSIVE x", "y AS MATERIALIZED"]),
            inner,
            inner,
        ).map(lambda p: f"WITH {p[0]}{'' if ' AS ' in p[0] else ' AS'} ({p[1]}) {p[2]}"),
        st.tuples(inner, st.sampled_from(["UNION ALL", "EXCEPT", "UNION BY NAME"]), inner).map(
            " ".join
        ),
        st.tuples(inner, item).map(
            lambda p: f"SELECT * FROM ({p[0]}) AS q WHERE {p[1]} IS NOT NULL"
        ),
    )


QUERIES = st.recursive(
    st.sampled_from(["FROM flights", "SELECT id FROM flights", "SELECT 1 AS id", "FROM secrets"]),
    _queries,
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(statement=QUERIES)
def test_no_statement_reads_what_it_was_not_given(guarded: Guarded, statement: str) -> None:
    try:
        rows = guarded.rows(statement)
    except (Fault, duckdb.Error):
        return
    assert SECRET not in repr(rows)
