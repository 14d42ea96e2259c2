"""Who may use this door at all; what each method admits is its contract's to say."""

from __future__ import annotations

from chassis.calls import Call, Proceed
from chassis.faults import PermissionDenied
from chassis.identity import PrincipalKind
from flux.access.v1 import access_pb2
from gateway.routes import Routes


class Access:
    """Reads a method's access option from what its backend says of itself."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    def of(self, path: str) -> access_pb2.Access.ValueType:
        """Return who may call the method.

        Raises:
            Unavailable: If its backend has not answered yet.
            Unimplemented: If nobody serves it here; this comes before any question about identity.
        """
        return self._routes.find(path).access


class PeopleOnly:
    """Refuses the tokens of services.

    Services call each other directly. One of their tokens that turns up at the door of the installation
    was stolen, and it can do more than any person's.
    """

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Let the call through unless a service makes it.

        Raises:
            PermissionDenied: ROLE_REQUIRED.
        """
        principal = call.principal
        if principal is not None and principal.kind is PrincipalKind.SERVICE:
            raise PermissionDenied(
                "ROLE_REQUIRED", "the gateway serves people; services call each other directly"
            )
        await proceed()
