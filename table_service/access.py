"""Who may do what with a table: the owner, administrators, and those with a grant.

Pure. A role's own limit on methods is the contract's business; this is about one table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from chassis.faults import ResourceExhausted
from chassis.identity import Principal, PrincipalKind, Role


class Right(StrEnum):
    """What may be done; the names are those of flux.table.v1.Right without the prefix."""

    READ = "READ"
    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    ALTER = "ALTER"
    GRANT = "GRANT"


class Rule(StrEnum):
    """What gave a right, or NONE; the names are those of the contract without the prefix."""

    ADMINISTRATOR = "ADMINISTRATOR"
    OWNER = "OWNER"
    USER_GRANT = "USER_GRANT"
    ROLE_GRANT = "ROLE_GRANT"
    NAMESPACE = "NAMESPACE"
    NONE = "NONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grantee:
    """One user or service by id, or everybody with a role or a higher one; exactly one is set."""

    user_id: str = ""
    role: Role | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The rights of one grantee; there is one grant a grantee and table."""

    grantee: Grantee
    rights: frozenset[Right]
    granter: str
    create_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a right is there, and why. `role` is whose, for ROLE_GRANT."""

    rule: Rule
    role: Role | None = None

    @property
    def allowed(self) -> bool:
        """Return whether the right is there."""
        return self.rule is not Rule.NONE


# Looked through with every call on the table.
GRANTS_MAX = 1_000
_ROLES = tuple(Role)


def decide(owner: str, grants: Iterable[Grant], principal: Principal, right: Right) -> Decision:
    """Return the first rule that gives the right on a table of people's."""
    if principal.kind is PrincipalKind.PERSON and principal.holds(Role.ADMIN):
        return Decision(rule=Rule.ADMINISTRATOR)
    if principal.subject == owner:
        return Decision(rule=Rule.OWNER)
    by_role: Decision | None = None
    for grant in grants:
        if right not in grant.rights:
            continue
        if grant.grantee.user_id == principal.subject:
            return Decision(rule=Rule.USER_GRANT)
        role = grant.grantee.role
        if by_role is None and role is not None and principal.holds(role):
            by_role = Decision(rule=Rule.ROLE_GRANT, role=role)
    return by_role or Decision(rule=Rule.NONE)


def position(grantee: Grantee) -> str:
    """Return what orders grants: roles first, the lowest before, then users by id."""
    if grantee.role is None:
        return f"user {grantee.user_id}"
    return f"role {_ROLES.index(grantee.role)}"


def grant_of(grants: Iterable[Grant], grantee: Grantee) -> Grant | None:
    """Return what a grantee has; None if nothing."""
    return next((grant for grant in grants if grant.grantee == grantee), None)


def granted(grants: Collection[Grant], new: Grant) -> Grant:
    """Return what the grantee has once the rights of `new` are added; the same as before if it had them.

    Raises:
        ResourceExhausted: TOO_MANY_GRANTS.
    """
    before = grant_of(grants, new.grantee)
    if before is not None:
        both = before.rights | new.rights
        return before if both == before.rights else replace(new, rights=both)
    if len(grants) >= GRANTS_MAX:
        raise ResourceExhausted(
            "TOO_MANY_GRANTS", f"a table has at most {GRANTS_MAX} grants", limit=GRANTS_MAX
        )
    return new


def revoked(grants: Collection[Grant], grantee: Grantee, rights: frozenset[Right]) -> Grant | None:
    """Return what the grantee has once the rights are taken away; None if nothing."""
    before = grant_of(grants, grantee)
    left = before.rights - rights if before else frozenset()
    return replace(before, rights=left) if before and left else None


def with_grant(
    grants: Collection[Grant], grantee: Grantee, grant: Grant | None
) -> tuple[Grant, ...]:
    """Return the grants in order, `grant` in place of what the grantee had."""
    others = [other for other in grants if other.grantee != grantee]
    return in_order([*others, *([grant] if grant else ())])


def in_order(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    """Return the grants as they are listed."""
    return tuple(sorted(grants, key=lambda grant: position(grant.grantee)))
