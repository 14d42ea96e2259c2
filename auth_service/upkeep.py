"""What auth_service does by itself: getting ready, turning its keys, forgetting what is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import grpc
import structlog

from auth_service import sessions
from auth_service.authority import Authority
from auth_service.claims import ACCESS_LIFETIME
from auth_service.keyring import Keyring
from auth_service.keys import Rotation, SigningKey, new_signing_key, turn_keys
from auth_service.revocation_feed import RevocationFeed
from auth_service.store import Store
from chassis.clock import Clock
from chassis.faults import Fault
from chassis.identity import Role
from chassis.ids import IdMaker

log = structlog.get_logger()

UPKEEP_EVERY_S = 60.0
_RETRY_FIRST_S = 0.1
_RETRY_MOST_S = 2.0
# A bug of table_service comes as what gRPC made of it, and must not end the upkeep for good.
_FAILURES = (Fault, grpc.aio.AioRpcError)
# Kept a while for whoever asks what happened.
_SESSION_KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FirstAdmin:
    """Who is made admin where there is none.

    `show` is called with the username and the password before they are kept, every time it is tried.
    """

    username: str
    password: str
    show: Callable[[str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """The work that no caller asks for."""

    store: Store
    keyring: Keyring
    feed: RevocationFeed
    rotation: Rotation
    clock: Clock
    ids: IdMaker

    async def get_ready(self, authority: Authority, first_admin: FirstAdmin) -> None:
        """Return when calls can be answered, however long table_service takes.

        Raises:
            ValueError: If the first admin cannot be made as configured.
        """
        wait_s = _RETRY_FIRST_S
        # Ends when table_service has answered everything, or by cancellation when the service stops.
        while True:
            try:
                await self.store.prepare()
                await self._recall_revocations()
                await self.turn_keys()
                await ensure_admin(authority, first_admin)
            except _FAILURES as error:
                log.warning("start.waiting", error=str(error))
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _RETRY_MOST_S)
            else:
                return

    async def keep_up(self) -> None:
        """Turn the keys and forget what is over, every minute; ends by cancellation."""
        # Ends when the service stops and cancels it.
        while True:
            await asyncio.sleep(UPKEEP_EVERY_S)
            try:
                await self.turn_keys()
                await self.forget_sessions()
            except _FAILURES as error:
                log.warning("upkeep.postponed", error=str(error))

    async def turn_keys(self) -> None:
        """Bring the stored keys and ours to where they should be now; safe to call at any time.

        A stored key that does not open was sealed with another bootstrap key, or not by us at all: it is
        dropped, and nothing that it signed is valid any more.
        """
        # Ends when nobody else has changed the keys in between.
        while True:
            stored = await self.store.list_keys()
            unreadable = [row.kid for row in stored if row.key is None]
            if unreadable:
                log.warning("keys.unreadable", kids=unreadable)
            known = [row.key for row in stored if row.key is not None]
            keys = turn_keys(known, self.rotation, self.clock.now(), self._new_key)
            if await self.store.save_keys(stored, keys):
                break
        # Not the keys themselves: one that was read again is another object.
        before, after = _states(self.keyring.known()), _states(keys)
        if before != after:
            self.keyring.replace(keys)
            log.info("keys.turned", kids=after)

    async def forget_sessions(self) -> None:
        """Delete sessions that expired long ago, a bounded number at a time."""
        count = await self.store.delete_expired_sessions(self.clock.now() - _SESSION_KEPT)
        if count:
            log.info("sessions.forgotten", count=count)

    async def _recall_revocations(self) -> None:
        """Refuse what was revoked before a restart and could still be shown."""
        for session in await self.store.list_revoked_since(self.clock.now() - ACCESS_LIFETIME):
            if session.revoke_time is not None:
                self.feed.publish(
                    sessions.revocation_of(session.id, session.revoke_time, ACCESS_LIFETIME)
                )

    def _new_key(self) -> SigningKey:
        return new_signing_key(self.ids.new_id("key"), self.clock.now())


def _states(keys: Sequence[SigningKey]) -> list[str]:
    return [f"{key.kid} {key.state.value}" for key in keys]


async def ensure_admin(authority: Authority, first_admin: FirstAdmin) -> None:
    """Make the first admin where there is none.

    Raises:
        ValueError: If the username belongs to somebody else already, or the password breaks a rule.
    """
    if await authority.store.has_admin():
        return
    username = first_admin.username
    if await authority.store.find_user_by_name(username) is not None:
        raise ValueError(
            f"there is no admin, and {username!r} is an ordinary or disabled user: "
            "name another in FLUX_AUTH_ADMIN_USERNAME"
        )
    # Before it is kept: stopped in between, the next start shows another, and that one counts.
    first_admin.show(username, first_admin.password)
    await authority.add_user(username, first_admin.password, "", Role.ADMIN)
