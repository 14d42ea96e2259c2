"""A set of 64-bit hashes that takes eight bytes a member, for saying "never seen" without asking the store.

A hash is a 63-bit number, so that a BIGINT column holds it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc

# Members not yet sorted in: at most this many at about 60 bytes each.
_RECENT_MAX = 1 << 16


def key_hash(*parts: str) -> int:
    """Return the hash of a key's parts."""
    digest = blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class KeyHashes:
    """A set that never forgets: a member may be stale, but what is not in it was never added."""

    def __init__(self, members: pa.ChunkedArray) -> None:
        """`members`: int64 without nulls, in any order."""
        self._runs: list[array[int]] = []
        self._recent: set[int] = set()
        if len(members):
            self._runs.append(_sorted(members))

    def __contains__(self, member: int) -> bool:
        if member in self._recent:
            return True
        for run in self._runs:
            at = bisect_left(run, member)
            if at < len(run) and run[at] == member:
                return True
        return False

    def __len__(self) -> int:
        return len(self._recent) + sum(map(len, self._runs))

    def update(self, members: Iterable[int]) -> None:
        """Add members."""
        self._recent.update(members)
        if len(self._recent) < _RECENT_MAX:
            return
        run = array("q", sorted(self._recent))
        self._recent = set()
        # Runs double in length, so that a member is moved a logarithmic number of times.
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            longer = self._runs.pop()
            run = _sorted(pa.chunked_array([_viewed(longer), _viewed(run)]))
        self._runs.append(run)


def _sorted(members: pa.ChunkedArray) -> array[int]:
    in_order = pc.take(members, pc.array_sort_indices(members)).combine_chunks()
    in_order = in_order.combine_chunks() if isinstance(in_order, pa.ChunkedArray) else in_order
    result = array("q")
    buffer = in_order.buffers()[1]
    result.frombytes(
        memoryview(buffer)[in_order.offset * 8 : (in_order.offset + len(in_order)) * 8]
    )
    return result


def _viewed(run: array[int]) -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), len(run), [None, pa.py_buffer(run)])
