"""Who is calling."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a person may do; each includes the ones before it."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"


_RANKS = {Role.VIEWER: 1, Role.EDITOR: 2, Role.ADMIN: 3}


class PrincipalKind(StrEnum):
    """People have roles; services have names."""

    PERSON = "person"
    SERVICE = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller whose token was verified.

    `subject` is a user's id or a service's name. `role` is the highest the person holds; a service has
    none. `actor` names the service that acts for the person, or is empty.
    """

    subject: str
    kind: PrincipalKind
    role: Role | None
    session_id: str
    actor: str
    token_id: str
    expire_time: datetime

    def is_service(self, name: str) -> bool:
        """Return whether this is the service called `name`, acting for itself."""
        return self.kind is PrincipalKind.SERVICE and self.subject == name

    def holds(self, role: Role) -> bool:
        """Return whether this is a person who may do what `role` may."""
        return self.role is not None and _RANKS[self.role] >= _RANKS[role]


_current: ContextVar[Principal] = ContextVar("flux_principal")


def current_principal() -> Principal:
    """Return who makes the call that is being served.

    Raises:
        LookupError: Outside a call, or in a call to a public method that came without a token.
    """
    return _current.get()


def set_current_principal(principal: Principal) -> None:
    """Make `principal` the caller of the call served by this task; the identity interceptor's alone."""
    _current.set(principal)
