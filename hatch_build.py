"""Generates the gRPC stubs when the project is installed; nothing generated is ever committed."""

from __future__ import annotations

import os
import runpy
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTOS = Path(__file__).parent / "protos"
VALIDATE_PROTO = "buf/validate/validate.proto"


class StubsHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's config type is its own
    """Runs protoc over protos/ before a wheel or an editable install is made."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate the stubs; a wheel carries them because pyproject.toml names them as artifacts."""
        if self.target_name == "wheel":
            generate_stubs()


def generate_stubs() -> None:
    """Write `*_pb2.py`, `*_pb2_grpc.py` and their .pyi beside the contracts and for buf.validate.

    Raises:
        RuntimeError: If protoc refuses a contract; it has said why on standard error.
    """
    image = runpy.run_path(str(PROTOS / "image.py"))
    # protoc finds its plugins, which are scripts of the same environment, through PATH.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        stubs = Path(folder) / "stubs"
        stubs.mkdir()
        arguments = image["compiler_arguments"](PROTOS, Path(folder))
        messages = [f"--python_out={stubs}", f"--mypy_out=quiet:{stubs}"]
        services = [f"--grpc_python_out={stubs}", f"--mypy_grpc_out=quiet:{stubs}"]
        if protoc.main([*arguments, *messages, *services, *image["contracts"](PROTOS)]):
            raise RuntimeError("protoc refused the contracts")
        if protoc.main([*arguments, *messages, VALIDATE_PROTO]):
            raise RuntimeError("protoc refused buf.validate")
        _replace_stubs(stubs)


def _replace_stubs(stubs: Path) -> None:
    """Put the new stubs in the place of the old ones, but for those of files without a service."""
    for stale in PROTOS.glob("**/*_pb2*"):
        stale.unlink()
    for stub in stubs.glob("**/*_pb2*"):
        target = PROTOS / stub.relative_to(stubs)
        proto = target.with_name(target.name.split("_pb2")[0] + ".proto")
        if "_pb2_grpc" in stub.name and "\nservice " not in proto.read_text(encoding="utf-8"):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(stub, target)


if __name__ == "__main__":
    generate_stubs()
