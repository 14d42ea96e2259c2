"""The containers for real: image, compose, the main job through the published port.

Needs a Docker engine; `make test-docker` runs it, `make test` does not. Works in a copy of the checkout, in a
project and on a port of its own, and takes everything away again but the image and its cache.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples.client import Client
from examples.flights import FLIGHT_COUNT

ROOT = Path(__file__).parents[2]
# The image is built, and the copy sets up a virtual environment for the demo: minutes with no cache.
MAKE_TIMEOUT_S = 1500
SERVICES = {"table", "auth", "workflow", "gateway"}
# The one user of the image, as the Dockerfile has it.
USER_ID = "10001"

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2 * MAKE_TIMEOUT_S)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A copy of the checkout and what `make` runs with there."""

    folder: Path
    project: str
    port: int

    def make(self, *arguments: str) -> str:
        """Run make, which must succeed, and return what it printed."""
        ended = subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                "COMPOSE_PROJECT_NAME": self.project,
                "FLUX_PORT": str(self.port),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=MAKE_TIMEOUT_S,
        )
        assert ended.returncode == 0, ended.stdout[-4000:]
        return ended.stdout

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return what the engine knows of each container, by service."""
        label = f"label=com.docker.compose.project={self.project}"
        ids = docker("ps", "--all", "--quiet", "--filter", label).split()
        return {
            container["Config"]["Labels"]["com.docker.compose.service"]: container
            for container in (json.loads(docker("inspect", *ids)) if ids else ())
        }

    def execute(self, service: str, *command: str) -> str:
        """Run a command in the container of a service and return its output."""
        return docker("exec", self.containers()[service]["Id"], *command)

    def volumes(self) -> list[str]:
        """Return the names of the volumes there are."""
        label = f"label=com.docker.compose.project={self.project}"
        return docker("volume", "ls", "--quiet", "--filter", label).split()


def docker(*arguments: str) -> str:
    """Run docker, which must succeed, and return its output."""
    ended = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """Give a copy of what git would commit, with the containers running; takes them away at the end."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, target)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    checkout = Checkout(folder=folder, project=f"fluxtest{os.getpid()}", port=port)
    try:
        checkout.make("up")
        yield checkout
    finally:
        checkout.make("down", "VOLUMES=1")


def test_every_service_is_healthy_and_only_the_gateway_is_published(checkout: Checkout) -> None:
    containers = checkout.containers()
    assert set(containers) == SERVICES
    assert {c["State"]["Health"]["Status"] for c in containers.values()} == {"healthy"}
    published = {
        service: bindings
        for service, container in containers.items()
        if (bindings := container["HostConfig"]["PortBindings"])
    }
    assert published == {
        "gateway": {"50051/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(checkout.port)}]}
    }


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_container_runs_without_root_and_cannot_change_its_image(
    checkout: Checkout, service: str
) -> None:
    assert checkout.execute(service, "id", "-u").strip() == USER_ID
    # Process 1 is the service itself, with no capability left.
    status = checkout.execute(service, "cat", "/proc/1/status")
    assert f"Uid:\t{USER_ID}" in status
    assert "CapEff:\t0000000000000000" in status
    tried = checkout.execute(service, "sh", "-c", "touch /app/new 2>&1 || true")
    assert "Read-only file system" in tried


def test_each_container_has_its_own_secrets_alone(checkout: Checkout) -> None:
    shown = {s: set(checkout.execute(s, "ls", "/run/secrets").split()) for s in SERVICES}
    assert shown["gateway"] == {"gateway_secret"}
    assert shown["workflow"] == {"workflow_secret"}
    assert shown["table"] == {"table_secret", "auth_public_key"}
    assert (checkout.folder / "deploy" / "secrets").stat().st_mode & 0o077 == 0


def test_main_job_runs_through_the_published_port_as_often_as_wanted(checkout: Checkout) -> None:
    assert "carrier_delays" in checkout.make("demo-compose")
    again = checkout.make("up", "demo-compose")
    assert f"{FLIGHT_COUNT:,} rows in flights, imported before" in again
    assert count_flights(checkout) == FLIGHT_COUNT


def test_data_survives_down_and_goes_with_its_volume(checkout: Checkout) -> None:
    checkout.make("demo-compose")
    checkout.make("down")
    assert checkout.containers() == {}
    assert len(checkout.volumes()) == 1
    checkout.make("up")
    assert count_flights(checkout) == FLIGHT_COUNT

    checkout.make("down", "VOLUMES=1")
    assert checkout.volumes() == []
    checkout.make("up")  # for whatever runs next; the secrets are kept, and good for new data


def count_flights(checkout: Checkout) -> int:
    """Log in with the password on the host and count, through the published port."""
    password = (checkout.folder / "deploy" / "secrets" / "admin_password").read_text("utf-8")
    client = Client.connect(f"127.0.0.1:{checkout.port}")
    try:
        client.login("admin", password.strip())
        return client.count_rows("flights")
    finally:
        client.channel.close()
