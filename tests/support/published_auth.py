"""What the other services need of auth_service, and nothing more: its keys, and no revocation."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from tests.support.tokens import KEY_ID, TestKeys

_LIFETIME = timedelta(hours=1)


class _PublishedAuth(auth_service_pb2_grpc.AuthServiceServicer):
    def __init__(self, keys: TestKeys) -> None:
        self._keys = keys

    async def GetJwks(self, request: Any, context: Any) -> auth_service_pb2.GetJwksResponse:
        public = self._keys.private_key.public_key()
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        answer = auth_service_pb2.GetJwksResponse()
        answer.keys.add(kid=KEY_ID, x=base64.urlsafe_b64encode(raw).rstrip(b"=").decode())
        answer.max_age.FromTimedelta(_LIFETIME)
        return answer

    async def IssueServiceToken(
        self, request: Any, context: Any
    ) -> auth_service_pb2.IssueServiceTokenResponse:
        answer = auth_service_pb2.IssueServiceTokenResponse(access_token=self._keys.sign())
        answer.expires_in.FromTimedelta(_LIFETIME)
        return answer

    async def WatchRevocations(
        self, request: Any, context: Any
    ) -> AsyncIterator[auth_service_pb2.WatchRevocationsResponse]:
        yield auth_service_pb2.WatchRevocationsResponse()
        await asyncio.Event().wait()


@asynccontextmanager
async def published_auth(keys: TestKeys) -> AsyncIterator[str]:
    """Yield the address at which `keys` are published, as auth_service would."""
    server = grpc.aio.server()
    auth = _PublishedAuth(keys)  # type: ignore[abstract]  # it answers what is asked here
    auth_service_pb2_grpc.add_AuthServiceServicer_to_server(auth, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
