"""People with grpcurl and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.processes import Processes
from examples.client import Client

pytestmark = pytest.mark.xdist_group("grpcurl")


def grpcurl(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("grpcurl", path=str(Path(sys.executable).parent))
    assert program is not None, "the set-up installs grpcurl"
    return subprocess.run(
        [program, "-plaintext", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_list_shows_every_public_service(stack: Processes) -> None:
    listed = grpcurl(stack.address("gateway"), "list")
    assert listed.returncode == 0, listed.stderr
    assert {
        "flux.auth.v1.AuthService",
        "flux.table.v1.TableService",
        "flux.table.v1.RowService",
        "flux.table.v1.QueryService",
        "flux.workflow.v1.WorkflowService",
        "flux.workflow.v1.RunService",
        "grpc.health.v1.Health",
    } <= set(listed.stdout.split())


@pytest.mark.parametrize(
    ("symbol", "part"),
    [
        ("flux.workflow.v1.RunService", "rpc StartRun"),
        ("flux.table.v1.RowService.ImportRows", "stream .flux.table.v1.ImportRowsRequest"),
        ("flux.table.v1.Rows", "arrow_ipc"),
    ],
)
def test_describe_shows_the_contract(stack: Processes, symbol: str, part: str) -> None:
    described = grpcurl(stack.address("gateway"), "describe", symbol)
    assert described.returncode == 0, described.stderr
    assert part in described.stdout


def test_login_by_grpcurl_gives_a_token_that_works(stack: Processes) -> None:
    password = stack.secrets.admin_password.read_text(encoding="utf-8").strip()
    login = grpcurl(
        "-d",
        json.dumps({"username": "admin", "password": password}),
        stack.address("gateway"),
        "flux.auth.v1.AuthService/Login",
    )
    assert login.returncode == 0, login.stderr
    token = json.loads(login.stdout)["tokens"]["accessToken"]
    listed = grpcurl(
        "-H",
        f"authorization: Bearer {token}",
        stack.address("gateway"),
        "flux.table.v1.TableService/ListTables",
    )
    assert listed.returncode == 0, listed.stderr


def test_call_with_a_token_answers_in_json(stack: Processes, client: Client) -> None:
    answered = grpcurl(
        "-H",
        f"authorization: Bearer {client.access_token}",
        "-d",
        json.dumps({"sql": "SELECT 9007199254740993 AS big, 'x' AS text"}),
        stack.address("gateway"),
        "flux.table.v1.QueryService/Query",
    )
    assert answered.returncode == 0, answered.stderr
    assert '"big": "9007199254740993"' in answered.stdout


def test_error_says_what_is_wrong_with_which_field(stack: Processes, client: Client) -> None:
    answered = grpcurl(
        "-H",
        f"authorization: Bearer {client.access_token}",
        "-d",
        json.dumps({"table": "No Such Name"}),
        stack.address("gateway"),
        "flux.table.v1.TableService/GetTable",
    )
    assert answered.returncode != 0
    assert "Code: InvalidArgument" in answered.stderr
    assert "Message: table: does not match regex pattern" in answered.stderr
    assert "google.rpc.BadRequest" in answered.stderr


def test_details_of_an_error_are_described(stack: Processes) -> None:
    described = grpcurl(stack.address("gateway"), "describe", "google.rpc.BadRequest")
    assert "field_violations" in described.stdout
