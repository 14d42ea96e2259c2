"""docs/tables.md is true: its commands run, and answer what it shows."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.processes import Processes, free_ports
from flux.errors.v1 import reason_pb2
from flux.table.v1 import table_pb2
from table_service.config import Settings
from tests.docs.pages import Outcome, blocks, difference, run

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
BLOCKS = blocks(PAGE.read_text(encoding="utf-8"))
# Where `make run` listens, which is what the page says.
GATEWAY = "localhost:50051"
LINES_MAX = 450

pytestmark = [pytest.mark.xdist_group("tables page"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Outcome]]:
    """Run the page once, in a folder that looks like the checkout after `make run`."""
    folder = tmp_path_factory.mktemp("page")
    (folder / ".venv").symlink_to(Path(sys.prefix))
    processes = Processes(
        folder=folder / ".run", ports=free_ports(), settings={"FLUX_AUTH_PASSWORD_COST": "4"}
    )
    try:
        processes.start_all()
        yield run(BLOCKS, folder, {GATEWAY: processes.address("gateway")})
    finally:
        processes.stop_all()


def headings(text: str) -> set[str]:
    """Return the words in capitals that rows of tables begin with."""
    rows = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return set(re.findall(r"`([A-Z0-9_]+)`", " ".join(rows)))


@pytest.mark.parametrize("at", range(len(BLOCKS)), ids=lambda at: f"line {BLOCKS[at].line}")
def test_commands_answer_what_is_shown(outcomes: list[Outcome], at: int) -> None:
    block, outcome = BLOCKS[at], outcomes[at]
    if block.shown is not None:
        assert not difference(block.shown, outcome.output)
    # What the page does not show as an error must not be one.
    refused = block.shown is not None and "ERROR:" in block.shown[1]
    assert outcome.failed is refused, outcome.output


def test_every_type_is_there_and_every_reason_and_setting_named_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    columns, errors = text[text.index("## Columns") :], text[text.index("## Errors") :]
    limits = text[text.index("Limits of one query") : text.index("`DescribeQuery`")]
    kinds = {name.removeprefix("KIND_") for name in table_pb2.Type.Kind.DESCRIPTOR.values_by_name}
    reasons = reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    assert kinds - {"UNSPECIFIED", "MAP", "UNKNOWN"} <= headings(columns)
    assert {f"ERROR_REASON_{name}" for name in headings(errors)} <= set(reasons)
    settings = set(re.findall(r"`([a-z]+_[a-z_]+)`", limits)) - {"row_count_max"}
    assert settings
    assert settings <= Settings.model_fields.keys()


def test_page_is_not_longer_than_its_reader_has_patience() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= LINES_MAX
