"""Password hashing off the event loop, so many at once and so many waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta

from auth_service import passwords
from chassis.faults import ResourceExhausted

# At a quarter of a second a hash on two threads, the last one waits a quarter of a minute.
_WAITING_MAX = 128


class Hashing:
    """Hashes and compares passwords in threads; bcrypt lets go of the interpreter while it works."""

    def __init__(self, *, cost: int, threads: int) -> None:
        self._cost = cost
        self._turns = asyncio.Semaphore(threads)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="bcrypt")
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one of the threads; only inside may `hash` and `matches` be called.

        Raises:
            ResourceExhausted: QUEUE_FULL if too many wait already.
        """
        if self._waiting >= _WAITING_MAX:
            raise ResourceExhausted(
                "QUEUE_FULL",
                f"{_WAITING_MAX} passwords wait to be checked already",
                retry_after=timedelta(seconds=5),
                limit=_WAITING_MAX,
            )
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def hash(self, password: str) -> str:
        """Return the password's hash at the configured cost."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, passwords.hash_password, password, self._cost
        )

    async def matches(self, password: str, password_hash: str) -> bool:
        """Return whether the hash is of this password."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, passwords.matches, password, password_hash
        )

    def is_outdated(self, password_hash: str) -> bool:
        """Return whether the hash has another cost than configured."""
        return passwords.is_outdated(password_hash, self._cost)

    def close(self) -> None:
        """Let the threads end; call once nothing hashes any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
