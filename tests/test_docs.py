"""The documentation says what is so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import auth_service.config
import gateway.config
import table_service.config
import workflow_service.config
from chassis.config import ServiceSettings

ROOT = Path(__file__).parents[1]
OPERATING = ROOT / "docs" / "operating.md"
SETTINGS: dict[str, type[ServiceSettings]] = {
    "auth": auth_service.config.Settings,
    "table": table_service.config.Settings,
    "workflow": workflow_service.config.Settings,
    "gateway": gateway.config.Settings,
}
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
_ROW = re.compile(r"^\| `([a-z_]+)` \| (.*?) \| (.*) \|$", re.MULTILINE)


def described() -> Iterator[tuple[str, str, str, str]]:
    """Yield service, setting, default and description of every row of the page, in its order."""
    sections = re.split(r"^## ", OPERATING.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for section in sections:
        service = section.split("\n", 1)[0].strip().split(":")[0]
        for name, default, description in _ROW.findall(section):
            yield service, name, default, description


def declared() -> Iterator[tuple[str, str, str, str]]:
    """Yield the same of every setting that a service reads; those that all have come once."""
    shared = ServiceSettings.model_fields
    for name, field in shared.items():
        if name != "listen":
            yield "every service", name, shown(field), field.description or ""
    for service, settings in SETTINGS.items():
        for name, field in settings.model_fields.items():
            if name not in shared or name == "listen":
                yield service, name, shown(field), field.description or ""


def shown(field: object) -> str:
    """Return a default as the page shows it."""
    if field.is_required():  # type: ignore[attr-defined]  # pydantic's FieldInfo
        return "required"
    default = field.get_default(call_default_factory=True)  # type: ignore[attr-defined]
    if default in (None, "", (), frozenset()):
        return "none"
    return f"`{default}`"


def test_operating_page_lists_every_setting_as_it_is() -> None:
    assert sorted(described()) == sorted(declared())


def test_every_service_says_its_prefix() -> None:
    text = OPERATING.read_text(encoding="utf-8")
    for settings in SETTINGS.values():
        assert f"`{settings.model_config['env_prefix']}" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = set(re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8")))
    assert named <= targets
