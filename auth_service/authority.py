"""What auth_service does: it decides with the domain, keeps with the store, and signs with the keyring."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from auth_service import accounts, claims, passwords, sessions
from auth_service.accounts import Registration, User, UserId
from auth_service.claims import ACCESS_LIFETIME, Issue
from auth_service.hashing import Hashing
from auth_service.keyring import Keyring
from auth_service.records import StoredSession, StoredUser
from auth_service.revocation_feed import RevocationFeed
from auth_service.sessions import RefreshToken, SessionId, Use
from auth_service.store import Store
from auth_service.throttle import Throttle
from chassis.clock import Clock
from chassis.faults import NotFound, PermissionDenied, ResourceExhausted
from chassis.identity import Principal, PrincipalKind, Role
from chassis.ids import IdMaker

log = structlog.get_logger()

# The one service that may act for people.
_ACTING_SERVICE = "workflow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What configuration decides about people and sessions."""

    issuer: str
    registration: Registration
    register_role: Role
    session_lifetime: timedelta


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Tokens:
    """What a login or a refresh gives; it never prints itself."""

    access_token: str
    refresh_token: str
    session_expire_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Answers every question of the contract but the keys and the revocations themselves.

    `dummy_hash` is compared with where there is no user, so that it takes as long as where there is one.
    """

    rules: Rules
    store: Store
    keyring: Keyring
    hashing: Hashing
    throttle: Throttle
    feed: RevocationFeed
    secret_hashes: dict[str, bytes]
    dummy_hash: str
    clock: Clock
    ids: IdMaker
    random_bytes: Callable[[int], bytes]

    async def register(self, username: str, password: str, email: str) -> User:
        """Add a user with the configured role.

        Raises:
            PermissionDenied: REGISTRATION_CLOSED.
            InvalidArgument: PASSWORD_INVALID.
            AlreadyExists: USER_EXISTS.
        """
        accounts.check_registration(self.rules.registration)
        return await self.add_user(username, password, email, self.rules.register_role)

    async def add_user(self, username: str, password: str, email: str, role: Role) -> User:
        """Add a user with any role.

        Raises:
            InvalidArgument: PASSWORD_INVALID.
            AlreadyExists: USER_EXISTS.
        """
        passwords.check_password(password, username=username)
        if await self.store.find_user_by_name(username) is not None:
            # Not the guard, which is the table's unique key; it saves the hash.
            raise accounts.username_taken(username)
        async with self.hashing.turn():
            password_hash = await self.hashing.hash(password)
        user = User(
            id=UserId(self.ids.new_id("usr")),
            username=username,
            email=email,
            role=role,
            disabled=False,
            create_time=self.clock.now(),
        )
        await self.store.add_user(user, password_hash)
        log.info("user.registered", user=user.id, role=role.value)
        return user

    async def login(self, username: str, password: str) -> tuple[User, Tokens]:
        """Open a session for whoever knows the password.

        Raises:
            Unauthenticated: CREDENTIALS_INVALID, whatever was wrong, after the same time.
            ResourceExhausted: LOGIN_THROTTLED after too many failures, even with the right password.
        """
        stored = await self._check_login(username, password)
        now = self.clock.now()
        token = sessions.new_refresh_token(
            SessionId(self.ids.new_id("ses")),
            self.random_bytes(sessions.SECRET_BYTES),
            self.random_bytes(sessions.SECRET_BYTES),
        )
        session = sessions.open_session(token, stored.user.id, now, self.rules.session_lifetime)
        await self.store.add_session(session)
        log.info("session.opened", session=session.id, user=stored.user.id)
        return stored.user, self._tokens(stored.user, token, session.expire_time)

    async def _check_login(self, username: str, password: str) -> StoredUser:
        throttled = accounts.username_key(username)
        self._check_throttle(throttled)
        stored = await self.store.find_user_by_name(username)
        password_hash = self.dummy_hash if stored is None else stored.password_hash
        async with self.hashing.turn():
            # Again: of many guesses that came at once, those before this one have been counted now.
            self._check_throttle(throttled)
            right = await self.hashing.matches(password, password_hash)
            if stored is None or stored.user.disabled or not right:
                self.throttle.failed(throttled, self.clock.monotonic())
                # Not the name: people type their password there.
                log.info("login.refused", user=None if stored is None else stored.user.id)
                raise accounts.wrong_credentials()
            self.throttle.succeeded(throttled)
            if self.hashing.is_outdated(stored.password_hash):
                renewed = await self.hashing.hash(password)
                await self.store.replace_password_hash(stored, renewed)
        return stored

    def _check_throttle(self, throttled: str) -> None:
        wait = self.throttle.wait(throttled, self.clock.monotonic())
        if wait > timedelta(0):
            seconds = math.ceil(wait.total_seconds())
            raise ResourceExhausted(
                "LOGIN_THROTTLED",
                f"too many attempts for this user; wait {seconds} s",
                retry_after=wait,
                seconds=seconds,
            )

    async def refresh(self, refresh_token: str) -> Tokens:
        """Replace a refresh token; one that is spent ends its session instead.

        Raises:
            Unauthenticated: TOKEN_INVALID, TOKEN_EXPIRED or TOKEN_REVOKED.
        """
        token = sessions.parse_refresh_token(refresh_token)
        now = self.clock.now()
        stored = await self.store.find_session(token.session_id)
        if stored is None:
            raise sessions.invalid_refresh_token()
        if sessions.check_use(stored.session, token, now) is Use.SPENT:
            await self._revoke(stored, "refresh_token_reused")
            raise sessions.revoked_session()
        owner = await self.store.find_user(stored.session.user_id)
        if owner is None or owner.user.disabled:
            await self._revoke(stored, "user_gone")
            raise sessions.revoked_session()
        following = sessions.next_refresh_token(token, self.random_bytes(sessions.SECRET_BYTES))
        turn_hash = accounts.secret_hash(following.turn)
        if not await self.store.renew_session(stored, turn_hash, now):
            # Somebody else used the same token at the same moment, and theirs was the first use.
            await self._revoke(stored, "refresh_token_reused")
            raise sessions.revoked_session()
        return self._tokens(owner.user, following, stored.session.expire_time)

    async def logout(self, caller: Principal) -> None:
        """End the caller's session; a token that belongs to none ends nothing."""
        stored = await self.store.find_session(caller.session_id)
        if stored is not None:
            await self._revoke(stored, "logout")

    async def _revoke(self, stored: StoredSession, cause: str) -> None:
        now = self.clock.now()
        session = stored.session
        await self.store.revoke_session(stored, now)
        self.feed.publish(sessions.revocation_of(session.id, now, ACCESS_LIFETIME))
        log.info("session.revoked", session=session.id, user=session.user_id, cause=cause)

    async def current_user(self, caller: Principal) -> User:
        """Return who calls.

        Raises:
            NotFound: USER_NOT_FOUND for a service, and for a person whose account is gone.
        """
        if caller.kind is not PrincipalKind.PERSON:
            raise NotFound(
                "USER_NOT_FOUND", f"{caller.subject!r} is a service", user=caller.subject
            )
        return await self._active_user(caller.subject)

    def service_token(self, client_id: str, client_secret: str) -> str:
        """Return a token for a service that knows its secret.

        Raises:
            Unauthenticated: CREDENTIALS_INVALID.
        """
        accounts.check_client(self.secret_hashes, client_id, client_secret)
        return self.keyring.sign(claims.service_claims(self._issue(), client_id))

    async def exchanged_token(self, caller: Principal, user_id: str) -> str:
        """Return a token with which workflow_service acts for a person, with the roles of now.

        Raises:
            PermissionDenied: ROLE_REQUIRED to everybody else.
            NotFound: USER_NOT_FOUND if nobody may act as that person.
        """
        if not caller.is_service(_ACTING_SERVICE):
            raise PermissionDenied(
                "ROLE_REQUIRED",
                f"ExchangeToken is for service {_ACTING_SERVICE!r} alone",
                method="ExchangeToken",
                role=_ACTING_SERVICE,
            )
        user = await self._active_user(user_id)
        return self.keyring.sign(claims.exchanged_claims(self._issue(), user, caller.subject))

    async def _active_user(self, user_id: str) -> User:
        stored = await self.store.find_user(user_id)
        return accounts.check_active(None if stored is None else stored.user, user_id)

    def _tokens(self, user: User, token: RefreshToken, expire_time: datetime) -> Tokens:
        said = claims.person_claims(self._issue(), user, token.session_id)
        return Tokens(
            access_token=self.keyring.sign(said),
            refresh_token=token.text(),
            session_expire_time=expire_time,
        )

    def _issue(self) -> Issue:
        return Issue(
            issuer=self.rules.issuer, time=self.clock.now(), token_id=self.ids.new_id("tok")
        )
