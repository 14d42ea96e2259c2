"""Who calls, and whether the contract lets them."""

from __future__ import annotations

from collections.abc import Callable

from chassis.access import STANDARD_PREFIXES
from chassis.calls import Call, Proceed
from chassis.faults import PermissionDenied, Unauthenticated, Unimplemented
from chassis.identity import Principal, PrincipalKind, Role, set_current_principal
from chassis.tokens import TokenVerifier
from flux.access.v1 import access_pb2

_BEARER = "bearer "
_ROLES = {
    access_pb2.ACCESS_VIEWER: Role.VIEWER,
    access_pb2.ACCESS_EDITOR: Role.EDITOR,
    access_pb2.ACCESS_ADMIN: Role.ADMIN,
}

AccessOf = Callable[[str], "access_pb2.Access.ValueType"]


class Identity:
    """Verifies the caller's token and holds the call against its method's access option.

    `access_of` maps a method's path to its option; ACCESS_UNSPECIFIED, which is also the answer for a
    method without one, admits nobody.
    """

    def __init__(self, verifier: TokenVerifier, access_of: AccessOf) -> None:
        self._verifier = verifier
        self._access_of = access_of

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Let the call through if its caller may make it.

        Raises:
            Unimplemented: METHOD_UNKNOWN, before anybody is asked who they are.
            Unauthenticated: If the method needs a token and there is none, or none that is valid.
            PermissionDenied: If the caller is known and the option does not admit them.
        """
        if not call.served:
            raise Unimplemented("METHOD_UNKNOWN", f"no method {call.method}", method=call.method)
        if not call.method.startswith(STANDARD_PREFIXES):
            access = self._access_of(call.method)
            if access != access_pb2.ACCESS_PUBLIC:
                principal = await self._verifier.verify(bearer_token(call.metadata))
                call.principal = principal
                admit(principal, access, call.method)
                set_current_principal(principal)
        await proceed()


def bearer_token(metadata: dict[str, str]) -> str:
    """Return the token in the authorization metadata.

    Raises:
        Unauthenticated: TOKEN_MISSING if there is none.
    """
    header = metadata.get("authorization", "")
    if header[: len(_BEARER)].lower() != _BEARER or len(header) == len(_BEARER):
        raise Unauthenticated("TOKEN_MISSING", "this method needs a bearer token")
    return header[len(_BEARER) :]


def admit(principal: Principal, access: access_pb2.Access.ValueType, method: str) -> None:
    """Return if `access` admits the caller.

    Raises:
        PermissionDenied: ROLE_REQUIRED, naming what it takes.
    """
    if access == access_pb2.ACCESS_AUTHENTICATED:
        return
    role = _ROLES.get(access)
    is_service = principal.kind is PrincipalKind.SERVICE
    if access == access_pb2.ACCESS_SERVICE:
        admitted = is_service
    elif role is Role.ADMIN:
        admitted = principal.holds(role)
    else:
        admitted = role is not None and (is_service or principal.holds(role))
    if not admitted:
        needed = "a service's token" if role is None else f"role {role}"
        name = method.rpartition("/")[2]
        raise PermissionDenied(
            "ROLE_REQUIRED", f"{name} needs {needed}", method=name, role=role or "service"
        )
