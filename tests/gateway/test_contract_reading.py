"""Reading a contract from file descriptors."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from chassis.faults import Unavailable, Unimplemented
from flux.access.v1 import access_pb2
from gateway.contract import read_contract
from gateway.metadata import back, onward
from gateway.routes import Routes
from tests.gateway.echo_contract import SERVICE, closure_of, echo_file, path


def test_methods_have_their_shape_and_access() -> None:
    contract = read_contract("table_service", [SERVICE], closure_of(echo_file()))
    chat = contract.methods[path("Chat")]
    assert (chat.request_streaming, chat.response_streaming) == (True, True)
    assert contract.methods[path("Rule")].access == access_pb2.ACCESS_ADMIN
    assert not {path("Inside"), path("Unmarked")} & contract.methods.keys()


def test_service_of_which_nothing_is_left_is_not_listed() -> None:
    file = echo_file(("Inside", "Unmarked"))
    assert read_contract("table_service", [SERVICE], closure_of(file)).services == ()


def test_file_whose_import_is_missing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"imports flux/access/v1/access\.proto"):
        read_contract("table_service", [SERVICE], [echo_file()])


def test_service_that_no_file_defines_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no file defines no\.Such"):
        read_contract("table_service", ["no.Such"], closure_of(echo_file()))


def test_service_that_is_defined_and_not_served_is_not_routed() -> None:
    assert read_contract("table_service", [], closure_of(echo_file())).methods == {}


def test_symbols_of_every_kind_are_found() -> None:
    file = FileDescriptorProto(name="a.proto", package="a")
    outer = file.message_type.add(name="Outer")
    outer.field.add(name="field", number=1)
    outer.oneof_decl.add(name="choice")
    outer.nested_type.add(name="Inner").enum_type.add(name="Kind").value.add(name="ONE", number=0)
    contract = read_contract("x", [], [file])
    assert contract.symbols.keys() == {
        "a.Outer",
        "a.Outer.field",
        "a.Outer.choice",
        "a.Outer.Inner",
        "a.Outer.Inner.Kind",
        "a.Outer.Inner.ONE",
    }


def test_routes_tell_unknown_from_not_yet_known() -> None:
    routes = Routes({"flux.table.": "table_service", "flux.auth.": "auth_service"})
    with pytest.raises(Unavailable):
        routes.find(path("Say"))
    routes.learn(
        "table_service", read_contract("table_service", [SERVICE], closure_of(echo_file()))
    )
    assert routes.find(path("Say")).backend == "table_service"
    assert routes.unknown_backends() == ["auth_service"]
    for unknown in ("/flux.table.echo.v1.Echo/Nope", "/flux.tables.X/Y", "", "/", "nonsense"):
        with pytest.raises(Unimplemented):
            routes.find(unknown)
    with pytest.raises(Unavailable):
        routes.find("/flux.auth.v1.AuthService/Login")


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.7:51234", "10.0.0.7"),
        ("ipv6:%5B::1%5D:51234", "::1"),
        ("unix:/tmp/socket", "unknown"),
    ],
)
def test_address_of_the_caller_is_passed_on_without_its_port(peer: str, address: str) -> None:
    sent = dict(onward((), request_id="r", traceparent="t", peer=peer))
    assert sent == {"x-request-id": "r", "traceparent": "t", "x-forwarded-for": address}


def test_only_status_details_come_back_of_what_grpc_reserves() -> None:
    pairs = (("grpc-status-details-bin", b"d"), ("grpc-encoding", "gzip"), ("x-a", "1"))
    assert back(pairs) == (pairs[0], pairs[2])
    assert back(None) == ()
