"""Opaque ids that sort by the time they were made.

Source: the ULID specification, including its rule for ids of the same millisecond.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from chassis.clock import Clock

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80


@dataclass(slots=True)
class IdMaker:
    """Makes ids such as "run_01J8ZQ…": a prefix, 48 bits of milliseconds, 80 random bits.

    Ids of one maker strictly increase, even when the clock stands still or goes back.
    """

    clock: Clock
    random_bits: Callable[[int], int] = secrets.randbits
    _latest: int = field(default=0, init=False)

    def new_id(self, prefix: str) -> str:
        """Return a new id with `prefix`, greater than every id made before with that prefix."""
        milliseconds = int(self.clock.now().timestamp() * 1000)
        number = (milliseconds << _RANDOM_BITS) | self.random_bits(_RANDOM_BITS)
        if number <= self._latest or milliseconds == self._latest >> _RANDOM_BITS:
            # A small random step keeps ids of one millisecond in order without making them guessable.
            number = self._latest + 1 + self.random_bits(32)
        self._latest = number
        return f"{prefix}_{_encode(number)}"


def _encode(number: int) -> str:
    """Return 128 bits as 26 characters of Crockford's base 32."""
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
