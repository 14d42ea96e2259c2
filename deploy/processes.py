"""The four services as processes of this machine: started, watched, killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.secret_files import SecretFiles, make_secret_files

SERVICES = ("table", "auth", "workflow", "gateway")
DEFAULT_PORTS = {"gateway": 50051, "auth": 50061, "table": 50062, "workflow": 50063}
_MODULES = {
    "table": "table_service",
    "auth": "auth_service",
    "workflow": "workflow_service",
    "gateway": "gateway",
}
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
_LOOK_EVERY_S = 0.05


class StackFailed(Exception):
    """A service did not start; the message says which one and ends with its last log lines."""


@dataclass(slots=True, kw_only=True)
class Processes:
    """A stack in one folder: data/, secrets/ and logs/ below it, one process a service.

    `settings` adds environment variables for every service, such as FLUX_AUTH_PASSWORD_COST.
    """

    folder: Path
    ports: dict[str, int]
    settings: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def secrets(self) -> SecretFiles:
        """Where the secrets stand; made at the first use."""
        return make_secret_files(self.folder / "secrets")

    def address(self, service: str) -> str:
        """Return where a service listens."""
        return f"127.0.0.1:{self.ports[service]}"

    def log_file(self, service: str) -> Path:
        """Return the file that a service logs to."""
        return self.folder / "logs" / f"{service}.log"

    def start_all(self) -> None:
        """Start every service at once and return when all of them serve.

        Raises:
            StackFailed: If one ends, or does not serve in time.
        """
        for service in SERVICES:
            self.start(service)
        for service in SERVICES:
            self.wait_until_serving(service)

    def start(self, service: str) -> None:
        """Start the process of one service; it may not serve yet when this returns."""
        log = self.log_file(service)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self.running[service] = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-m", _MODULES[service]],
                env={**os.environ, **self._environment(), **self.settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A Ctrl-C in the terminal is for whoever started the stack, who then stops it in order.
                start_new_session=True,
            )

    def wait_until_serving(self, service: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when the service says SERVING.

        Raises:
            StackFailed: If it ends first, or the time is up.
        """
        end = time.monotonic() + timeout_s
        with grpc.insecure_channel(self.address(service)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < end:
                process = self.running.get(service)
                if process is not None and process.poll() is not None:
                    raise StackFailed(self._obituary(service, f"ended with {process.returncode}"))
                try:
                    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.RpcError:
                    # Not listening yet; the loop has an end of its own.
                    pass
                time.sleep(_LOOK_EVERY_S)
        raise StackFailed(self._obituary(service, f"does not serve after {timeout_s:g} s"))

    def kill(self, service: str) -> None:
        """Kill one service as kill -9 does, and return when it is gone."""
        process = self.running.pop(service)
        process.kill()
        process.wait()

    def stop_all(self) -> None:
        """Ask every service to stop, callers before those they call, and kill what does not."""
        for service in reversed(SERVICES):
            process = self.running.pop(service, None)
            if process is None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _environment(self) -> dict[str, str]:
        """Return the settings of all four services; each reads its own."""
        files = self.secrets
        return {
            "FLUX_TABLE_LISTEN": self.address("table"),
            "FLUX_TABLE_DATA_FOLDER": str(self.folder / "data"),
            "FLUX_TABLE_AUTH_PUBLIC_KEY_FILE": str(files.auth_public_key),
            "FLUX_TABLE_AUTH_ADDRESS": self.address("auth"),
            "FLUX_TABLE_CLIENT_SECRET_FILE": str(files.table),
            "FLUX_AUTH_LISTEN": self.address("auth"),
            "FLUX_AUTH_TABLE_ADDRESS": self.address("table"),
            "FLUX_AUTH_BOOTSTRAP_KEY_FILE": str(files.bootstrap_key),
            "FLUX_AUTH_ADMIN_PASSWORD_FILE": str(files.admin_password),
            "FLUX_AUTH_TABLE_SECRET_FILE": str(files.table),
            "FLUX_AUTH_WORKFLOW_SECRET_FILE": str(files.workflow),
            "FLUX_AUTH_GATEWAY_SECRET_FILE": str(files.gateway),
            "FLUX_WORKFLOW_LISTEN": self.address("workflow"),
            "FLUX_WORKFLOW_AUTH_ADDRESS": self.address("auth"),
            "FLUX_WORKFLOW_TABLE_ADDRESS": self.address("table"),
            "FLUX_WORKFLOW_CLIENT_SECRET_FILE": str(files.workflow),
            "FLUX_GATEWAY_LISTEN": self.address("gateway"),
            "FLUX_GATEWAY_AUTH_ADDRESS": self.address("auth"),
            "FLUX_GATEWAY_TABLE_ADDRESS": self.address("table"),
            "FLUX_GATEWAY_WORKFLOW_ADDRESS": self.address("workflow"),
            "FLUX_GATEWAY_CLIENT_SECRET_FILE": str(files.gateway),
        }

    def _obituary(self, service: str, what: str) -> str:
        log = self.log_file(service)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        return "\n".join([f"{_MODULES[service]} {what}; the end of {log}:", *lines])


def interrupt_on_termination() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does, so that what it started is stopped too."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def choose_ports(wanted: Mapping[str, int] = DEFAULT_PORTS) -> dict[str, int]:
    """Return a port a service: the one wanted if nobody listens there, else a free one."""
    with ExitStack() as stack:
        chosen = {}
        for service, port in wanted.items():
            # Held until all are chosen, so that no two get the same.
            holder = stack.enter_context(socket.socket())
            # Connections of a stack that was stopped a moment ago do not make its ports another's.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind(("127.0.0.1", port))
            except OSError:
                holder = stack.enter_context(socket.socket())
                holder.bind(("127.0.0.1", 0))
            chosen[service] = holder.getsockname()[1]
        return chosen


def free_ports() -> dict[str, int]:
    """Return a free port a service, none of them a default one."""
    with ExitStack() as stack:
        chosen = {}
        for service in DEFAULT_PORTS:
            holder = stack.enter_context(socket.socket())
            holder.bind(("127.0.0.1", 0))
            chosen[service] = holder.getsockname()[1]
        return chosen
