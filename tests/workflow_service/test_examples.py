"""The examples, run over a few rows that can be reckoned by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from chassis.tables import typed_rows
from examples import flights
from tests.support.editor import Editor
from tests.support.harness import open_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = Path(__file__).parents[2] / "examples"
VISITS = flights.table("visits", "visitor:text page_count:count run:text", description="")
FLIGHTS = [
    ("UA", 1, 10),
    ("UA", 1, 30),
    ("UA", 1, None),
    ("AA", 1, 40),
    ("AA", 2, 5),
    ("XX", 2, 7),
]


def example(name: str) -> str:
    return (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def editor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Editor]:
    async with open_stack(tmp_path_factory.mktemp("examples"), with_workflow=True) as stack:
        token = await stack.register("ada")
        made = Editor(
            table=stack.peer(stack.table, token), workflow=stack.peer(stack.workflow, token)
        )
        rows = {
            "flights": typed_rows(("carrier", "month", "dep_delay"), FLIGHTS),
            "airlines": typed_rows(("carrier", "name"), [("UA", "United"), ("AA", "American")]),
        }
        for table in (*flights.tables(), VISITS):
            await made.create_table(table, rows.get(table.name))
        yield made


async def test_carrier_delays_ranks_carriers_if_any_is_late(editor: Editor) -> None:
    await editor.create_workflow(example("carrier_delays"))
    stored = (
        "SELECT month, delay_rank, carrier, airline, flight_count, average_delay"
        " FROM carrier_delays ORDER BY month, delay_rank"
    )

    on_time = await editor.run("carrier_delays", threshold=40)
    assert on_time == {"worst_delay": 40, "late_count": 0, "rows_written": 0}
    assert await editor.rows(stored) == []

    for _ in range(2):
        late = await editor.run("carrier_delays")
        assert late == {"worst_delay": 40, "late_count": 2, "rows_written": 4}
        assert await editor.rows(stored) == [
            (1, 1, "AA", "American", 1, 40.0),
            (1, 2, "UA", "United", 2, 20.0),
            (2, 1, "XX", "XX", 1, 7.0),
            (2, 2, "AA", "American", 1, 5.0),
        ]


async def test_three_steps_count(editor: Editor) -> None:
    await editor.create_workflow(example("three_steps"))
    assert await editor.run("three_steps") == {"result": 3}
    assert await editor.run("three_steps", n=20) == {"result": 41}


async def test_record_visit_adds_a_row(editor: Editor) -> None:
    await editor.create_workflow(example("record_visit"))
    assert await editor.run("record_visit", visitor="Grace", page_count=3) == {"row_count": 1}
    [(visitor, page_count, run)] = await editor.rows("SELECT visitor, page_count, run FROM visits")
    assert (visitor, page_count) == ("Grace", 3)
    assert str(run).startswith("run_")
