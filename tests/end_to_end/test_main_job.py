"""The main job gives what DuckDB computes straight from the file."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from examples import flights
from examples.client import Client
from examples.demo import DEFINITION, RESULT_SQL, THRESHOLD_MINUTES
from flux.workflow.v1 import run_pb2

pytestmark = [pytest.mark.xdist_group("main_job"), pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]

# Delay by carrier and month over all flights, ranked within the month: written here a second time, on
# purpose, from what the workflow says it does and not from how it does it.
EXPECTED_SQL = """
    SELECT month, rank() OVER (PARTITION BY month ORDER BY delay DESC) AS delay_rank,
           carrier, name, flight_count, delay
    FROM (SELECT f.month, f.carrier, a.name, count(*) AS flight_count, avg(f.dep_delay) AS delay
          FROM flights f JOIN airlines a USING (carrier)
          WHERE f.dep_delay IS NOT NULL
          GROUP BY ALL)
    ORDER BY month, delay_rank, carrier
"""


def expected_rows(folder: Path) -> list[tuple[object, ...]]:
    for name in ("flights", "airlines"):
        with (folder / f"{name}.csv").open("wb") as file:
            for piece in flights.read_file(name):
                file.write(piece)
    connection = duckdb.connect()
    for name in ("flights", "airlines"):
        path = str(folder / f"{name}.csv")
        connection.execute(
            f"CREATE TABLE {name} AS FROM read_csv('{path}', nullstr=['NA', ''], header=true)"
        )
    return connection.execute(EXPECTED_SQL).fetchall()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The main job, done: how many rows each import had, what happened, and how the run ended."""

    counts: dict[str, int]
    events: list[run_pb2.RunEvent]
    run: run_pb2.Run


@pytest.fixture(scope="module")
def job(client: Client) -> Job:
    for table in flights.tables():
        client.create_table(table)
    counts = {
        name: client.import_csv(name, flights.read_file(name), null_text=flights.NULL_TEXT)
        for name in ("airlines", "flights")
    }
    workflow = client.create_workflow(DEFINITION.read_text(encoding="utf-8"))
    events: list[run_pb2.RunEvent] = []
    started = client.start_run(workflow.name, threshold=THRESHOLD_MINUTES)
    return Job(counts=counts, events=events, run=client.watch_run(started.id, events.append))


def test_main_job_equals_duckdb_on_the_file(client: Client, job: Job, tmp_path: Path) -> None:
    assert job.run.state == run_pb2.Run.STATE_SUCCEEDED, job.run.failure
    _, rows = client.query(RESULT_SQL)
    expected = expected_rows(tmp_path)
    assert len(rows) == len(expected) > 0
    for row, right in zip(rows, expected, strict=True):
        assert row[:5] == right[:5]
        assert row[5] == pytest.approx(right[5], abs=1e-9)


def test_every_flight_is_imported_and_every_event_is_seen(job: Job) -> None:
    assert job.counts == {"airlines": 16, "flights": flights.FLIGHT_COUNT}
    assert [event.sequence for event in job.events] == list(range(1, len(job.events) + 1))


def test_high_threshold_writes_nothing_more(client: Client, job: Job) -> None:
    _, before = client.query("SELECT count(*) FROM carrier_delays")
    run = client.watch_run(
        client.start_run(job.run.workflow, threshold=10_000.0).id, lambda _event: None
    )
    _, after = client.query("SELECT count(*) FROM carrier_delays")
    assert run.state == run_pb2.Run.STATE_SUCCEEDED
    assert "otherwise" in {step.result.chosen for step in client.get_run(run.id).steps}
    assert before == after


def test_bad_rows_are_named_and_nothing_is_kept(client: Client) -> None:
    client.create_table(flights.table("airlines_twice", flights.AIRLINES, description=""))
    good = io.BytesIO(b"carrier,name\nUA,United\n")
    assert client.import_csv("airlines_twice", iter(lambda: good.read(10), b"")) == 1
    client.create_table(flights.table("small", "carrier:text month:int", description=""))
    lines = b"carrier,month\nUA,1\nAA,first\nDL,3\nB6,99999999999\n"
    with pytest.raises(Exception, match="month") as caught:
        client.import_csv("small", iter([lines]))
    assert "first" in str(caught.value)
    assert client.query("SELECT count(*) FROM small")[1] == [(0,)]


def test_demo_command_runs_and_cleans_up_after_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "carrier_delays: 185 rows" in done.stdout
    assert "three things to try next" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_command_ends_cleanly_when_it_is_stopped(number: signal.Signals) -> None:
    # A shell that runs the tests in the background has them, and so the demo, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "gateway listens on" in line:
                break
        os.killpg(process.pid, number)
        rest = process.stdout.read()
        end = time.monotonic() + 60
        assert process.wait(timeout=max(1, end - time.monotonic())) == 130, rest
    assert "Traceback" not in rest
    assert "nothing is left running" in rest
