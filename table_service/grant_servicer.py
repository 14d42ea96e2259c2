"""The methods of flux.table.v1.TableService that are about grants: parse, call, wrap."""

from __future__ import annotations

from dataclasses import replace

from chassis.faults import PermissionDenied, field_invalid
from chassis.identity import Principal, PrincipalKind, Role
from chassis.ids import IdMaker
from chassis.paging import decode_token, encode_token, page_size
from flux.table.v1 import table_service_pb2 as messages
from table_service import tables
from table_service.access import (
    Grant,
    Grantee,
    Right,
    grant_of,
    granted,
    position,
    revoked,
)
from table_service.grant_wire import (
    from_grantee,
    from_right,
    from_rights,
    to_check,
    to_grant,
)
from table_service.store import Store
from table_service.store.grants import store_grant
from table_service.store.table_events import EventKind, record_event
from table_service.store.transaction import Transaction
from table_service.store.write_queue import Change
from table_service.tables import MAIN, Table


class Grants:
    """Who may do what with a table: giving, taking, listing and asking."""

    def __init__(self, store: Store, ids: IdMaker) -> None:
        self._store = store
        self._ids = ids

    async def grant_access(
        self, request: messages.GrantAccessRequest, principal: Principal
    ) -> messages.GrantAccessResponse:
        """Add rights to a grantee; rights that are there already change nothing."""
        grantee, rights = from_grantee(request.grant), from_rights(request.grant)
        event_id = self._ids.new_id("evt")

        def apply(transaction: Transaction) -> bytes:
            table = _governed(transaction, request.table, principal, rights)
            new = Grant(
                grantee=grantee,
                rights=rights,
                granter=principal.subject,
                create_time=transaction.now,
            )
            grant = granted(table.grants, new)
            if grant not in table.grants:
                table = store_grant(transaction, table, grantee, grant)
                record_event(
                    transaction,
                    id_=event_id,
                    kind=EventKind.GRANTED,
                    table=table,
                    principal=principal,
                    changes=[f"granted {_listed(rights)} to {_shown(grantee)}"],
                )
            return messages.GrantAccessResponse(grant=to_grant(grant)).SerializeToString()

        answer = await self._store.writer.submit(Change(apply=apply, alone=True))
        return messages.GrantAccessResponse.FromString(answer)

    async def revoke_access(
        self, request: messages.RevokeAccessRequest, principal: Principal
    ) -> messages.RevokeAccessResponse:
        """Take rights from a grantee; those that they do not have are no error."""
        grantee, rights = from_grantee(request.grant), from_rights(request.grant)
        event_id = self._ids.new_id("evt")

        def apply(transaction: Transaction) -> bytes:
            table = _governed(transaction, request.table, principal, rights)
            left = revoked(table.grants, grantee, rights)
            if left != grant_of(table.grants, grantee):
                table = store_grant(transaction, table, grantee, left)
                record_event(
                    transaction,
                    id_=event_id,
                    kind=EventKind.REVOKED,
                    table=table,
                    principal=principal,
                    changes=[f"revoked {_listed(rights)} from {_shown(grantee)}"],
                )
            response = messages.RevokeAccessResponse(grant=to_grant(left) if left else None)
            return response.SerializeToString()

        answer = await self._store.writer.submit(Change(apply=apply, alone=True))
        return messages.RevokeAccessResponse.FromString(answer)

    def list_grants(
        self, request: messages.ListGrantsRequest, principal: Principal
    ) -> messages.ListGrantsResponse:
        """Return a page of a table's grants."""
        table = tables.resolve(self._store.writer.catalog, request.table, principal, Right.GRANT)
        binding = f"ListGrants {table.id}".encode()
        after, size = decode_token(request.page_token, binding), page_size(request.page_size)
        later = [grant for grant in table.grants if position(grant.grantee) > after]
        more = len(later) > size
        return messages.ListGrantsResponse(
            grants=[to_grant(grant) for grant in later[:size]],
            next_page_token=encode_token(position(later[size - 1].grantee), binding)
            if more
            else "",
        )

    def check_access(
        self, request: messages.CheckAccessRequest, principal: Principal
    ) -> messages.CheckAccessResponse:
        """Say which rule gives the caller, or somebody else, a right."""
        if request.role and not request.user_id:
            raise field_invalid("role", "a role goes with the user_id of who has it")
        catalog, asked = self._store.writer.catalog, principal
        if request.user_id in ("", principal.subject) and not request.role:
            table = tables.resolve(catalog, request.table, principal)
        else:
            table = tables.resolve(catalog, request.table, principal, Right.GRANT)
            asked = _somebody(request.user_id, request.role, principal)
        return to_check(tables.decide_on(table, asked, from_right(request.right)))


def _governed(
    transaction: Transaction, written: str, principal: Principal, rights: frozenset[Right]
) -> Table:
    """Return the table whose grants the caller may change by these rights.

    Raises:
        NotFound: TABLE_NOT_FOUND.
        PermissionDenied: RIGHT_REQUIRED, or NAMESPACE_CLOSED for a table that cannot be shared.
    """
    wanted = (right for right in Right if right in rights)
    table = tables.resolve(transaction.catalog, written, principal, Right.GRANT, *wanted)
    if table.namespace != MAIN:
        raise PermissionDenied(
            "NAMESPACE_CLOSED",
            f"namespace {table.namespace!r} is its service's alone: its tables have no grants",
            namespace=table.namespace,
        )
    return table


def _somebody(user_id: str, role: str, principal: Principal) -> Principal:
    """Return whom a question is about, with nothing of whoever asks but the time of the token."""
    is_service = not role and user_id != MAIN and user_id in tables.NAMESPACES
    return replace(
        principal,
        subject=user_id,
        kind=PrincipalKind.SERVICE if is_service else PrincipalKind.PERSON,
        role=Role(role) if role else None,
        session_id="",
        actor="",
        token_id="",
    )


def _shown(grantee: Grantee) -> str:
    return f"role {grantee.role}" if grantee.role else f"user {grantee.user_id}"


def _listed(rights: frozenset[Right]) -> str:
    return ", ".join(right.lower() for right in Right if right in rights)
