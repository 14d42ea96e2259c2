"""What auth_service keeps: users, sessions and signing keys, through table_service.

Nothing here can be used as it lies: passwords and refresh tokens are hashes, private keys are sealed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auth_service.accounts import User, username_key, username_taken
from auth_service.keys import NONCE_BYTES, SigningKey, seal, unseal
from auth_service.records import (
    SESSIONS,
    SIGNING_KEYS,
    USERS,
    StoredKey,
    StoredSession,
    StoredUser,
    key_values,
    session_values,
    stored_key,
    stored_session,
    stored_user,
    user_values,
)
from auth_service.sessions import Session
from chassis.faults import Aborted, AlreadyExists, FailedPrecondition, Fault, NotFound, Unavailable
from chassis.identity import Role
from chassis.tables import (
    Delete,
    Insert,
    Mutation,
    MutationResult,
    StoredRow,
    Tables,
    TableSpec,
    Update,
)

log = structlog.get_logger()

_ENDED_MAX = 1000
# Long enough for a neighbour that restarts; the call's own deadline may end it sooner.
_RETRY_WAITS_S = (0.1, 0.2, 0.5, 1.0, 2.0)
# What a caller of ours can do something about; anything else table_service says is between us two.
_PASSED_ON = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"})
_LOST = (Aborted, AlreadyExists, FailedPrecondition, NotFound)


class Store:
    """Every read and write of what auth_service keeps.

    Every method raises Unavailable while table_service does not answer.
    """

    def __init__(
        self, tables: Tables, *, sealing: bytes, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._tables = tables
        self._sealing = sealing
        self._random_bytes = random_bytes

    async def prepare(self) -> None:
        """Create the tables that are missing; waits for table_service."""
        await self._tables.prepare((USERS, SESSIONS, SIGNING_KEYS))

    async def add_user(self, user: User, password_hash: str) -> None:
        """Keep a new user.

        Raises:
            AlreadyExists: USER_EXISTS if the username is taken, in whatever case.
        """
        try:
            await self._write(_insert(USERS, user_values(user, password_hash)))
        except AlreadyExists as fault:
            raise username_taken(user.username) from fault

    async def find_user(self, user_id: str) -> StoredUser | None:
        """Return the user with this id."""
        row = await self._find(USERS, "id = $id", id=user_id)
        return None if row is None else stored_user(row)

    async def find_user_by_name(self, username: str) -> StoredUser | None:
        """Return the user with this name, in whatever case."""
        row = await self._find(USERS, "username_key = $key", key=username_key(username))
        return None if row is None else stored_user(row)

    async def has_admin(self) -> bool:
        """Return whether there is an admin who can log in."""
        condition = "role = $role AND NOT disabled"
        return await self._find(USERS, condition, role=Role.ADMIN.value) is not None

    async def replace_password_hash(self, stored: StoredUser, password_hash: str) -> bool:
        """Replace the hash; returns False if the user has changed meanwhile."""
        return await self._landed(
            Update(
                table=USERS.name,
                row_id=stored.row_id,
                values={"password_hash": password_hash},
                expected_version=stored.version,
            )
        )

    async def add_session(self, session: Session) -> None:
        """Keep a new session."""
        await self._write(_insert(SESSIONS, session_values(session)))

    async def find_session(self, session_id: str) -> StoredSession | None:
        """Return the session with this id."""
        row = await self._find(SESSIONS, "id = $id", id=session_id)
        return None if row is None else stored_session(row)

    async def renew_session(
        self, stored: StoredSession, turn_hash: bytes, refresh_time: datetime
    ) -> bool:
        """Replace the session's refresh token; False if anything has changed it since `stored`."""
        return await self._landed(
            Update(
                table=SESSIONS.name,
                row_id=stored.row_id,
                values={"turn_hash": turn_hash, "refresh_time": refresh_time},
                expected_version=stored.version,
            )
        )

    async def revoke_session(self, stored: StoredSession, revoke_time: datetime) -> None:
        """End the session, whatever else happens to it at the same time; it may be gone."""
        values = {"revoke_time": revoke_time}
        # Nothing but that it is gone may pass for success: the session would live on.
        with suppress(NotFound):
            await self._write(Update(table=SESSIONS.name, row_id=stored.row_id, values=values))

    async def list_revoked_since(self, time: datetime) -> list[Session]:
        """Return the sessions that were ended early after `time`."""
        rows = await self._list(SESSIONS, "revoke_time > $time", time=time)
        return [stored_session(row).session for row in rows]

    async def delete_expired_sessions(self, time: datetime) -> int:
        """Delete some of the sessions that expired before `time`; returns how many."""
        rows = await self._list(SESSIONS, "expire_time < $time", limit=_ENDED_MAX, time=time)
        if rows:
            await self._write(*(Delete(table=SESSIONS.name, row_id=row.row_id) for row in rows))
        return len(rows)

    async def list_keys(self) -> list[StoredKey]:
        """Return every signing key, and the rows of those that do not open."""
        rows = await self._list(SIGNING_KEYS, "")
        return [stored_key(row, self._unseal) for row in rows]

    async def save_keys(self, stored: Sequence[StoredKey], keys: Sequence[SigningKey]) -> bool:
        """Make `keys` what is stored instead of `stored`; False if somebody else was first."""
        changes: list[Mutation] = []
        wanted = {key.kid: key for key in keys}
        for row in stored:
            key = wanted.pop(row.kid, None)
            if key is None:
                changes.append(
                    Delete(table=SIGNING_KEYS.name, row_id=row.row_id, expected_version=row.version)
                )
            elif key != row.key:
                changes.append(
                    Update(
                        table=SIGNING_KEYS.name,
                        row_id=row.row_id,
                        values=self._key_values(key),
                        expected_version=row.version,
                    )
                )
        changes.extend(_insert(SIGNING_KEYS, self._key_values(key)) for key in wanted.values())
        return not changes or await self._landed(*changes)

    def _key_values(self, key: SigningKey) -> dict[str, object]:
        return key_values(key, seal(key, self._sealing, self._random_bytes(NONCE_BYTES)))

    def _unseal(self, kid: str, sealed: bytes) -> Ed25519PrivateKey | None:
        return unseal(kid, sealed, self._sealing)

    async def _find(
        self, spec: TableSpec, condition: str, **parameters: object
    ) -> StoredRow | None:
        return next(iter(await self._list(spec, condition, limit=1, **parameters)), None)

    async def _list(
        self, spec: TableSpec, condition: str, *, limit: int | None = None, **parameters: object
    ) -> list[StoredRow]:
        try:
            return await self._tables.list_rows(
                spec.name,
                filter=condition,
                parameters=parameters,
                columns=[column.name for column in spec.columns],
                limit=limit,
            )
        except Fault as fault:
            raise _for_callers(fault) from fault

    async def _landed(self, *mutations: Mutation) -> bool:
        """Apply mutations that state what they expect; False if the store has something else."""
        try:
            await self._write(*mutations)
        except _LOST:
            return False
        return True

    async def _write(self, *mutations: Mutation) -> list[MutationResult]:
        """Apply the mutations once, even if the answer is lost on the way.

        Asked again under the same request_id, the store gives its first answer. Without this a
        refresh whose answer is lost would spend the token and end the session.
        """
        request_id = str(uuid4())
        for wait_s in _RETRY_WAITS_S:
            try:
                return await self._transact(mutations, request_id)
            except Unavailable:
                await asyncio.sleep(wait_s)
        return await self._transact(mutations, request_id)

    async def _transact(
        self, mutations: Sequence[Mutation], request_id: str
    ) -> list[MutationResult]:
        try:
            return await self._tables.transact(*mutations, request_id=request_id)
        except _LOST:
            raise
        except Fault as fault:
            raise _for_callers(fault) from fault


def _for_callers(fault: Fault) -> Fault:
    """Return what a fault of table_service means to whoever called us.

    That it refuses our token, say, is not to be mistaken for a refusal of the caller's.
    """
    if fault.code in _PASSED_ON:
        return fault
    log.error("store.refused", code=fault.code, reason=fault.reason, error=fault.message)
    return Unavailable(
        "NEIGHBOUR_UNAVAILABLE", "table_service refuses auth_service", neighbour="table_service"
    )


def _insert(spec: TableSpec, values: dict[str, object]) -> Insert:
    return Insert(table=spec.name, columns=tuple(values), rows=[tuple(values.values())])
