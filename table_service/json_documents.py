"""JSON documents in files, as SQL: DuckDB takes NaN, commas before a bracket, and any depth; tables do not.

Pure. `cells.json_document` says the same of documents that come by themselves.
"""

from __future__ import annotations

from table_service.cells import DOCUMENT_DEPTH_MAX

_STRINGS = r'"(?:[^"\\]|\\.)*"'
_LOOSE = r"(?i)nan|inf|,\s*[\]}]"


def _nesting(depth: int) -> str:
    """Return a regular expression of round brackets nested at most so deep."""
    pattern = ""
    for _ in range(depth):
        pattern = rf"(?:\({pattern}\))*"
    return pattern


_NESTING = _nesting(DOCUMENT_DEPTH_MAX)


def is_loose(text: str) -> str:
    """Return SQL that is true for a text that DuckDB takes for JSON and a table does not.

    Quick for most texts: what costs is asked only where something looks wrong, or could be deep.
    """
    bare = f"regexp_replace({text}, '{_STRINGS}', '', 'g')"
    brackets = rf"regexp_replace({bare}, '[^\[\]{{}}]', '', 'g')"
    brackets = f"translate({brackets}, '[{{]}}', '(())')"
    loose = f"regexp_matches({text}, '{_LOOSE}') AND regexp_matches({bare}, '{_LOOSE}')"
    deep = (
        f"length({text}) > {2 * DOCUMENT_DEPTH_MAX}"
        f" AND NOT regexp_full_match({brackets}, '{_NESTING}')"
    )
    return f"CASE WHEN {loose} THEN true WHEN {deep} THEN true ELSE false END"
