"""What deploy/compose.sh says where Docker, its plugin or its engine is not there: one line each."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "compose.sh"
NEEDED = ("bash", "env", "dirname", "cat")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a folder with the few programs that the script starts with, to be its whole PATH."""
    for program in NEEDED:
        found = shutil.which(program)
        assert found is not None
        (tmp_path / program).symlink_to(found)
    return tmp_path


def write_docker(path: Path, script: str) -> None:
    """Put a program named docker on the path."""
    program = path / "docker"
    program.write_text(f"#!/usr/bin/env bash\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


def refusal(path: Path, command: str = "up") -> str:
    """Run the script, which must fail, and return what it said."""
    ended = subprocess.run(
        [str(SCRIPT), command],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    return ended.stderr


@pytest.mark.parametrize("command", ["up", "demo", "down"])
def test_missing_docker_is_said_in_one_line(path: Path, command: str) -> None:
    assert "Docker is not installed" in refusal(path, command)


def test_missing_compose_plugin_is_said_in_one_line(path: Path) -> None:
    write_docker(path, "echo 'docker: compose is not a docker command' >&2; exit 1")
    assert "compose plugin is not installed" in refusal(path)


def test_old_compose_plugin_is_said_in_one_line(path: Path) -> None:
    write_docker(path, "echo 2.17.3")
    assert "too old: 2.17.3" in refusal(path)


def test_missing_engine_is_said_in_one_line_with_dockers_own_reason(path: Path) -> None:
    write_docker(
        path,
        "[[ $1 == compose ]] && echo v2.40.3 && exit; echo one >&2; echo 'Cannot connect' >&2; exit 1",
    )
    assert refusal(path) == "no Docker engine answers: Cannot connect\n"


def test_wrong_usage_is_said_in_one_line(path: Path) -> None:
    assert refusal(path, "sideways").startswith("usage: ")
