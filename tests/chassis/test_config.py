"""A setting that is missing or wrong is named, and nothing else is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chassis.config import ServiceSettings


@pytest.mark.parametrize("module", ["auth_service", "table_service", "workflow_service", "gateway"])
def test_missing_setting_is_named_and_the_service_does_not_start(module: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLUX_")}
    ended = subprocess.run(
        [sys.executable, "-m", module],
        env={**kept, f"FLUX_{module.removesuffix('_service').upper()}_LISTEN": "nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    prefix = f"FLUX_{module.removesuffix('_service').upper()}_"
    lines = ended.stderr.strip().splitlines()
    assert ended.returncode == 1
    assert any(line.startswith(f"{prefix}LISTEN: ") for line in lines)
    assert all(line.startswith(prefix) for line in lines), ended.stderr


class Settings(ServiceSettings):
    listen: str = "127.0.0.1:0"


@pytest.mark.parametrize(
    "given",
    [
        {"tls_certificate_file"},
        {"tls_key_file"},
        {"tls_client_ca_file"},
        {"tls_peer_certificate_file", "tls_peer_ca_file"},
        {"tls_peer_key_file", "tls_peer_ca_file"},
        {"tls_peer_certificate_file", "tls_peer_key_file"},
    ],
)
def test_half_of_tls_is_refused_and_not_plain_text(given: set[str]) -> None:
    with pytest.raises(ValueError, match=r"tls_.* needs tls_"):
        Settings.model_validate(dict.fromkeys(given, Path("some.pem")))
