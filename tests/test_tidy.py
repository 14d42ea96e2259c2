"""The house rules that a linter does not know: sizes, names, and what must not be committed."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
HOMELESS = {"utils", "util", "helpers", "helper", "manager", "base", "common", "core", "misc"}


def committed(*patterns: str) -> list[Path]:
    """Return the files git tracks or would track that match."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


SOURCES = committed("*.py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_is_small_and_well_named(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_LINES_MAX, "split it on meaning"
    assert path.stem not in HOMELESS, "name it for the noun it holds"
    tree = ast.parse(text)
    if path.parts[len(ROOT.parts)] != "tests":
        assert not text or ast.get_docstring(tree), "say in one sentence what it holds"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


def test_nothing_generated_and_no_registry_address_is_committed() -> None:
    assert not [path for path in committed("*_pb2*") if path.suffix in (".py", ".pyi")]
    assert not committed("uv.lock", "*.duckdb", "*.pem")
    for path in committed("requirements*.txt"):
        text = path.read_text(encoding="utf-8")
        assert "://" not in text
        assert "index-url" not in text


def test_no_test_mocks() -> None:
    for path in committed("tests/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert "mock" not in (node.module or ""), path
            if isinstance(node, ast.Import):
                assert not any("mock" in alias.name for alias in node.names), path
