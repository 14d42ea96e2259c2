"""What callers see while backends are away, and that the gateway finds them again by itself."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.gateway.door import (
    EchoBackend,
    SmallAuth,
    failure,
    open_door,
    open_gateway,
    reason,
    retry_after_s,
    unary,
    unused_address,
    wait_serving,
)
from tests.gateway.echo_contract import SERVICE, echo_file, path
from tests.support.waiting import eventually


async def test_backend_that_never_answered_is_unavailable_not_unknown(tmp_path: Path) -> None:
    auth, address = SmallAuth(), unused_address()
    async with (
        auth.serving() as auth_address,
        open_gateway(tmp_path, auth=auth_address, table=address) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        say = unary(channel, "Say")
        error = await failure(say(b"x"))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(error) == "NEIGHBOUR_UNAVAILABLE"
        assert retry_after_s(error) > 0
        async with EchoBackend().serving(address):
            await wait_serving(channel, SERVICE)
            metadata = (("authorization", f"Bearer {auth.token()}"),)
            assert await say(b"x", metadata=metadata) == b"x"


async def test_backend_that_goes_away_is_found_again(tmp_path: Path) -> None:
    auth, address = SmallAuth(), unused_address()
    async with AsyncExitStack() as stack:
        auth_address = await stack.enter_async_context(auth.serving())
        running = await stack.enter_async_context(
            open_gateway(tmp_path, auth=auth_address, table=address)
        )
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(running.address))
        say = unary(channel, "Say")
        metadata = (("authorization", f"Bearer {auth.token()}"),)
        async with EchoBackend().serving(address):
            await wait_serving(channel, SERVICE)
        tell: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path("Tell"))
        for answer in (say(b"x", metadata=metadata), tell(b"x", metadata=metadata).read()):
            error = await failure(answer)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert reason(error) == "NEIGHBOUR_UNAVAILABLE"
            assert retry_after_s(error) > 0
            # Nothing of the inside: no address, no port, no word of sockets.
            assert error.details() == "table_service cannot be reached"
        async with EchoBackend().serving(address):

            async def answered() -> bool:
                try:
                    return bool(await say(b"x", metadata=metadata) == b"x")
                except grpc.aio.AioRpcError:
                    return False

            await eventually(answered)


async def test_backend_that_dies_in_the_middle_of_a_call_is_unavailable(tmp_path: Path) -> None:
    auth, address, echo = SmallAuth(), unused_address(), EchoBackend()
    async with AsyncExitStack() as stack:
        auth_address = await stack.enter_async_context(auth.serving())
        running = await stack.enter_async_context(
            open_gateway(tmp_path, auth=auth_address, table=address)
        )
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(running.address))

        async def endless(
            _request: object, context: grpc.aio.ServicerContext[bytes, bytes]
        ) -> None:
            # Ends when the server does.
            while True:
                await context.write(b"more")

        echo.behaviours["Tell"] = endless
        metadata = (("authorization", f"Bearer {auth.token()}"),)
        async with echo.serving(address):
            await wait_serving(channel, SERVICE)
            tell: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
                path("Tell")
            )
            call = tell(b"", metadata=metadata)
            assert await call.read() == b"more"

        async def rest() -> None:
            while isinstance(await call.read(), bytes):
                pass

        error = await failure(rest())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(error) == "NEIGHBOUR_UNAVAILABLE"


async def test_backend_that_returns_with_more_methods_is_read_again(tmp_path: Path) -> None:
    auth, address = SmallAuth(), unused_address()
    async with (
        auth.serving() as auth_address,
        open_gateway(tmp_path, auth=auth_address, table=address) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        metadata = (("authorization", f"Bearer {auth.token(roles=['admin'])}"),)
        edit = unary(channel, "Edit")
        async with EchoBackend(file=echo_file(("Say",))).serving(address):
            await wait_serving(channel, SERVICE)
            error = await failure(edit(b"x", metadata=metadata))
            assert reason(error) == "METHOD_UNKNOWN"
        async with EchoBackend(file=echo_file(("Say", "Edit"))).serving(address):

            async def answered() -> bool:
                try:
                    return bool(await edit(b"x", metadata=metadata) == b"x")
                except grpc.aio.AioRpcError:
                    return False

            await eventually(answered)


async def test_backend_that_returns_with_stricter_access_is_obeyed(tmp_path: Path) -> None:
    auth, address = SmallAuth(), unused_address()
    stricter = echo_file(("Say", "Edit"))
    for method in stricter.service[0].method:
        if method.name == "Say":
            method.options.CopyFrom(
                next(m for m in stricter.service[0].method if m.name == "Edit").options
            )
    async with (
        auth.serving() as auth_address,
        open_gateway(tmp_path, auth=auth_address, table=address) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        metadata = (("authorization", f"Bearer {auth.token()}"),)
        say = unary(channel, "Say")
        async with EchoBackend().serving(address):
            await wait_serving(channel, SERVICE)
            assert await say(b"x", metadata=metadata) == b"x"
        async with EchoBackend(file=stricter).serving(address):

            async def refused() -> bool:
                try:
                    await say(b"x", metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    return reason(error) == "ROLE_REQUIRED"
                return False

            await eventually(refused)


async def test_keys_that_never_came_are_unavailable(tmp_path: Path) -> None:
    async with (
        EchoBackend().serving() as table,
        open_gateway(tmp_path, auth=unused_address(), table=table) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        await wait_serving(channel, SERVICE)
        metadata = (("authorization", f"Bearer {SmallAuth().token()}"),)
        error = await failure(unary(channel, "Say")(b"x", metadata=metadata))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(error) == "KEYS_UNAVAILABLE"
        assert retry_after_s(error) > 0
        # What needs no key is served meanwhile, but the gateway as a whole is not ready.
        assert await unary(channel, "Open")(b"x") == b"x"
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_unimplemented_by_the_backend_says_so_with_a_reason(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        door.echo.file.service[0].method.remove(
            next(m for m in door.echo.file.service[0].method if m.name == "Say")
        )
        error = await failure(door.unary("Say")(b"x", metadata=door.as_viewer()))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert reason(error) == "METHOD_UNKNOWN"


async def test_health_of_a_service_that_nobody_serves_is_not_found(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        check = health_pb2_grpc.HealthStub(door.channel).Check
        error = await failure(check(health_pb2.HealthCheckRequest(service="no.such.Service")))
        assert error.code() is grpc.StatusCode.NOT_FOUND
