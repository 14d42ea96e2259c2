"""A file on its way out while it is being made: through memory to whoever keeps up, else by the disk.

A caller who reads as fast as the file is made costs the disk nothing, which everybody's commits wait for.
One who reads more slowly does not keep a snapshot of the database for long: the making waits for him for a
time, and then the rest goes into a file.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from table_service.store.spool import disk_faults, too_large
from table_service.store.watch import Abandoned

CHUNK_BYTES = 2 * 1024 * 1024
_HELD_CHUNKS_MAX = 8
_READ_CHUNKS = 4
# How long, in all, the making of one file waits for its reader.
PATIENCE_S = 5.0


class Outflow:
    """Bytes from a thread that makes them to an event loop, in order and in chunks.

    The thread writes as to a file, and says with `finish` that it is whole; `end` comes last in any case. The
    loop takes `chunks`, and says with `abandon` when it takes no more.
    """

    closed = False

    def __init__(self, path: Path, *, bytes_max: int, patience_s: float = PATIENCE_S) -> None:
        """`path`: a file that is there and empty. To be made in the loop."""
        self._path = path
        self._bytes_max = bytes_max
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        # The thread's alone.
        self._parts: list[memoryview] = []
        self._room = CHUNK_BYTES
        self._byte_count = 0
        self._file: BinaryIO | None = None
        # Everybody's, under the lock.
        self._changed = threading.Condition()
        self._held: deque[bytes] = deque()
        self._filed_bytes = 0
        self._ended = False
        self._abandoned = False

    def write(self, part: bytes | pa.Buffer) -> int:
        """Add bytes, which must not change any more, and return how many they are.

        Raises:
            ResourceExhausted: FILE_TOO_LARGE.
            Unavailable: STORE_UNAVAILABLE if the disk is full.
            Abandoned: If nobody takes any more.
        """
        view = memoryview(part).cast("B")
        size = len(view)
        self._byte_count += size
        if self._byte_count > self._bytes_max:
            raise too_large(self._bytes_max)
        while len(view) >= self._room:
            self._parts.append(view[: self._room])
            view = view[self._room :]
            self._pass_on()
        self._parts.append(view)
        self._room -= len(view)
        return size

    def flush(self) -> None:
        """Do nothing: a chunk that is not full waits for more."""

    def close(self) -> None:
        """Do nothing: the thread calls `end`."""

    def finish(self) -> None:
        """Pass on what is left; the file is whole.

        Raises:
            Fault, Abandoned: As `write`.
        """
        self._pass_on()

    def end(self) -> None:
        """Nothing more comes, whether the file is whole or not."""
        if self._file is not None:
            self._file.close()
        with self._changed:
            self._ended = True
        self._tell()

    def abandon(self) -> None:
        """Nobody takes any more."""
        with self._changed:
            self._abandoned = True
            self._changed.notify()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes until no more come; whether the file is whole then is for the thread to say."""
        read_bytes = 0
        with ExitStack() as opened:
            file: BinaryIO | None = None
            # Ends when the thread has, and all it left was taken.
            while True:
                self._news.clear()
                with self._changed:
                    chunk = self._held.popleft() if self._held else None
                    filed_bytes, ended = self._filed_bytes, self._ended
                    self._changed.notify()
                if chunk is not None:
                    yield chunk
                elif filed_bytes > read_bytes:
                    if file is None:
                        file = opened.enter_context(self._path.open("rb"))
                    count = min(_READ_CHUNKS, -(-(filed_bytes - read_bytes) // CHUNK_BYTES))
                    for chunk in await asyncio.to_thread(_read, file, count):
                        read_bytes += len(chunk)
                        yield chunk
                elif ended:
                    return
                else:
                    await self._news.wait()

    def _pass_on(self) -> None:
        """Pass on the parts as one chunk, to memory as long as it is not full for too long."""
        chunk = b"".join(self._parts)
        self._parts.clear()
        self._room = CHUNK_BYTES
        if not chunk:
            return
        if self._file is None:
            if self._hold(chunk):
                self._tell()
                return
            # It was made before, and went if nobody takes any more.
            self._file = self._path.open("r+b", buffering=0)
        with disk_faults():
            view = memoryview(chunk)
            # Ends when all is written: a file may take less at a time.
            while view:
                view = view[self._file.write(view) :]
        with self._changed:
            self._check_taken()
            self._filed_bytes += len(chunk)
        self._tell()

    def _hold(self, chunk: bytes) -> bool:
        """Keep the chunk in memory once there is room, and say whether there was."""
        began = time.monotonic()
        with self._changed:
            has_room = self._changed.wait_for(
                lambda: len(self._held) < _HELD_CHUNKS_MAX or self._abandoned, self._patience_s
            )
            self._check_taken()
            self._patience_s = max(0.0, self._patience_s - (time.monotonic() - began))
            if has_room:
                self._held.append(chunk)
        return has_room

    def _check_taken(self) -> None:
        if self._abandoned:
            raise Abandoned

    def _tell(self) -> None:
        # A loop that has stopped has nobody left who waits.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield what is left of a file, in chunks."""
    # Ends with the file.
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _read(file: BinaryIO, count: int) -> list[bytes]:
    return [chunk for _ in range(count) if (chunk := file.read(CHUNK_BYTES))]
