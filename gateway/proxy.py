"""Forwarding one call: bytes, metadata, status, deadline and cancellation, in its own shape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc

from chassis import calls
from chassis.faults import Unavailable
from gateway.contract import Method
from gateway.limits import MessageSize
from gateway.metadata import Pair, back, onward
from gateway.outcome import hand_on_failure
from gateway.routes import Routes

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
StreamingCall: TypeAlias = (
    "grpc.aio.StreamUnaryCall[bytes, bytes] | grpc.aio.StreamStreamCall[bytes, bytes]"
)
AnsweringCall: TypeAlias = (
    "grpc.aio.UnaryStreamCall[bytes, bytes] | grpc.aio.StreamStreamCall[bytes, bytes]"
)

# How long the end of a caller's stream is held back where nothing proves that the caller is still there.
_VANISHED_AFTER_S = 0.01


class Proxy(grpc.GenericRpcHandler):
    """Serves every method that `routes` knows by calling the backend that owns it.

    Holds no more than one message of a stream in each direction: the next is read when the last was
    taken, so that the slower side sets the pace.
    """

    def __init__(
        self, routes: Routes, channels: Mapping[str, grpc.aio.Channel], size: MessageSize
    ) -> None:
        self._routes = routes
        self._size = size
        self._channels = dict(channels)
        self._handlers: dict[str, tuple[Method, Handler]] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Return how to serve the method now; one that nobody serves is refused with the reason."""
        path = handler_call_details.method
        # Health is the server's own, and packages of that name are nobody else's.
        if path.startswith("/grpc."):
            return None
        method = self._routes.get(path)
        if method is None:
            return grpc.stream_stream_rpc_method_handler(self._refuse(path))
        known = self._handlers.get(method.path)
        # A backend that came back with another contract has another Method under the same path.
        if known is None or known[0] is not method:
            known = (method, self._handler(method))
            self._handlers[method.path] = known
        return known[1]

    def _refuse(self, path: str) -> Callable[[object, Context], Awaitable[None]]:
        # Both sides stream, so that the answer waits for no message, whatever shape the caller thinks of.
        async def refuse(_requests: object, _context: Context) -> None:
            self._routes.find(path)
            raise Unavailable("NOT_SERVING", "the method has appeared this moment; call again")

        return refuse

    def _handler(self, method: Method) -> Handler:
        channel, size = self._channels[method.backend], self._size
        if method.request_streaming and method.response_streaming:
            return grpc.stream_stream_rpc_method_handler(_stream_stream(method, channel, size))
        if method.request_streaming:
            return grpc.stream_unary_rpc_method_handler(_stream_unary(method, channel, size))
        if method.response_streaming:
            return grpc.unary_stream_rpc_method_handler(_unary_stream(method, channel, size))
        return grpc.unary_unary_rpc_method_handler(_unary_unary(method, channel, size))


def _unary_unary(
    method: Method, channel: grpc.aio.Channel, size: MessageSize
) -> Callable[[bytes, Context], Awaitable[bytes]]:
    invoke: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method.path)

    async def forward(request: bytes, context: Context) -> bytes:
        size.check(request)
        call = invoke(request, timeout=_time_left(), metadata=_metadata(context))
        try:
            # Cancelling this task, as gRPC does when the caller is gone, cancels the backend's call.
            response = await call
        except grpc.aio.AioRpcError as error:
            initial = back(error.initial_metadata())
            if initial:
                await context.send_initial_metadata(initial)
            await hand_on_failure(context, error, method.backend)
        initial = back(await call.initial_metadata())
        if initial:
            await context.send_initial_metadata(initial)
        await _hand_on_success(context, call, ())
        return response

    return forward


def _unary_stream(
    method: Method, channel: grpc.aio.Channel, size: MessageSize
) -> Callable[[bytes, Context], Awaitable[None]]:
    invoke: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(method.path)

    async def forward(request: bytes, context: Context) -> None:
        size.check(request)
        call = invoke(request, timeout=_time_left(), metadata=_metadata(context))
        try:
            await _relay_responses(call, context, _Headers(call, context))
        except grpc.aio.AioRpcError as error:
            await hand_on_failure(context, error, method.backend)
        finally:
            call.cancel()

    return forward


def _stream_unary(
    method: Method, channel: grpc.aio.Channel, size: MessageSize
) -> Callable[[object, Context], Awaitable[bytes]]:
    invoke: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(method.path)

    async def forward(_requests: object, context: Context) -> bytes:
        call = invoke(timeout=_time_left(), metadata=_metadata(context))
        headers = _Headers(call, context)
        try:
            async with _requests_flowing(call, context, headers, size):
                response = await call
            late = await headers.send()
        except grpc.aio.AioRpcError as error:
            await headers.send()
            await hand_on_failure(context, error, method.backend)
        finally:
            call.cancel()
        await _hand_on_success(context, call, late)
        return response

    return forward


def _stream_stream(
    method: Method, channel: grpc.aio.Channel, size: MessageSize
) -> Callable[[object, Context], Awaitable[None]]:
    invoke: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method.path)

    async def forward(_requests: object, context: Context) -> None:
        call = invoke(timeout=_time_left(), metadata=_metadata(context))
        headers = _Headers(call, context)
        try:
            async with _requests_flowing(call, context, headers, size):
                await _relay_responses(call, context, headers)
        except grpc.aio.AioRpcError as error:
            await hand_on_failure(context, error, method.backend)
        finally:
            call.cancel()

    return forward


class _Headers:
    """A backend's initial metadata on its way to the caller; sent once, and never after a message.

    Sending goes on when whoever waits for it is cancelled. gRPC would forget that it is under way, send the
    metadata once more with the answer, and fail the call without an end that its caller could see.
    """

    def __init__(self, call: grpc.aio.Call, context: Context) -> None:
        self._call = call
        self._context = context
        self._arriving = asyncio.create_task(call.initial_metadata())
        self._sending: asyncio.Task[None] | None = None
        self._sent: tuple[Pair, ...] = ()

    async def send(self) -> tuple[Pair, ...]:
        """Wait for the backend's initial metadata and send it; return it if it comes too late for that."""
        initial = back(await self._arriving)
        if self._sending is None:
            # A call that failed at once is answered with its status alone, as the backend did.
            if initial or not self._call.done():
                await self._send(initial)
            return ()
        await asyncio.shield(self._sending)
        return () if self._sent else initial

    async def prove_caller_alive(self) -> None:
        """Return only if the caller has really ended its stream.

        gRPC's Python server reports a caller that vanished, cancelled or broke off by the same end of
        stream as one that has finished. Handed on, it would make half an upload look like a whole one.
        Sending initial metadata tells them apart: it succeeds on a living call alone. Where it was
        sent before, as it may be when both sides stream, gRPC gets a moment to cancel us.

        Raises:
            grpc.aio.InternalError: If the caller is gone.
        """
        if self._sending is None:
            await self._send(back(self._arriving.result()) if self._arriving.done() else ())
            return
        await asyncio.shield(self._sending)
        await asyncio.sleep(_VANISHED_AFTER_S)

    async def _send(self, initial: tuple[Pair, ...]) -> None:
        self._sent = initial
        self._sending = asyncio.ensure_future(self._context.send_initial_metadata(initial))
        # Whoever waits hears of a failure; if nobody waits any more, nobody needs to.
        self._sending.add_done_callback(lambda sent: sent.cancelled() or sent.exception())
        await asyncio.shield(self._sending)


@asynccontextmanager
async def _requests_flowing(
    call: StreamingCall, context: Context, headers: _Headers, size: MessageSize
) -> AsyncIterator[None]:
    """Hand on what the caller streams while the body of the `with` reads what the backend answers."""
    pump = asyncio.create_task(_relay_requests(call, context, headers, size))
    try:
        yield
    except asyncio.CancelledError:
        if pump.done() and not pump.cancelled():
            # The pump cancelled the call because it failed itself; that failure is the one to report.
            pump.result()
        raise
    finally:
        pump.cancel()


async def _relay_requests(
    call: StreamingCall, context: Context, headers: _Headers, size: MessageSize
) -> None:
    try:
        # The stubs do not say that reading ends with EOF, which is no bytes.
        while isinstance(message := await context.read(), bytes):
            size.check(message)
            await call.write(message)
        await headers.prove_caller_alive()
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        # The backend has ended the call already. Whoever reads its answer learns how.
        return
    except grpc.aio.InternalError:
        # The caller is gone, in the middle of its stream.
        call.cancel()
    except BaseException:
        call.cancel()
        raise


async def _relay_responses(call: AnsweringCall, context: Context, headers: _Headers) -> None:
    late = await headers.send()
    while isinstance(message := await call.read(), bytes):
        await context.write(message)
    await _hand_on_success(context, call, late)


async def _hand_on_success(context: Context, call: grpc.aio.Call, late: tuple[Pair, ...]) -> None:
    trailing = back(await call.trailing_metadata()) + late
    if trailing:
        context.set_trailing_metadata(trailing)
    details = await call.details()
    if details:
        context.set_details(details)


def _time_left() -> float | None:
    """Return the seconds the call being served may still take, which are the backend's too."""
    deadline = calls.deadline.get()
    return None if deadline is None else max(deadline - asyncio.get_running_loop().time(), 0.0)


def _metadata(context: Context) -> tuple[Pair, ...]:
    return onward(
        context.invocation_metadata() or (),
        request_id=calls.request_id.get(),
        traceparent=calls.traceparent.get(),
        peer=context.peer(),
    )
