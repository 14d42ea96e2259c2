"""Four real processes, as a user runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.processes import Processes, free_ports
from examples.client import Client

# The cheapest bcrypt there is: these tests ask what logins do, not what they cost.
FAST_PASSWORDS = {"FLUX_AUTH_PASSWORD_COST": "4"}
# Where the tests' own HTTP server listens; elsewhere, calls to this machine are refused.
LOOPBACK_ALLOWED = {"FLUX_WORKFLOW_HTTP_ALLOW_HOSTS": '["127.0.0.1"]'}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Give a running stack, new for each file of tests."""
    folder: Path = tmp_path_factory.mktemp("stack")
    processes = Processes(
        folder=folder, ports=free_ports(), settings={**FAST_PASSWORDS, **LOOPBACK_ALLOWED}
    )
    try:
        processes.start_all()
        yield processes
    finally:
        processes.stop_all()


@pytest.fixture(scope="module")
def client(stack: Processes) -> Iterator[Client]:
    """Give a client of the gateway, logged in as the admin."""
    client = Client.connect(stack.address("gateway"))
    client.login("admin", stack.secrets.admin_password.read_text(encoding="utf-8").strip())
    yield client
    client.channel.close()
