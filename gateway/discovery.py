"""Asking backends what they serve, by server reflection, until they say it and whenever they restart."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import grpc
import structlog
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from gateway.contract import Contract, read_contract

log = structlog.get_logger()

# The messages of both versions are the same on the wire.
REFLECTION_PATHS = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)

_ANSWER_WITHIN_S = 5.0
_RETRY_FIRST_S = 0.05
_RETRY_MOST_S = 2.0
# A contract can change without a connection that breaks, behind a load balancer for one.
_ASK_AGAIN_S = 60.0
_FILES_MAX = 1000
_SERVICES_MAX = 100

_ReflectionCall: TypeAlias = (
    "grpc.aio.StreamStreamCall[ServerReflectionRequest, ServerReflectionResponse]"
)


class ReflectionFailed(Exception):
    """A backend answered the question what it serves with something else than its contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A service behind the gateway; it owns the packages that begin with `prefix`."""

    name: str
    prefix: str
    channel: grpc.aio.Channel


async def follow(
    backend: Backend,
    learned: Callable[[Contract], Awaitable[None]],
    lost: Callable[[], Awaitable[None]],
) -> None:
    """Call `learned` with every new contract of the backend, `lost` when it does not answer.

    Ends by cancellation.
    """
    known: Contract | None = None
    wait_s = _RETRY_FIRST_S
    reachable = True
    # Ends when the gateway stops and cancels it.
    while True:
        try:
            contract = await ask(backend)
        except (grpc.aio.AioRpcError, ReflectionFailed) as error:
            if reachable:
                log.warning("backend.lost", backend=backend.name, error=_reason(error))
                await lost()
            reachable = False
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # spreads load only
            wait_s = min(wait_s * 2, _RETRY_MOST_S)
            continue
        if contract != known or not reachable:
            log.info("backend.learned", backend=backend.name, methods=len(contract.methods))
            await learned(contract)
        known, reachable, wait_s = contract, True, _RETRY_FIRST_S
        await _until_stale(backend.channel)


async def ask(backend: Backend) -> Contract:
    """Return the contract of a backend, from its own mouth.

    Raises:
        grpc.aio.AioRpcError: If it cannot be reached or has no reflection.
        ReflectionFailed: If its answers do not make a contract.
    """
    v1, v1alpha = REFLECTION_PATHS
    try:
        return await _ask_at(v1, backend)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        return await _ask_at(v1alpha, backend)


async def _ask_at(path: str, backend: Backend) -> Contract:
    invoke: grpc.aio.StreamStreamMultiCallable[
        ServerReflectionRequest, ServerReflectionResponse
    ] = backend.channel.stream_stream(
        path,
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )
    call = invoke(timeout=_ANSWER_WITHIN_S)
    try:
        listed = await _exchange(call, ServerReflectionRequest(list_services="*"))
        services = [
            service.name
            for service in listed.list_services_response.service
            if service.name.startswith(backend.prefix)
        ]
        if len(services) > _SERVICES_MAX:
            raise ReflectionFailed(f"{backend.name} lists more than {_SERVICES_MAX} services")
        files = await _files(call, services)
        await call.done_writing()
        try:
            return read_contract(backend.name, services, files.values())
        except ValueError as error:
            raise ReflectionFailed(str(error)) from error
    finally:
        call.cancel()


async def _files(call: _ReflectionCall, services: list[str]) -> dict[str, FileDescriptorProto]:
    """Return the files that define `services` and all that they import, by name."""
    found: dict[str, FileDescriptorProto] = {}
    for name in services:
        await _collect(call, ServerReflectionRequest(file_containing_symbol=name), found)
    # Some servers answer with one file and leave its imports to be asked for.
    while missing := {name for file in found.values() for name in file.dependency} - found.keys():
        for name in sorted(missing):
            await _collect(call, ServerReflectionRequest(file_by_filename=name), found)
            if name not in found:
                raise ReflectionFailed(f"the answer for {name} is without it")
    return found


async def _collect(
    call: _ReflectionCall, question: ServerReflectionRequest, found: dict[str, FileDescriptorProto]
) -> None:
    answer = await _exchange(call, question)
    for serialized in answer.file_descriptor_response.file_descriptor_proto:
        try:
            file = FileDescriptorProto.FromString(serialized)
        except DecodeError as error:
            raise ReflectionFailed("a file descriptor is damaged") from error
        found.setdefault(file.name, file)
    if len(found) > _FILES_MAX:
        raise ReflectionFailed(f"more than {_FILES_MAX} files")


async def _exchange(
    call: _ReflectionCall, question: ServerReflectionRequest
) -> ServerReflectionResponse:
    try:
        await call.write(question)
        answer = await call.read()
    except asyncio.InvalidStateError:
        # The call ended before we wrote; reading tells how.
        answer = await call.read()
    if not isinstance(answer, ServerReflectionResponse):
        raise ReflectionFailed("the backend ended the stream")
    if answer.HasField("error_response"):
        raise ReflectionFailed(answer.error_response.error_message)
    return answer


async def _until_stale(channel: grpc.aio.Channel) -> None:
    """Return when the connection is lost, or when it is time to ask again anyway."""
    state = channel.get_state()
    if state is not grpc.ChannelConnectivity.READY:
        return
    lost = asyncio.create_task(channel.wait_for_state_change(state))
    try:
        await asyncio.wait({lost}, timeout=_ASK_AGAIN_S * random.uniform(0.5, 1.0))
    finally:
        lost.cancel()


def _reason(error: Exception) -> str:
    return error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error)
