"""The main job: a year of flights in, delays by carrier and month out, through the gateway.

`make demo` starts a stack of its own for it; with --gateway it uses one that runs already.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import grpc
import typer
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.processes import (
    Processes,
    StackFailed,
    choose_ports,
    free_ports,
    interrupt_on_termination,
)
from examples import flights
from examples.client import Client
from flux.workflow.v1 import run_pb2

CHECKOUT = Path(__file__).resolve().parents[1]
DEFINITION = CHECKOUT / "examples" / "carrier_delays.yaml"
THRESHOLD_MINUTES = 15.0
SHOWN_ROWS = 12
RESULT_SQL = (
    "SELECT month, delay_rank, carrier, airline, flight_count, average_delay "
    "FROM carrier_delays ORDER BY month, delay_rank, carrier"
)

console = Console(highlight=False)


@dataclass(slots=True)
class Stopwatch:
    """How long each part took, in the order they ended."""

    parts: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Take the time of what happens inside."""
        start = time.perf_counter()
        yield
        self.parts.append((name, time.perf_counter() - start))


def run_main_job(client: Client, watch: Stopwatch) -> run_pb2.Run:
    """Make the tables, import the files, create the workflow, run it and show it; return the run."""
    with watch.measure("create 4 tables"):
        made = {table.name for table in flights.tables() if client.create_table(table)}
    with Progress(
        TextColumn("  import {task.description:<9}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        for name in ("airlines", "weather", "flights"):
            # An import is kept whole or not at all: a table that was there has its rows, or none.
            if name not in made and (row_count := client.count_rows(name)):
                progress.console.print(f"  {row_count:,} rows in {name}, imported before")
                continue
            with watch.measure(f"import {name}"):
                task = progress.add_task(name, total=flights.file_bytes(name))
                row_count = client.import_csv(
                    name, _counted(name, progress, task), null_text=flights.NULL_TEXT
                )
            progress.console.print(f"  {row_count:,} rows in {name}")
    with watch.measure("create workflow"):
        workflow = client.create_workflow(DEFINITION.read_text(encoding="utf-8"))
    console.print(f"\nworkflow [bold]{workflow.name}[/bold], version {workflow.version}")
    with watch.measure("run workflow"):
        run = client.start_run(workflow.name, threshold=THRESHOLD_MINUTES)
        console.print(f"run {run.id}")
        return client.watch_run(run.id, _show_event)


def _counted(name: str, progress: Progress, task: object) -> Iterator[bytes]:
    for piece in flights.read_file(name):
        yield piece
        progress.advance(task, len(piece))  # type: ignore[arg-type]  # rich's own TaskID


def _show_event(event: run_pb2.RunEvent) -> None:
    """Print one line for an event, as it comes."""
    kind = run_pb2.RunEvent.Kind.Name(event.kind).removeprefix("KIND_").lower().replace("_", " ")
    moment = event.time.ToDatetime().strftime("%H:%M:%S.%f")[:-3]
    details = []
    if event.result.row_count:
        details.append(f"{event.result.row_count:,} rows")
    if event.result.chosen:
        details.append(f"chose {event.result.chosen}")
    if event.failure.message:
        details.append(event.failure.message)
    console.print(f"  {moment}  {kind:<17} {event.step:<10} {', '.join(details)}")


def show_result(client: Client, watch: Stopwatch) -> None:
    """Print the table that the workflow made, and where the time went."""
    with watch.measure("read the result"):
        names, rows = client.query(RESULT_SQL)
    table = Table(title=f"carrier_delays: {len(rows)} rows, the first {min(SHOWN_ROWS, len(rows))}")
    for name in names:
        table.add_column(
            name.replace("_", " "),
            justify="left" if name in ("carrier", "airline") else "right",
            no_wrap=name == "airline",
        )
    for row in rows[:SHOWN_ROWS]:
        table.add_row(*(f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row))
    console.print(table)
    total = sum(seconds for _, seconds in watch.parts)
    console.print("where the time went")
    for name, seconds in watch.parts:
        console.print(f"  {name:<18} {seconds:7.2f} s  {'█' * round(40 * seconds / total)}")


def show_next_steps(address: str, *, local: bool) -> None:
    """Print three commands to go on with; each works as it is printed."""
    grpcurl = f".venv/bin/grpcurl -plaintext {'localhost:50051' if local else address}"
    password = ".run/secrets/admin_password" if local else "deploy/secrets/admin_password"
    login = f"""-d '{{"username": "admin", "password": "'$(cat {password})'"}}'"""
    # The stack of the demo is gone by then: the first command brings up one that stays.
    first = "make run" if local else f"{grpcurl} describe flux.workflow.v1.RunService"
    commands = [first, f"{grpcurl} list", f"{grpcurl} {login} flux.auth.v1.AuthService/Login"]
    console.print("\nthree things to try next")
    for command in commands:
        console.print(f"  {command}", soft_wrap=True, markup=False)


def explain(error: grpc.RpcError) -> str:
    """Return a failed call as a person reads it: the sentence, the reason and each violation."""
    lines = [f"{error.code().name}: {error.details()}"]
    trailing = {item.key: item.value for item in error.trailing_metadata() or ()}
    carried = status_pb2.Status()
    carried.ParseFromString(trailing.get("grpc-status-details-bin", b""))
    for detail in carried.details:
        for kind in (error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()):
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(kind)
                lines.append(json_format.MessageToJson(kind, indent=None))
    return "\n".join(lines)


@contextmanager
def stack_of_its_own(watch: Stopwatch) -> Iterator[tuple[str, str]]:
    """Run the four services on fresh data; give the gateway's address and the admin's password."""
    folder = CHECKOUT / ".demo"
    folder.mkdir(exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="stack-", dir=folder))
    stack = Processes(folder=fresh, ports=choose_ports())
    try:
        with watch.measure("start 4 services"), console.status("starting four services"):
            try:
                stack.start_all()
            except StackFailed:
                # Somebody took a port between the look and the use of it: others are free.
                stack.stop_all()
                stack.ports = free_ports()
                stack.start_all()
        password = stack.secrets.admin_password.read_text(encoding="utf-8").strip()
        yield stack.address("gateway"), password
    finally:
        stack.stop_all()
        shutil.rmtree(fresh, ignore_errors=True)


def demo(
    gateway: Annotated[
        str, typer.Option(help="A gateway that runs already; empty starts a stack.")
    ] = "",
    password_file: Annotated[Path | None, typer.Option(help="The admin's password there.")] = None,
) -> None:
    """Run the main job and show what it made."""
    interrupt_on_termination()
    watch = Stopwatch()
    try:
        if gateway:
            if password_file is None:
                raise typer.BadParameter("--gateway needs --password-file")
            password = password_file.read_text(encoding="utf-8").strip()
            _run_and_show(gateway, password, watch, local=False)
        else:
            with stack_of_its_own(watch) as (address, password):
                console.print(f"four services; the gateway listens on {address}\n")
                _run_and_show(address, password, watch, local=True)
    except KeyboardInterrupt:
        console.print("\nstopped; nothing is left running")
        raise typer.Exit(130) from None
    except grpc.RpcError as error:
        console.print(f"\n{explain(error)}", style="red", markup=False)
        raise typer.Exit(1) from error
    except (StackFailed, FileNotFoundError) as failure:
        console.print(f"\n{failure}", style="red", markup=False)
        raise typer.Exit(1) from failure


def _run_and_show(address: str, password: str, watch: Stopwatch, *, local: bool) -> None:
    client = Client.connect(address)
    with watch.measure("log in"):
        client.login("admin", password)
    run = run_main_job(client, watch)
    if run.state != run_pb2.Run.STATE_SUCCEEDED:
        console.print(f"the run failed: {run.failure.message}", style="red", markup=False)
        raise typer.Exit(1)
    show_result(client, watch)
    show_next_steps(address, local=local)
    sys.stdout.flush()


if __name__ == "__main__":
    typer.run(demo)
