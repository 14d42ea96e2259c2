"""Reflection through the gateway, by the tools that people use."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.reflection_pb2 import (
    ExtensionRequest,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from gateway.discovery import REFLECTION_PATHS
from tests.gateway.door import Door
from tests.gateway.echo_contract import SERVICE

GRPCURL = Path(sys.executable).parent / "grpcurl"


async def grpcurl(door: Door, *arguments: str, flags: tuple[str, ...] = ()) -> str:
    """Return what grpcurl prints."""
    running = await asyncio.create_subprocess_exec(
        str(GRPCURL),
        "-plaintext",
        *flags,
        door.running.address,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await running.communicate()
    assert running.returncode == 0, errors.decode()
    return out.decode()


async def ask(
    door: Door, path: str, *questions: ServerReflectionRequest
) -> list[ServerReflectionResponse]:
    """Return the answers, one for each question."""
    call: grpc.aio.StreamStreamCall[ServerReflectionRequest, ServerReflectionResponse]
    call = door.channel.stream_stream(
        path,
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )()
    answers = []
    for question in questions:
        await call.write(question)
        answer = await call.read()
        assert isinstance(answer, ServerReflectionResponse)
        answers.append(answer)
    await call.done_writing()
    return answers


async def test_grpcurl_lists_the_services_of_all_backends(door: Door) -> None:
    assert (await grpcurl(door, "list")).split() == [
        "flux.auth.v1.AuthService",
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]


async def test_grpcurl_describes_what_the_gateway_serves_and_nothing_else(door: Door) -> None:
    text = await grpcurl(door, "describe", SERVICE)
    for method in ("Say", "Open", "Known", "Edit", "Rule", "Tell", "Collect", "Chat"):
        assert f"rpc {method} (" in text
    assert "Inside" not in text
    assert "Unmarked" not in text
    assert "rpc Chat ( stream .flux.table.echo.v1.Word ) returns ( stream" in text
    assert "string text = 1" in await grpcurl(door, "describe", "flux.table.echo.v1.Word")


async def test_grpcurl_describes_a_backends_whole_contract(door: Door) -> None:
    text = await grpcurl(door, "describe", "flux.auth.v1.AuthService")
    assert "rpc Login (" in text
    assert "rpc ExchangeToken (" not in text
    for name in ("flux.auth.v1.LoginRequest", "grpc.health.v1.Health", "flux.access.v1.allow"):
        assert name.rpartition(".")[2] in await grpcurl(door, "describe", name)


async def test_grpcurl_calls_with_a_token(door: Door) -> None:
    flags = ("-H", f"authorization: Bearer {door.auth.token()}", "-d", '{"text": "hello"}')
    said = await grpcurl(door, f"{SERVICE}/Say", flags=flags)
    assert json.loads(said) == {"text": "hello"}


@pytest.mark.parametrize("path", REFLECTION_PATHS)
async def test_both_versions_answer_with_files_that_fit_together(door: Door, path: str) -> None:
    listed, found = await ask(
        door,
        path,
        ServerReflectionRequest(list_services="*"),
        ServerReflectionRequest(file_containing_symbol=SERVICE, host="here"),
    )
    assert SERVICE in [service.name for service in listed.list_services_response.service]
    assert found.original_request.host == found.valid_host == "here"
    pool = DescriptorPool()
    files = [
        FileDescriptorProto.FromString(raw)
        for raw in found.file_descriptor_response.file_descriptor_proto
    ]
    # The file asked for comes first, what it imports behind it.
    assert files[0].name == "flux/table/echo/v1/echo.proto"
    for file in reversed(files):
        pool.Add(file)
    assert pool.FindServiceByName(SERVICE).methods_by_name["Chat"].client_streaming


async def test_every_kind_of_question_has_its_answer(door: Door) -> None:
    options = "google.protobuf.MethodOptions"
    by_name, by_extension, numbers, by_value = await ask(
        door,
        REFLECTION_PATHS[1],
        ServerReflectionRequest(file_by_filename="flux/access/v1/access.proto"),
        ServerReflectionRequest(
            file_containing_extension=ExtensionRequest(
                containing_type=options, extension_number=50061
            )
        ),
        ServerReflectionRequest(all_extension_numbers_of_type=options),
        ServerReflectionRequest(file_containing_symbol="flux.access.v1.ACCESS_ADMIN"),
    )
    for answer in (by_name, by_extension, by_value):
        first = answer.file_descriptor_response.file_descriptor_proto[0]
        assert FileDescriptorProto.FromString(first).name == "flux/access/v1/access.proto"
    assert 50061 in numbers.all_extension_numbers_response.extension_number


async def test_questions_without_an_answer_are_told_so(door: Door) -> None:
    answers = await ask(
        door,
        REFLECTION_PATHS[1],
        ServerReflectionRequest(file_by_filename="no.proto"),
        ServerReflectionRequest(file_containing_symbol="no.Symbol"),
        ServerReflectionRequest(all_extension_numbers_of_type="no.Message"),
        ServerReflectionRequest(),
    )
    codes = [answer.error_response.error_code for answer in answers]
    assert codes == [5, 5, 5, 3]
