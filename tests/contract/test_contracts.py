"""What holds for every method and every message of the contracts."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

from flux.access.v1 import access_pb2
from flux.errors.v1 import reason_pb2

ROOT = Path(__file__).parents[2]
PACKAGES = ("chassis", "auth_service", "table_service", "workflow_service", "gateway")


def files() -> Iterator[FileDescriptor]:
    for path in sorted((ROOT / "protos").glob("flux/**/*.proto")):
        module = str(path.relative_to(ROOT / "protos").with_suffix("")).replace("/", ".")
        yield importlib.import_module(f"{module}_pb2").DESCRIPTOR


def methods() -> list[MethodDescriptor]:
    return [
        method
        for file in files()
        for service in file.services_by_name.values()
        for method in service.methods
    ]


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.full_name)
def test_method_says_who_may_call_it(method: MethodDescriptor) -> None:
    assert method.GetOptions().Extensions[access_pb2.allow] != access_pb2.ACCESS_UNSPECIFIED


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.full_name)
def test_method_has_an_http_mapping(method: MethodDescriptor) -> None:
    assert method.GetOptions().Extensions[annotations_pb2.http].WhichOneof("pattern")


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.full_name)
def test_method_has_messages_of_its_own(method: MethodDescriptor) -> None:
    assert method.input_type.name == f"{method.name}Request"
    assert method.output_type.name == f"{method.name}Response"


def test_http_mappings_are_all_different() -> None:
    seen = [
        (rule.WhichOneof("pattern"), getattr(rule, rule.WhichOneof("pattern")))
        for method in methods()
        for rule in [method.GetOptions().Extensions[annotations_pb2.http]]
    ]
    assert len(seen) == len(set(seen))


def test_no_service_package_imports_another() -> None:
    shared = {"access", "type", "errors"}
    for file in files():
        own = file.package.split(".")[1]
        imported = {
            dependency.package.split(".")[1]
            for dependency in file.dependencies
            if dependency.package.startswith("flux.")
        }
        assert imported <= shared | {own}, file.name


# A reason is the first argument of a fault; HTTP_503 and its like are outcomes, not faults.
FAULT = re.compile(r"^[A-Z][A-Z0-9_]+$")
FAULT_NAMES = {
    "InvalidArgument",
    "Unauthenticated",
    "PermissionDenied",
    "NotFound",
    "AlreadyExists",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "ResourceExhausted",
    "Unimplemented",
    "Unavailable",
    "DeadlineExceeded",
}


def raised_reasons() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                first = node.args[0]
                if name in FAULT_NAMES and isinstance(first, ast.Constant):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", str(first.value)


def test_every_reason_raised_is_in_the_contract() -> None:
    known = {
        name.removeprefix("ERROR_REASON_")
        for name in reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    }
    unknown = [(place, reason) for place, reason in raised_reasons() if reason not in known]
    assert not unknown
