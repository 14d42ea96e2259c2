"""The gateway knows no message of the services it stands in front of."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway

PACKAGE = Path(gateway.__file__).parent
FORBIDDEN = ("flux.auth", "flux.table", "flux.workflow", "flux.type")
SERVICES = ("auth_service", "table_service", "workflow_service")


def imported(file: Path) -> Iterator[str]:
    """Yield the full name of everything the file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.name))
def test_module_imports_no_message_type(file: Path) -> None:
    # By the package's own words: chassis fetches keys and revocations and so has flux.auth's stubs.
    names = list(imported(file))
    assert not [name for name in names if f"{name}.".startswith(tuple(f"{f}." for f in FORBIDDEN))]
    assert not [name for name in names if name.partition(".")[0] in SERVICES]
    assert not [name for name in names if name.startswith("importlib")]


def test_process_of_the_gateway_loads_no_contract_but_the_one_of_keys() -> None:
    program = "import sys, gateway.__main__; print(*sys.modules)"
    # A fresh interpreter, because other tests have imported everything into this one.
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    contracts = {name for name in loaded if name.startswith(("flux.table", "flux.workflow"))}
    assert not contracts
    assert not set(SERVICES) & set(loaded)
    # flux.auth is there by way of chassis alone, which fetches keys and revocations.
    assert "duckdb" not in loaded
