"""What deploy/compose.yaml and the Dockerfile promise, read without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import auth_service.config
import gateway.config
import table_service.config
import workflow_service.config
from chassis.config import ServiceSettings
from deploy.secret_files import secret_files

DEPLOY = Path(__file__).parents[2] / "deploy"
SETTINGS: dict[str, type[ServiceSettings]] = {
    "table": table_service.config.Settings,
    "auth": auth_service.config.Settings,
    "workflow": workflow_service.config.Settings,
    "gateway": gateway.config.Settings,
}
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_four_services_of_one_image() -> None:
    assert set(SERVICES) == set(SETTINGS)
    assert {service["image"] for service in SERVICES.values()} == {"fluxengine"}


def test_only_the_gateway_is_published() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["gateway"]
    assert COMPOSE["networks"]["inside"]["internal"]
    for name in ("table", "auth"):
        assert SERVICES[name]["networks"] == ["inside"]


@pytest.mark.parametrize("name", SETTINGS)
def test_environment_is_settings_of_that_service(name: str) -> None:
    prefix = f"FLUX_{name.upper()}_"
    given = SERVICES[name]["environment"]
    fields = SETTINGS[name].model_fields
    assert {setting.removeprefix(prefix).lower() for setting in given} <= set(fields)
    required = {field for field, about in fields.items() if about.is_required()}
    assert {prefix + field.upper() for field in required} <= set(given)
    for value in given.values():
        if value.startswith("/run/secrets/"):
            assert Path(value).name in SERVICES[name]["secrets"]


def test_addresses_are_where_the_services_listen() -> None:
    listening = {
        f"{name}:{service['environment'][f'FLUX_{name.upper()}_LISTEN'].rpartition(':')[2]}"
        for name, service in SERVICES.items()
    }
    for service in SERVICES.values():
        for setting, value in service["environment"].items():
            if setting.endswith("_ADDRESS"):
                assert value in listening


@pytest.mark.parametrize("name", SETTINGS)
def test_service_has_no_privilege_and_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit", "logging", "stop_grace_period"} <= set(service)
    drain_s = SETTINGS[name].model_fields["drain_timeout_s"].default
    assert float(service["stop_grace_period"].removesuffix("s")) > 2 * drain_s


def test_data_is_tables_alone_and_each_secret_is_one_that_is_made() -> None:
    assert [name for name, service in SERVICES.items() if "volumes" in service] == ["table"]
    files = secret_files(Path("secrets"))
    made = {str(getattr(files, field)) for field in files.__slots__}
    assert {secret["file"] for secret in COMPOSE["secrets"].values()} == made
    # Nobody but auth could make a token.
    assert [name for name, s in SERVICES.items() if "bootstrap_key" in s["secrets"]] == ["auth"]


def test_no_file_names_a_registry() -> None:
    for name in ("Dockerfile", "compose.yaml", "compose.sh"):
        text = (DEPLOY / name).read_text(encoding="utf-8")
        assert "://" not in text
        assert "index-url" not in text
