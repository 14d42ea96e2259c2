"""flux.auth.v1.AuthService: parse, call, wrap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from auth_service.authority import Authority
from auth_service.claims import ACCESS_LIFETIME
from auth_service.keys import JWKS_AGE_MAX
from auth_service.wire import to_duration, to_jwk, to_revocation, to_token_pair, to_user
from chassis.faults import Unavailable
from chassis.identity import current_principal
from flux.auth.v1 import auth_service_pb2 as messages
from flux.auth.v1 import auth_service_pb2_grpc

Context = grpc.aio.ServicerContext[object, object]


class AuthServicer(auth_service_pb2_grpc.AuthServiceServicer):
    """Refuses every call until `ready` is set."""

    def __init__(self, authority: Authority, ready: asyncio.Event) -> None:
        self._authority = authority
        self._ready = ready

    async def Register(  # the contract's name, as are those below
        self, request: messages.RegisterRequest, context: Context
    ) -> messages.RegisterResponse:
        """Add a user."""
        user = await self._open().register(request.username, request.password, request.email)
        return messages.RegisterResponse(user=to_user(user))

    async def Login(
        self, request: messages.LoginRequest, context: Context
    ) -> messages.LoginResponse:
        """Open a session."""
        user, tokens = await self._open().login(request.username, request.password)
        return messages.LoginResponse(tokens=to_token_pair(tokens), user=to_user(user))

    async def RefreshToken(
        self, request: messages.RefreshTokenRequest, context: Context
    ) -> messages.RefreshTokenResponse:
        """Replace a refresh token."""
        tokens = await self._open().refresh(request.refresh_token)
        return messages.RefreshTokenResponse(tokens=to_token_pair(tokens))

    async def Logout(
        self, request: messages.LogoutRequest, context: Context
    ) -> messages.LogoutResponse:
        """End the caller's session."""
        await self._open().logout(current_principal())
        return messages.LogoutResponse()

    async def GetCurrentUser(
        self, request: messages.GetCurrentUserRequest, context: Context
    ) -> messages.GetCurrentUserResponse:
        """Return the caller."""
        user = await self._open().current_user(current_principal())
        return messages.GetCurrentUserResponse(user=to_user(user))

    async def GetJwks(
        self, request: messages.GetJwksRequest, context: Context
    ) -> messages.GetJwksResponse:
        """Return the public keys."""
        return messages.GetJwksResponse(
            keys=[to_jwk(key) for key in self._authority.keyring.published()],
            max_age=to_duration(JWKS_AGE_MAX),
        )

    async def IssueServiceToken(
        self, request: messages.IssueServiceTokenRequest, context: Context
    ) -> messages.IssueServiceTokenResponse:
        """Give a service its token."""
        token = self._authority.service_token(request.client_id, request.client_secret)
        return messages.IssueServiceTokenResponse(
            access_token=token, expires_in=to_duration(ACCESS_LIFETIME)
        )

    async def ExchangeToken(
        self, request: messages.ExchangeTokenRequest, context: Context
    ) -> messages.ExchangeTokenResponse:
        """Give workflow_service a token to act for a person."""
        token = await self._open().exchanged_token(current_principal(), request.user_id)
        return messages.ExchangeTokenResponse(
            access_token=token, expires_in=to_duration(ACCESS_LIFETIME)
        )

    async def WatchRevocations(
        self, request: messages.WatchRevocationsRequest, context: Context
    ) -> AsyncIterator[messages.WatchRevocationsResponse]:
        """Stream the sessions that end early."""
        async for revocations in self._open().feed.watch():
            yield messages.WatchRevocationsResponse(revocations=map(to_revocation, revocations))

    def _open(self) -> Authority:
        if not self._ready.is_set():
            raise Unavailable(
                "NEIGHBOUR_UNAVAILABLE",
                "auth_service waits for table_service",
                neighbour="table_service",
            )
        return self._authority
