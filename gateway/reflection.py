"""Server reflection for everything behind the door, as if one server had it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable

import grpc
from google.protobuf import text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from gateway.contract import Contract, read_contract
from gateway.discovery import REFLECTION_PATHS
from gateway.routes import Routes


class Reflection(grpc.GenericRpcHandler):
    """Answers grpc.reflection.v1 and v1alpha from the contracts of the backends and the gateway's own.

    An answer is always from one contract: two backends of different ages may have one file in two versions,
    and a mixture of both would fit neither.
    """

    def __init__(self, routes: Routes, own: Contract) -> None:
        self._routes = routes
        self._own = own
        self._handler = grpc.stream_stream_rpc_method_handler(
            self._answers,
            request_deserializer=ServerReflectionRequest.FromString,
            response_serializer=ServerReflectionResponse.SerializeToString,
        )

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[ServerReflectionRequest, ServerReflectionResponse] | None:
        """Return the handler of reflection, or None for every other method."""
        return self._handler if handler_call_details.method in REFLECTION_PATHS else None

    async def _answers(
        self, questions: AsyncIterable[ServerReflectionRequest], _context: object
    ) -> AsyncIterator[ServerReflectionResponse]:
        async for question in questions:
            answer = self._answer(question)
            answer.valid_host = question.host
            answer.original_request.CopyFrom(question)
            yield answer

    def _answer(self, question: ServerReflectionRequest) -> ServerReflectionResponse:
        contracts = [*self._routes.contracts(), self._own]
        match question.WhichOneof("message_request"):
            case "list_services":
                return _services(contracts)
            case "file_by_filename":
                name = question.file_by_filename
                places = [(contract, name) for contract in contracts if name in contract.files]
            case "file_containing_symbol":
                symbol = question.file_containing_symbol
                places = [
                    (contract, contract.symbols[symbol])
                    for contract in contracts
                    if symbol in contract.symbols
                ]
            case "file_containing_extension":
                asked = question.file_containing_extension
                key = (asked.containing_type, asked.extension_number)
                places = [
                    (contract, contract.extensions[key])
                    for contract in contracts
                    if key in contract.extensions
                ]
            case "all_extension_numbers_of_type":
                return _extension_numbers(contracts, question.all_extension_numbers_of_type)
            case _:
                return _error(grpc.StatusCode.INVALID_ARGUMENT, "the request asks nothing")
        if not places:
            return _error(grpc.StatusCode.NOT_FOUND, "not found")
        contract, file = places[0]
        return ServerReflectionResponse(
            file_descriptor_response=reflection_pb2.FileDescriptorResponse(
                file_descriptor_proto=contract.with_imports(file)
            )
        )


def own_contract() -> Contract:
    """Return what the gateway serves by itself: health, and reflection in both versions.

    The messages in a status's details come along, so that a client that knows no contract can read them.
    """
    v1alpha = _proto(reflection_pb2.DESCRIPTOR)
    # grpcio-reflection has no v1. It is v1alpha under another name, by its own account.
    renamed = text_format.MessageToString(v1alpha).replace("v1alpha", "v1")
    v1 = text_format.Parse(renamed, FileDescriptorProto())
    health = [_proto(file) for file in _with_imports(health_pb2.DESCRIPTOR)]
    names = [
        f"{file.package}.{service.name}"
        for file in (*health, v1alpha, v1)
        for service in file.service
    ]
    details = [_proto(file) for file in _with_imports(error_details_pb2.DESCRIPTOR)]
    return read_contract("gateway", names, [*health, *details, v1alpha, v1], hidden=frozenset())


def _proto(file: FileDescriptor) -> FileDescriptorProto:
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    return proto


def _with_imports(file: FileDescriptor) -> list[FileDescriptor]:
    found = [file]
    for imported in file.dependencies:
        found += [more for more in _with_imports(imported) if more not in found]
    return found


def _services(contracts: Iterable[Contract]) -> ServerReflectionResponse:
    names = sorted({name for contract in contracts for name in contract.services})
    return ServerReflectionResponse(
        list_services_response=reflection_pb2.ListServiceResponse(
            service=[reflection_pb2.ServiceResponse(name=name) for name in names]
        )
    )


def _extension_numbers(contracts: Iterable[Contract], extended: str) -> ServerReflectionResponse:
    numbers = sorted(
        {
            number
            for contract in contracts
            for name, number in contract.extensions
            if name == extended
        }
    )
    if not numbers:
        return _error(grpc.StatusCode.NOT_FOUND, "not found")
    return ServerReflectionResponse(
        all_extension_numbers_response=reflection_pb2.ExtensionNumberResponse(
            base_type_name=extended, extension_number=numbers
        )
    )


def _error(code: grpc.StatusCode, message: str) -> ServerReflectionResponse:
    number: int = code.value[0]
    return ServerReflectionResponse(
        error_response=reflection_pb2.ErrorResponse(error_code=number, error_message=message)
    )
