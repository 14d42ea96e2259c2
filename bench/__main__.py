"""`make bench`: a stack of its own on fresh data, every figure beside its baseline of the same run.

`make bench-long` adds what takes minutes: heavy work beside small calls, and ten million rows.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import grpc
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from bench import bare
from bench.bulk import measure_bulk
from bench.calls import measure_gateway
from bench.measurement import Measurement
from bench.neighbours import measure_neighbours
from bench.runs import measure_runs
from bench.tables import measure_tables
from deploy.processes import Processes, free_ports, interrupt_on_termination
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / "bench" / "out" / "results.json"
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
console = Console(highlight=False)


async def measure_all(
    stack: Processes, folder: Path, seconds: float, *, long: bool
) -> list[Measurement]:
    """Return every figure of the benchmark; `long` adds those that take minutes."""
    options = [
        ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
        ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ]
    commit_s, rpc_s = bare.commit_seconds(folder / "commits"), bare.empty_rpc_seconds()
    async with (
        grpc.aio.insecure_channel(stack.address("gateway"), options=options) as gateway,
        grpc.aio.insecure_channel(stack.address("auth")) as direct,
        grpc.aio.insecure_channel(stack.address("table"), options=options) as table,
    ):
        password = stack.secrets.admin_password.read_text(encoding="utf-8").strip()
        login = await auth_service_pb2_grpc.AuthServiceStub(gateway).Login(
            auth_service_pb2.LoginRequest(username="admin", password=password)
        )
        metadata = (("authorization", f"Bearer {login.tokens.access_token}"),)
        found = []
        with console.status("rows, an aggregate and a list of tables"):
            found += await measure_tables(
                table, metadata, folder, seconds=seconds, commit_s=commit_s, rpc_s=rpc_s
            )
        with console.status("runs"):
            found += await measure_runs(
                gateway, metadata, seconds=seconds, commit_s=commit_s, rpc_s=rpc_s
            )
        with console.status("bulk transfer"):
            found += await measure_bulk(gateway, table, metadata, folder)
        with console.status("the gateway"):
            found += await measure_gateway(gateway, direct, metadata, seconds=seconds)
        if long:
            with console.status("heavy work beside small calls"):
                found += await measure_neighbours(
                    stack.address("table"), metadata, folder, stack.running["table"].pid
                )
    return found


def report(found: list[Measurement]) -> None:
    """Print the figures as a table and write them to bench/out/results.json."""
    table = Table(title=f"{os.cpu_count()} cores, load generator included")
    for name in ("metric", "value", "unit", "baseline", "ratio"):
        table.add_column(
            name, justify="left" if name in ("metric", "unit") else "right", no_wrap=True
        )
    for one in found:
        table.add_row(
            one.metric, f"{one.value:,.2f}", one.unit, f"{one.baseline:,.2f}", f"{one.ratio:.2f}"
        )
    console.print(table)
    console.print("the baselines")
    for one in found:
        console.print(f"  {one.metric:<28} {one.baseline_name}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(
        json.dumps([one.as_json() for one in found], indent=2) + "\n", encoding="utf-8"
    )
    console.print(f"written to {RESULTS.relative_to(CHECKOUT)}")


def bench(
    seconds: Annotated[float, typer.Option(help="How long each rate is measured.")] = 8.0,
    long: Annotated[bool, typer.Option(help="Also measure what takes minutes.")] = False,
) -> None:
    """Measure FluxEngine on this machine."""
    interrupt_on_termination()
    folder = Path(tempfile.mkdtemp(prefix="flux-bench-"))
    stack = Processes(folder=folder / "stack", ports=free_ports())
    try:
        with console.status("starting four services"):
            stack.start_all()
        report(uvloop.run(measure_all(stack, folder, seconds, long=long)))
    finally:
        stack.stop_all()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    typer.run(bench)
