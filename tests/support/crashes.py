"""Killing table_service at every step of what it does, and looking at what is left.

What a kill leaves is what stands in the files at that moment. So the steps are gone through once, each
paused to look at the files, and of those that find the same files the last is where the process is killed:
by then the most was answered.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from tests.support.faults import CHANGES, Plan
from tests.support.service_process import ServiceProcess, Site, crash_site
from tests.support.table_files import problems
from tests.table_service.serving import Client

__all__ = ["Journal", "ServiceProcess", "Site", "crash_site", "kill_at_every_step", "looks_whole"]

Journal = list[Any]
Act = Callable[[ServiceProcess, Journal], Awaitable[None]]
Check = Callable[[ServiceProcess, Journal], Awaitable[None]]


async def kill_at_every_step(
    folder: Path,
    *,
    prepare: Callable[[Client], Awaitable[None]],
    act: Act,
    check: Check,
    matching: str = CHANGES,
) -> list[str]:
    """Do `act` again and again, killed before each statement of it in turn and after the last.

    Each time begins with what `prepare` left. `act` notes in its journal what was answered; it may fail once
    the process is gone. `check` sees the service started again, and the same journal. At the end the file
    must be whole (see table_files.problems). Steps that leave the same files are one.

    Returns:
        The statements, as the first undisturbed time ran them.
    """
    async with crash_site(folder) as site:
        async with site.service(folder / "prepared") as running:
            await prepare(running.client())
        steps, states = await _undisturbed(site, folder, act, check, matching)
        for at in range(len(steps)):
            if states[at] != states[at + 1]:
                await _killed(site, folder, act, check, Plan(at=at, matching=matching))
        await _killed(
            site, folder, act, check, Plan(at=len(steps) - 1, after=True, matching=matching)
        )
    return steps


async def _killed(site: Site, folder: Path, act: Act, check: Check, plan: Plan) -> None:
    here = folder / "killed"
    shutil.copytree(folder / "prepared", here)
    journal: Journal = []
    async with site.service(here) as running:
        running.planned = plan
        await running.follow(plan)
        await _ends(act, running, journal)
        if not await running.has_run(plan.at):
            # Writes that come together may share other commits this time, and take fewer steps.
            running.kill()
        assert await running.ended() == -signal.SIGKILL, f"it was not killed: {plan}"
    await looks_whole(site, here, journal, check)
    shutil.rmtree(here)


async def _undisturbed(
    site: Site, folder: Path, act: Act, check: Check, matching: str
) -> tuple[list[str], list[str]]:
    """Do it once with no kill but one at the end; return the statements, and the files before each."""
    here = folder / "undisturbed"
    shutil.copytree(folder / "prepared", here)
    journal: Journal = []
    states: list[str] = []
    async with site.service(here) as running:

        async def look() -> None:
            # Ends when it is cancelled.
            while True:
                await running.hears("step")
                states.append(await asyncio.to_thread(_state, here / "data"))
                running.go_on()

        looking = asyncio.create_task(look())
        running.planned = Plan(pause=True, matching=matching)
        await running.follow(running.planned)
        await act(running, journal)
        steps = await running.statements()
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        running.kill()
        await running.ended()
        states.append(_state(here / "data"))
    assert len(states) == len(steps) + 1
    await looks_whole(site, here, journal, check)
    return steps, states


def _state(data_folder: Path) -> str:
    """Return a digest of all files."""
    found = hashlib.sha256()
    for path in sorted(data_folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found.update(f"{path.name} {len(content)} ".encode() + content)
    return found.hexdigest()


async def looks_whole(site: Site, folder: Path, journal: Journal, check: Check) -> None:
    """Start the service again for `check`, end it in order, and look into its file."""
    async with site.service(folder, observed=False) as running:
        await check(running, journal)
    assert await asyncio.to_thread(problems, folder / "data") == []


async def _ends(act: Act, running: ServiceProcess, journal: Journal) -> None:
    """Do it; it may end early because nobody answers any more."""
    try:
        await act(running, journal)
    except grpc.aio.AioRpcError as error:
        if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            raise
