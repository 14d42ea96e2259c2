"""What the gateway costs: the smallest call through it, beside the same call made directly."""

from __future__ import annotations

import grpc

from bench.measurement import Measurement, percentile
from bench.traffic import calls_per_second, latencies_s
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc

_IN_FLIGHT = 32
Metadata = tuple[tuple[str, str], ...]


async def measure_gateway(
    gateway: grpc.aio.Channel, direct: grpc.aio.Channel, metadata: Metadata, *, seconds: float
) -> list[Measurement]:
    """Return calls/s and p50 through the gateway, beside the same without it."""

    def caller(channel: grpc.aio.Channel):  # type: ignore[no-untyped-def]  # a closure of a moment
        stub = auth_service_pb2_grpc.AuthServiceStub(channel)

        async def call() -> int:
            await stub.GetJwks(auth_service_pb2.GetJwksRequest(), metadata=metadata)
            return 1

        return call

    through = await calls_per_second(caller(gateway), in_flight=_IN_FLIGHT, seconds=seconds)
    past = await calls_per_second(caller(direct), in_flight=_IN_FLIGHT, seconds=seconds)
    through_ms = percentile(await latencies_s(caller(gateway), count=400), 50) * 1000
    past_ms = percentile(await latencies_s(caller(direct), count=400), 50) * 1000
    return [
        Measurement(
            metric="gateway_ratio_bare",
            value=through,
            unit="calls/s",
            baseline=past,
            baseline_name="the same call straight to the service",
        ),
        Measurement(
            metric="gateway_p50_ms",
            value=through_ms,
            unit="ms",
            baseline=past_ms,
            baseline_name="the same call straight to the service",
        ),
    ]
