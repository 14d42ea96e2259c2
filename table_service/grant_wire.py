"""Grants and decisions as messages."""

from __future__ import annotations

from chassis.identity import Role
from flux.table.v1 import grant_pb2
from flux.table.v1 import table_service_pb2 as messages
from table_service.access import Decision, Grant, Grantee, Right, Rule

_RIGHTS = {right: grant_pb2.Right.Value(f"RIGHT_{right}") for right in Right}
_RIGHTS_READ = {number: right for right, number in _RIGHTS.items()}
_RULES = {rule: messages.CheckAccessResponse.Rule.Value(f"RULE_{rule}") for rule in Rule}


def to_grant(grant: Grant) -> grant_pb2.Grant:
    """Return a grant as a message, its rights in the contract's order."""
    message = grant_pb2.Grant(
        rights=[_RIGHTS[right] for right in Right if right in grant.rights], granter=grant.granter
    )
    if grant.grantee.role is None:
        message.user_id = grant.grantee.user_id
    else:
        message.role = grant.grantee.role
    message.create_time.FromDatetime(grant.create_time)
    return message


def from_grantee(message: grant_pb2.Grant) -> Grantee:
    """Return whom a grant is about."""
    if message.WhichOneof("grantee") == "role":
        return Grantee(role=Role(message.role))
    return Grantee(user_id=message.user_id)


def from_right(number: grant_pb2.Right.ValueType) -> Right:
    """Return a right."""
    return _RIGHTS_READ[number]


def from_rights(message: grant_pb2.Grant) -> frozenset[Right]:
    """Return the rights of a grant."""
    return frozenset(map(from_right, message.rights))


def to_check(decision: Decision) -> messages.CheckAccessResponse:
    """Return a decision as a message."""
    return messages.CheckAccessResponse(
        allowed=decision.allowed, rule=_RULES[decision.rule], role=decision.role or ""
    )
