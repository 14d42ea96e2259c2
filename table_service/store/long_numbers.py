"""Numbers in JSON lines that DuckDB reads as the nearest double, which may be another number."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import duckdb

from table_service.store.files import REJECTS_MAX, File, json_documents
from table_service.types import sql_text

# A double has 15 digits that are certain; a sign, a point and a zero before it come on top.
_CHARACTERS = 17


def long_numbers(
    cursor: duckdb.DuckDBPyConnection, file: File, names: Sequence[str]
) -> list[tuple[int, str]]:
    """Return the first rows, from 1, in which one of the keys has such a number; with the key.

    A nested object with the key counts too: it is better refused than changed.
    """
    if not names:
        return []
    conditions = []
    for name in names:
        key = re.escape(json.dumps(name, ensure_ascii=False))
        found = f"regexp_extract_all(json, {sql_text(key + _NUMBER)}, 1)"
        long = f"length(x) >= {_CHARACTERS} AND (contains(x, '.') OR contains(lower(x), 'e'))"
        conditions.append(f"len(list_filter({found}, lambda x: {long})) > 0")
    rows = cursor.execute(
        f"SELECT n, [{', '.join(conditions)}] FROM"
        f" (SELECT json, row_number() OVER () AS n FROM {json_documents(file)})"
        f" WHERE {' OR '.join(conditions)} ORDER BY n LIMIT {REJECTS_MAX}"
    ).fetchall()
    return [
        (int(row), name)
        for row, holds in rows
        for name, held in zip(names, holds, strict=True)
        if held
    ][:REJECTS_MAX]


_NUMBER = r"\s*:\s*(-?[0-9][0-9.eE+-]*)"
