"""Ports that speak TLS, and ask for a certificate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.client import Peer, connect, peer_tls
from chassis.clock import SystemClock
from chassis.config import ServiceSettings
from chassis.faults import Fault
from chassis.revocations import Revocations
from chassis.server import RunningServer, serve
from chassis.tokens import TokenVerifier
from tests.support.certificates import Authority
from tests.support.tokens import TestKeys

MESSAGE_BYTES_MAX = 1 << 20


class Settings(ServiceSettings):
    listen: str = "127.0.0.1:0"
    drain_timeout_s: float = 1


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[RunningServer]:
    clock = SystemClock()
    verifier = TokenVerifier(
        keys=TestKeys(), issuer="flux", clock=clock, revocations=Revocations(clock)
    )
    async with serve(settings, servicers=[], verifier=verifier, clock=clock) as server:
        yield server


async def check(address: str, client: Settings) -> None:
    channel = connect(address, message_bytes_max=MESSAGE_BYTES_MAX, tls=peer_tls(client))
    try:
        peer = Peer(name="service", channel=channel, tokens=None)
        stub = health_pb2_grpc.HealthStub(channel)
        await peer.call(stub.Check, health_pb2.HealthCheckRequest(), timeout_s=3)
    finally:
        await channel.close()


async def test_tls_is_spoken_when_certificates_are_configured(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    async with serving(Settings(tls_certificate_file=certificate, tls_key_file=key)) as server:
        await check(server.address, Settings(tls_peer_ca_file=authority.file))
        for stranger in (Settings(), Settings(tls_peer_ca_file=Authority(tmp_path, "other").file)):
            with pytest.raises(Fault) as caught:
                await check(server.address, stranger)
            assert caught.value.code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


async def test_mtls_refuses_whoever_shows_no_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    client_certificate, client_key = authority.issue("client")
    settings = Settings(
        tls_certificate_file=certificate, tls_key_file=key, tls_client_ca_file=authority.file
    )
    async with serving(settings) as server:
        await check(
            server.address,
            Settings(
                tls_peer_ca_file=authority.file,
                tls_peer_certificate_file=client_certificate,
                tls_peer_key_file=client_key,
            ),
        )
        with pytest.raises(Fault) as caught:
            await check(server.address, Settings(tls_peer_ca_file=authority.file))
        assert caught.value.code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
