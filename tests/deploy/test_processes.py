"""Where the processes of a stack listen, and the secrets they start with."""

from __future__ import annotations

import socket
from pathlib import Path

from deploy.processes import choose_ports
from deploy.secret_files import make_secret_files


def test_port_of_a_stack_that_has_just_stopped_is_chosen_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        # The side that closes first keeps the connection for a minute (TIME_WAIT).
        accepted.close()
        client.close()
    assert choose_ports({"gateway": port}) == {"gateway": port}


def test_port_that_somebody_listens_on_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert choose_ports({"gateway": port})["gateway"] != port


def test_public_key_is_made_again_from_the_private_one(tmp_path: Path) -> None:
    files = make_secret_files(tmp_path)
    before = files.auth_public_key.read_bytes()
    files.auth_public_key.unlink()
    make_secret_files(tmp_path)
    assert files.auth_public_key.read_bytes() == before
