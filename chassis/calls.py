"""One call being served, as every interceptor sees it, and the pipeline they stand in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import grpc

from chassis.identity import Principal

Behaviour = Callable[[Any, "grpc.aio.ServicerContext[Any, Any]"], Any]


@dataclass(slots=True, kw_only=True)
class Call:
    """What is known of a call; interceptors fill it in from the outside inwards.

    `metadata` holds the first value of each key, text only. `checks` are applied to every message that
    comes in, before the servicer sees it. `served` is false for a method that nobody implements here.
    `code` is the status name the call ended with.
    """

    method: str
    context: grpc.aio.ServicerContext[Any, Any]
    metadata: dict[str, str]
    streams: bool
    served: bool = True
    request_id: str = ""
    principal: Principal | None = None
    code: str = "OK"
    reason: str = ""
    checks: list[Callable[[Any], None]] = field(default_factory=list)


Proceed = Callable[[], Awaitable[None]]


class Concern(Protocol):
    """One concern of every call, such as its log line or its deadline."""

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Do what comes before, `await proceed()`, and do what comes after."""


class Pipeline(grpc.aio.ServerInterceptor):
    """Runs every call through the concerns, the first outermost, whatever the call's shape.

    A handler is wrapped once a method, unless `cached` is false, for a server whose handlers change.
    """

    def __init__(self, concerns: Sequence[Concern], *, cached: bool = True) -> None:
        self._concerns = tuple(concerns)
        self._cached = cached
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the method's handler with every concern around it."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            wrapped = self._wrap(method, handler or _UNKNOWN_METHOD, served=handler is not None)
            # Unknown methods are not kept: their names come from outside and have no limit.
            if self._cached and handler is not None:
                self._wrapped[method] = wrapped
        return wrapped

    def _wrap(
        self, method: str, handler: grpc.RpcMethodHandler[Any, Any], *, served: bool
    ) -> grpc.RpcMethodHandler[Any, Any]:
        shape = _SHAPES[(bool(handler.request_streaming), bool(handler.response_streaming))]
        behaviour = getattr(handler, shape)
        serve = self._serve_stream if handler.response_streaming else self._serve_unary
        wrap: Any = getattr(grpc, f"{shape}_rpc_method_handler")
        wrapped: grpc.RpcMethodHandler[Any, Any] = wrap(
            partial(serve, method, behaviour, bool(handler.request_streaming), served),
            handler.request_deserializer,
            handler.response_serializer,
        )
        return wrapped

    async def _serve_unary(
        self,
        method: str,
        behaviour: Behaviour,
        request_streams: bool,
        served: bool,
        request: Any,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> Any:
        call = _call(method, context, streams=request_streams, served=served)
        response: Any = None

        async def work() -> None:
            nonlocal response
            checked = _checked_upload(call, request) if request_streams else _checked(call, request)
            response = await behaviour(checked, context)

        await self._surrounded(call, work)()
        return response

    async def _serve_stream(
        self,
        method: str,
        behaviour: Behaviour,
        request_streams: bool,
        served: bool,
        request: Any,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        call = _call(method, context, streams=True, served=served)

        async def work() -> None:
            checked = _checked_stream(call, request) if request_streams else _checked(call, request)
            answer = behaviour(checked, context)
            if isinstance(answer, AsyncIterable):
                async for message in answer:
                    await context.write(message)
            else:
                await answer

        await self._surrounded(call, work)()

    def _surrounded(self, call: Call, work: Proceed) -> Proceed:
        """Return the work with every concern around it."""
        for concern in reversed(self._concerns):
            work = partial(concern.around, call, work)
        return work


_SHAPES = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}


def _call(
    method: str, context: grpc.aio.ServicerContext[Any, Any], *, streams: bool, served: bool
) -> Call:
    metadata: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            metadata.setdefault(key, value)
    return Call(method=method, context=context, metadata=metadata, streams=streams, served=served)


def _checked(call: Call, request: Any) -> Any:
    for check in call.checks:
        check(request)
    return request


async def _checked_stream(call: Call, requests: AsyncIterable[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(call, request)


async def _checked_upload(call: Call, requests: AsyncIterable[Any]) -> AsyncIterator[Any]:
    """Yield what the caller streams, and end only if the caller has ended it.

    grpc.aio tells a servicer of a caller that vanished or cancelled by the same end of stream as of one
    that has finished: half an upload would pass for a whole one. Sending initial metadata tells them apart,
    for it succeeds on a living call alone.

    Raises:
        asyncio.CancelledError: If the caller is gone.
    """
    async for request in requests:
        yield _checked(call, request)
    try:
        await call.context.send_initial_metadata(())
    except grpc.aio.InternalError as error:
        raise asyncio.CancelledError from error


async def _never_served(_request: Any, _context: object) -> Any:
    raise AssertionError("identity refuses a method that nobody serves")


# The pipeline goes around it all the same: an unknown method has a log line and a proper status too.
_UNKNOWN_METHOD: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
    _never_served
)

request_id: ContextVar[str] = ContextVar("flux_request_id", default="")
# As the W3C writes it: version-trace id-parent id-flags.
traceparent: ContextVar[str] = ContextVar("flux_traceparent", default="")
# When the call being served must be done, in the event loop's time; absent means no call, or no limit.
deadline: ContextVar[float | None] = ContextVar("flux_deadline", default=None)


def trace_id() -> str:
    """Return the trace that the call being served belongs to; empty outside a call."""
    return traceparent.get()[3:35]
