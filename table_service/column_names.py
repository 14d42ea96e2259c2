"""Names of columns as files have them, made into names that a table can have.

Pure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

NAME_CHARACTERS_MAX = 128
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


def legal_names(written: Sequence[str]) -> tuple[str, ...]:
    """Return a name for each column, in order: what can be kept is, and no two are the same.

    Names that differ only in case count as the same. A name that is fine keeps its own even if another
    column before it would have become it.
    """
    names = [_legal(name, at) for at, name in enumerate(written, start=1)]
    taken: set[str] = set()
    kept = [False] * len(names)
    for at, (name, was) in enumerate(zip(names, written, strict=True)):
        if name == was and name.lower() not in taken:
            kept[at] = True
            taken.add(name.lower())
    for at, name in enumerate(names):
        if not kept[at]:
            names[at] = _free(name, taken)
            taken.add(names[at].lower())
    return tuple(names)


def _legal(name: str, position: int) -> str:
    plain = _CONTROLS.sub(" ", name).strip().lstrip("_ ")[:NAME_CHARACTERS_MAX].rstrip()
    return plain or f"column_{position}"


def _free(wanted: str, taken: set[str]) -> str:
    for number in itertools.count(1):
        suffix = "" if number == 1 else f"_{number}"
        name = wanted[: NAME_CHARACTERS_MAX - len(suffix)] + suffix
        if name.lower() not in taken:
            return name
    raise AssertionError("counting has no end")
