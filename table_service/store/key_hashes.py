"""A set of hashes that takes some ten bytes a member, for saying "never seen" without asking the store.

A hash is a 63-bit number, so that a BIGINT column holds it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from hashlib import blake2b
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

# Parts by the first bits of a hash, so that adding never moves more than one part in 4,096 of the members.
_PART_BITS = 12
_SHIFT = 63 - _PART_BITS
# Members of one part not yet sorted in, at about 60 bytes each: at most this many, or one in eight of them.
_RECENT_MAX = 64
_RECENT_SHARE = 8


def key_hash(*parts: str) -> int:
    """Return the hash of a key's parts."""
    digest = blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class KeyHashes:
    """A set that never forgets: a member may be stale, but what is not in it was never added.

    One thread adds at a time; others may look meanwhile.
    """

    def __init__(self, members: pa.ChunkedArray | None = None) -> None:
        """`members`: int64 without nulls, in any order."""
        self._runs: list[array[int]] = [array("q")] * (1 << _PART_BITS)
        self._recent: dict[int, set[int]] = {}
        if members is None or not len(members):
            return
        in_order, start = _sorted(members), 0
        for part in range(1 << _PART_BITS):
            end = bisect_left(in_order, (part + 1) << _SHIFT, start)
            self._runs[part] = in_order[start:end]
            start = end

    def __contains__(self, member: int) -> bool:
        part = member >> _SHIFT
        # The recent ones first: those that leave them are in the run by then.
        recent = self._recent.get(part)
        if recent is not None and member in recent:
            return True
        run = self._runs[part]
        at = bisect_left(run, member)
        return at < len(run) and run[at] == member

    def update(self, members: Iterable[int]) -> None:
        """Add members."""
        for member in members:
            part = member >> _SHIFT
            recent = self._recent.setdefault(part, set())
            recent.add(member)
            run = self._runs[part]
            if len(recent) > max(_RECENT_MAX, len(run) // _RECENT_SHARE):
                self._runs[part] = array("q", sorted(chain(run, recent)))
                del self._recent[part]


def _sorted(members: pa.ChunkedArray) -> array[int]:
    in_order = pc.take(members, pc.array_sort_indices(members)).combine_chunks()
    in_order = in_order.combine_chunks() if isinstance(in_order, pa.ChunkedArray) else in_order
    result = array("q")
    buffer = in_order.buffers()[1]
    result.frombytes(
        memoryview(buffer)[in_order.offset * 8 : (in_order.offset + len(in_order)) * 8]
    )
    return result
