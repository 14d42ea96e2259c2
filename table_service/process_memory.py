"""A wall around the memory of the whole process, for what DuckDB's own limit does not count.

DuckDB lets one value of a caller's grow in functions without counting it: `l || l || …` over a long list took
thirteen gigabytes beside a limit of half of one. Past this wall the allocation fails, the statement with it
(QUERY_LIMIT), and the process goes on.
"""

from __future__ import annotations

import re
import resource

_UNITS = {
    **{unit: 1000**power for power, unit in enumerate(("B", "KB", "MB", "GB", "TB"))},
    **{unit: 1024**power for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB"))},
}
_SIZE = re.compile(r"([\d.]+)([A-Za-z]+)")


def byte_count(size: str) -> int:
    """Return how many bytes a size such as "1.5GB" is, as DuckDB reads it."""
    found = _SIZE.fullmatch(size)
    assert found is not None, size
    return int(float(found[1]) * _UNITS[found[2]])


def bound_memory(byte_count_max: int) -> None:
    """Let this process have no more writable memory than that, mapped or not touched yet included.

    A lower limit that stands already stays.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        byte_count_max = min(byte_count_max, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (byte_count_max, hard))
