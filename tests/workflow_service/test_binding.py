"""Definitions held against real tables in a real table_service, as one person sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from chassis.client import Peer
from chassis.faults import Unavailable
from examples import flights
from flux.table.v1 import table_pb2, table_service_pb2, table_service_pb2_grpc
from tests.support.definitions import definition, told
from tests.support.harness import open_stack
from workflow_service.binding import TableReader, bind

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = Path(__file__).parents[2] / "examples"
VISITS = flights.table("visits", "visitor:text page_count:count run:text", description="")
VISITS.columns[0].not_null = True


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reader(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TableReader]:
    """Read as an editor in whose store the tables of the examples are."""
    async with open_stack(tmp_path_factory.mktemp("binding")) as stack:
        token = await stack.register("ada")
        peer = stack.peer(stack.table, token)
        for table in (*flights.tables(), VISITS):
            await create_table(peer, table)
        yield TableReader(peer=peer, token=token)


async def create_table(peer: Peer, table: table_pb2.Table) -> None:
    stub = table_service_pb2_grpc.TableServiceStub(peer.channel)
    await peer.call(stub.CreateTable, table_service_pb2.CreateTableRequest(table=table))


def steps(text: str) -> str:
    """Return a definition of steps in flow style."""
    return f"name: w\ninputs: {{x: {{type: TYPE_ANY}}}}\nsteps: [{text}]"


QUERY = "query: {sql: 'SELECT carrier, month, avg(dep_delay) AS delay FROM flights GROUP BY ALL'}"


@pytest.mark.parametrize(
    "name", ["carrier_delays", "three_steps", "announce_order", "record_visit"]
)
async def test_an_example_binds(reader: TableReader, name: str) -> None:
    text = (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")
    assert await bind(definition(text), reader) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{id: a, query: {sql: SELECT carier FROM flights}}", [("a.query.sql", "SQL_INVALID")]),
        ("{id: a, query: {sql: SELEC 1}}", [("a.query.sql", "SQL_INVALID")]),
        ("{id: a, query: {sql: DELETE FROM flights}}", [("a.query.sql", "SQL_")]),
        (
            "{id: a, query: {sql: 'SELECT * FROM read_csv(''x'')'}}",
            [("a.query.sql", "SQL_REFUSED")],
        ),
        ("{id: a, query: {sql: SELECT 1 FROM nothing}}", [("a.query.sql", "TABLE_NOT_FOUND")]),
        ("{id: a, query: {sql: SELECT 1 FROM auth.users}}", [("a.query.sql", "")]),
        (
            "{id: a, transform: {sql: SELECT 1 FROM nothing}}",
            [("a.transform.sql", "TABLE_NOT_FOUND")],
        ),
        (
            "{id: a, query: {sql: 'SELECT $y AS y, nope FROM flights', parameters: {z: '1'}}}",
            [
                ('a.query.parameters["z"]', "PARAMETER_UNUSED"),
                ("a.query.sql", "PARAMETER_MISSING"),
                ("a.query.sql", "SQL_INVALID"),
            ],
        ),
        (
            "{id: a, query: {sql: 'SELECT ''$y'' AS y -- $y', parameters: {y: '1'}}}",
            [('a.query.parameters["y"]', "PARAMETER_UNUSED")],
        ),
        (
            "{id: a, query: {sql: SELECT 1 AS y, parameters: {'a, b': '1'}}}",
            [("a.query.sql", "SQL_INVALID")],
        ),
        (
            "{id: a, query: {sql: SELECT $y AS y, parameters: {y: '1', z: '1'}}}",
            [('a.query.parameters["z"]', "PARAMETER_UNUSED")],
        ),
        (
            "{id: a, query: {sql: SELECT $yes AS y, parameters: {y: '1', yes: '1'}}}",
            [('a.query.parameters["y"]', "PARAMETER_UNUSED")],
        ),
        ("{id: a, query: {sql: SELECT $Y AS y, parameters: {Y: '1'}}}", []),
    ],
)
async def test_a_statement_is_bound_against_the_tables(
    reader: TableReader, text: str, expected: list[tuple[str, str]]
) -> None:
    found = told(await bind(definition(steps(text)), reader))
    where = [path.replace("steps[0]", "a") for path, _ in found]
    assert where == [path for path, _ in expected]
    assert all(
        reason.startswith(wanted) for (_, reason), (_, wanted) in zip(found, expected, strict=True)
    )


async def test_a_step_reads_what_an_earlier_one_makes(reader: TableReader) -> None:
    chain = steps(
        f"{{id: a, {QUERY}}}, "
        "{id: b, transform: {sql: 'SELECT carrier AS name, max(delay) AS x FROM a GROUP BY 1'}}, "
        "{id: c, transform: {sql: SELECT b.name FROM b JOIN a ON a.carrier = b.name}}"
    )
    assert await bind(definition(chain), reader) == []
    wrong = chain.replace("SELECT b.name", "SELECT b.carrier")
    assert told(await bind(definition(wrong), reader)) == [
        ("steps[2].transform.sql", "SQL_INVALID")
    ]


async def test_what_reads_a_wrong_step_is_not_blamed_for_it(reader: TableReader) -> None:
    chain = steps(
        "{id: a, query: {sql: SELECT nope FROM flights}}, "
        "{id: b, transform: {sql: SELECT nope FROM a}}, "
        "{id: c, transform: {sql: SELECT 1 AS x FROM b}}, "
        "{id: d, action: {insert_rows: {table: visits, from_step: c}}}, "
        "{id: e, query: {sql: SELECT wrong FROM airlines}}"
    )
    assert told(await bind(definition(chain), reader)) == [
        ("steps[0].query.sql", "SQL_INVALID"),
        ("steps[4].query.sql", "SQL_INVALID"),
    ]


async def test_a_dataset_of_another_block_or_a_later_step_is_explained(
    reader: TableReader,
) -> None:
    chain = steps(
        "{id: q, query: {sql: SELECT 1 AS x FROM afterwards}}, "
        "{id: c, condition: {cases: [{name: y, when: 'true', steps: ["
        "{id: inside, query: {sql: SELECT 1 AS x}}]}], otherwise: {steps: ["
        "{id: other, transform: {sql: SELECT x FROM inside}}]}}}, "
        "{id: afterwards, transform: {sql: SELECT x FROM inside}}"
    )
    found = await bind(definition(chain), reader)
    assert told(found) == [
        ("steps[0].query.sql", "TABLE_NOT_FOUND"),
        ("steps[1].condition.otherwise.steps[0].transform.sql", "TABLE_NOT_FOUND"),
        ("steps[2].transform.sql", "TABLE_NOT_FOUND"),
    ]
    assert found[0].description.endswith("and the step of that name is not done yet here")
    assert found[1].description.endswith("and the step of that name runs in some runs only")


async def test_a_name_that_is_a_table_and_a_dataset_is_refused_only_where_sql_uses_it(
    reader: TableReader,
) -> None:
    unused = (
        "{id: airlines, query: {sql: SELECT 1 AS x}}, {id: b, query: {sql: SELECT 1 AS airlines}}"
    )
    assert await bind(definition(steps(unused)), reader) == []
    used = f"{unused}, {{id: c, transform: {{sql: SELECT * FROM airlines}}}}"
    assert told(await bind(definition(steps(used)), reader)) == [
        ("steps[2].transform.sql", "NAME_AMBIGUOUS")
    ]


async def test_a_table_that_some_runs_have_a_dataset_of_the_name_of_is_refused(
    reader: TableReader,
) -> None:
    text = steps(
        "{id: c, condition: {cases: [{name: y, when: 'true', steps: ["
        "{id: airlines, query: {sql: SELECT 1 AS x}}]}], otherwise: {}}}, "
        "{id: z, transform: {sql: SELECT name FROM airlines}}"
    )
    assert told(await bind(definition(text), reader)) == [
        ("steps[1].transform.sql", "NAME_AMBIGUOUS")
    ]


FROM_STEP = "{{id: a, query: {{sql: '{sql}'}}}}, {{id: b, action: {action}}}"


@pytest.mark.parametrize(
    ("sql", "action", "expected"),
    [
        (
            "SELECT carrier, month, dep_delay AS average_delay FROM flights",
            "{upsert_rows: {table: carrier_delays, key_columns: [month, carrier], from_step: a}}",
            [],
        ),
        (
            "SELECT carrier, month FROM flights",
            "{upsert_rows: {table: carrier_delays, key_columns: [carrier], from_step: a}}",
            [("upsert_rows.key_columns", "KEY_NOT_FOUND")],
        ),
        (
            "SELECT carrier, month AS airline, dep_delay AS averge_delay FROM flights",
            "{upsert_rows: {table: carrier_delays, key_columns: [carrier, month], from_step: a}}",
            [
                ("upsert_rows.from_step", "COLUMN_TYPE_MISMATCH"),
                ("upsert_rows.from_step", "COLUMN_NOT_FOUND"),
                ("upsert_rows.from_step", "COLUMN_MISSING"),
            ],
        ),
        (
            "SELECT 1 AS page_count",
            "{insert_rows: {table: visits, from_step: a}}",
            [("insert_rows.from_step", "COLUMN_MISSING")],
        ),
        (
            "SELECT 1 AS x",
            "{insert_rows: {table: nothing, from_step: a}}",
            [("insert_rows.table", "TABLE_NOT_FOUND")],
        ),
        (
            "SELECT 1 AS x",
            "{insert_rows: {table: auth.users, from_step: a}}",
            [("insert_rows.table", "")],
        ),
        (
            "SELECT 1 AS x",
            "{insert_rows: {table: visits, values: {rows: [{values: {visitor: input.x}},"
            " {values: {page_count: 'true'}}]}}}",
            [
                ('insert_rows.values.rows[1].values["page_count"]', "COLUMN_TYPE_MISMATCH"),
                ("insert_rows.values.rows[1].values", "COLUMN_MISSING"),
            ],
        ),
    ],
)
async def test_rows_are_held_against_their_table(
    reader: TableReader, sql: str, action: str, expected: list[tuple[str, str]]
) -> None:
    text = steps(FROM_STEP.format(sql=sql, action=action))
    found = told(await bind(definition(text), reader))
    assert [path for path, _ in found] == [f"steps[1].action.{path}" for path, _ in expected]
    assert all(
        reason.startswith(wanted) for (_, reason), (_, wanted) in zip(found, expected, strict=True)
    )


async def test_a_definition_may_have_more_datasets_than_one_statement_may_name(
    reader: TableReader,
) -> None:
    many = ", ".join(
        f"{{id: s{index}, query: {{sql: SELECT {index} AS x}}}}" for index in range(105)
    )
    last = f"{many}, {{id: z, transform: {{sql: SELECT s0.x FROM s0 JOIN s104 ON s0.x = s104.x}}}}"
    assert await bind(definition(steps(last)), reader) == []


async def test_a_table_service_that_is_down_is_no_error_of_the_definition(tmp_path: Path) -> None:
    async with open_stack(tmp_path) as stack:
        token = await stack.register("ada")
        peer = stack.peer(stack.table, token)
        await stack.table.server.stop(0)
        with pytest.raises(Unavailable):
            await bind(
                definition(steps("{id: a, query: {sql: SELECT 1 AS x}}")),
                TableReader(peer=peer, token=token),
            )
