"""`make run` and `make stop`: a stack that stays, in .run/ of the checkout."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import typer
from rich.console import Console

from deploy.processes import SERVICES, STOP_TIMEOUT_S, Processes, StackFailed, choose_ports

FOLDER = Path(__file__).resolve().parents[1] / ".run"
STATE = FOLDER / "stack.json"

app = typer.Typer(add_completion=False, no_args_is_help=True)
console = Console(highlight=False)


@app.command()
def run() -> None:
    """Start the four services and leave them running."""
    if _living():
        console.print("It runs already; [bold]make stop[/bold] stops it.")
        raise typer.Exit(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    stack = Processes(folder=FOLDER, ports=choose_ports())
    try:
        with console.status("starting table, auth, workflow and gateway"):
            stack.start_all()
    except StackFailed as failure:
        stack.stop_all()
        console.print(str(failure), style="red", markup=False)
        raise typer.Exit(1) from failure
    except KeyboardInterrupt:
        stack.stop_all()
        raise typer.Exit(130) from None
    state = {service: process.pid for service, process in stack.running.items()}
    STATE.write_text(json.dumps(state), encoding="utf-8")
    console.print(
        f"FluxEngine runs; the gateway listens on [bold]{stack.address('gateway')}[/bold]"
    )
    console.print(f"  the admin's password is in {stack.secrets.admin_password}")
    console.print(f"  logs are in {FOLDER / 'logs'}; [bold]make stop[/bold] stops it")


@app.command()
def stop() -> None:
    """Stop what `run` started, callers before those they call."""
    living = _living()
    for service in reversed(SERVICES):
        pid = living.get(service)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            _wait_until_gone(pid)
    STATE.unlink(missing_ok=True)
    console.print("FluxEngine has stopped." if living else "Nothing was running.")


def _living() -> dict[str, int]:
    """Return the process ids of our services that are alive, by service."""
    if not STATE.exists():
        return {}
    recorded = json.loads(STATE.read_text(encoding="utf-8"))
    return {service: pid for service, pid in recorded.items() if _is_ours(pid)}


def _is_ours(pid: int) -> bool:
    """Return whether `pid` is a service of ours, and not somebody else's process with an old number."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and sys.executable in process.cmdline()
    except psutil.Error:
        return False


def _wait_until_gone(pid: int) -> None:
    """Return when the process has ended; one that does not end in time is killed."""
    end = time.monotonic() + STOP_TIMEOUT_S
    while _is_ours(pid):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":
    app()
