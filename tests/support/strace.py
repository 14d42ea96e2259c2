"""Faults of the disk, and kills between two system calls, put into a running process by strace."""

from __future__ import annotations

import asyncio
import functools
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

# What DuckDB calls to write: 2.0 syncs with the first, 1.5 with the second.
SYNCS = "fdatasync,fsync"


@functools.cache
def why_not() -> str:
    """Return why faults cannot be injected on this machine; nothing if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        [
            "strace",
            "-f",
            "-e",
            "inject=fsync:error=EIO",
            "-o",
            "/dev/null",
            sys.executable,
            "-c",
            "",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()}"


def needs_strace() -> None:
    """Skip the test where strace is missing or not allowed."""
    if why := why_not():
        pytest.skip(why)


@asynccontextmanager
async def injected(pid: int, rule: str, *paths: Path) -> AsyncIterator[None]:
    """Tamper with the system calls of a process during the block, or until it ends.

    `rule` is one of strace's, such as "fsync:error=EIO". With `paths` only calls on these files count. A
    thread counts its calls from the start of the block for itself, each system call apart.
    """
    of_paths = [word for path in paths for word in ("-P", str(path))]
    strace = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-o", "/dev/null", *of_paths, "-e", f"inject={rule}", "-p", str(pid)),
        stderr=asyncio.subprocess.PIPE,
    )
    assert strace.stderr is not None
    said = await strace.stderr.readline()
    assert b"attached" in said, said
    try:
        yield
    finally:
        # Not asked to end: from a process that is just dying it may wait for ever to part.
        with suppress(ProcessLookupError):
            strace.kill()
        await strace.communicate()
