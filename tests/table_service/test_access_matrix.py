"""Every method by every kind of caller: who gets in, who is refused, and who is told of nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from flux.table.v1 import grant_pb2, table_pb2
from tests.table_service.access_matrix import (
    CALLERS,
    DELETED,
    MATRIX,
    OWNERS,
    READ,
    SHUT,
    Method,
    Needs,
    Q,
    R,
    T,
)
from tests.table_service.serving import (
    Client,
    Kind,
    Served,
    column,
    create_dataset,
    reason,
    serving,
)


def methods() -> Iterator[Any]:
    for file_ in (T.DESCRIPTOR, R.DESCRIPTOR, Q.DESCRIPTOR):
        for service in file_.services_by_name.values():
            yield from service.methods


def test_every_method_has_a_row() -> None:
    assert {name.partition(":")[0] for name in MATRIX} == {method.name for method in methods()}


def expected(method: Method, caller: str) -> str:
    """Return the reason with which the caller is turned away; none if let in."""
    subject, role, rights = CALLERS[caller]
    match method.needs:
        case Needs.NOTHING | Needs.ROLE:
            return ""
        case Needs.ADMIN:
            return "" if role == "admin" else "ROLE_REQUIRED"
        case Needs.OWN_DATASET:
            return "" if subject == "usr_1" else "DATASET_NOT_FOUND"
        case needed:
            if not rights:
                return "TABLE_NOT_FOUND"
            return "" if rights.issuperset(needed) else "RIGHT_REQUIRED"


def client_of(served: Served, caller: str) -> Client:
    subject, role, _ = CALLERS[caller]
    return served.client(subject, role) if role else served.service(subject)


async def make_shared(served: Served, name: str) -> None:
    """Create the owner's table, and grant what CALLERS says."""
    owner = served.client()
    await owner.create_table(name, column("id", Kind.KIND_INT64), keys=[["id"]])
    for subject, _, rights in CALLERS.values():
        if rights and subject not in ("usr_1", "usr_admin"):
            numbers = [grant_pb2.Right.Value(f"RIGHT_{right}") for right in rights]
            request = T.GrantAccessRequest(
                table=name, grant=grant_pb2.Grant(user_id=subject, rights=numbers)
            )
            await owner.call(owner.tables.GrantAccess, request)


async def outcome(client: Client, name: str, request: Any) -> str:
    """Return the reason with which a call is turned away; none if it is let in, whatever becomes of it."""
    [method] = [one for one in methods() if one.name == name]
    stub = next(
        getattr(stub, name)
        for stub in (client.tables, client.rows, client.queries)
        if hasattr(stub, name)
    )
    sent = iter(request) if method.client_streaming else request
    try:
        call = stub(sent, metadata=client.metadata)
        if method.server_streaming:
            _ = [part async for part in call]
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return why if (why := reason(error)) in SHUT else ""
    return ""


async def test_each_method_lets_in_whom_it_should(tmp_path: Path) -> None:
    wrong = []
    async with serving(tmp_path) as served:
        await make_shared(served, "flights")
        await make_shared(served, "gone")
        ids = (
            ("table_id", DELETED, served.store.writer.catalog.active["main", "gone"].id),
            ("dataset_id", OWNERS, (await create_dataset(served.client(), "SELECT 1")).dataset.id),
        )
        gone = T.DeleteTableRequest(table="gone")
        await served.client().call(served.client().tables.DeleteTable, gone)
        for name, method in MATRIX.items():
            for at, caller in enumerate(CALLERS):
                if ("main", "flights") not in served.store.writer.catalog.active:
                    await make_shared(served, "flights")
                table = f"made_{at}" if name == "CreateTable" else "flights"
                request = method.request(table)
                for field, stands_for, id_ in ids:
                    if getattr(request, field, "") == stands_for:
                        setattr(request, field, id_)
                told = await outcome(client_of(served, caller), name.partition(":")[0], request)
                if told != expected(method, caller):
                    wrong.append(f"{name} by {caller}: {told!r}, not {expected(method, caller)!r}")
    assert not wrong, "\n".join(wrong)


async def test_rights_of_a_role_are_as_good(tmp_path: Path) -> None:
    wrong = []
    async with serving(tmp_path) as served:
        owner = served.client()
        grantee = grant_pb2.Grant(role="editor", rights=[n for n in grant_pb2.Right.values() if n])
        for name, method in MATRIX.items():
            if isinstance(method.needs, Needs) or name == "UndeleteTable":
                continue
            if ("main", "flights") not in served.store.writer.catalog.active:
                await owner.create_table("flights", column("id", Kind.KIND_INT64), keys=[["id"]])
                share = T.GrantAccessRequest(table="flights", grant=grantee)
                await owner.call(owner.tables.GrantAccess, share)
            for role, told in (("editor", ""), ("viewer", None)):
                client = served.client("usr_2", role)
                found = await outcome(client, name.partition(":")[0], method.request("flights"))
                if found != told and not (role == "viewer" and found in SHUT):
                    wrong.append(f"{name} by {role}: {found!r}")
    assert not wrong, "\n".join(wrong)


async def test_service_namespaces_are_their_services(tmp_path: Path) -> None:
    wrong = []
    async with serving(tmp_path) as served:
        service = served.service("workflow")
        for name, method in MATRIX.items():
            if isinstance(method.needs, Needs) or name == "UndeleteTable":
                continue
            if ("workflow", "events") not in served.store.writer.catalog.active:
                table = table_pb2.Table(
                    name="events",
                    namespace="workflow",
                    columns=[column("id", Kind.KIND_INT64)],
                    unique_keys=[table_pb2.UniqueKey(columns=["id"])],
                )
                request = T.CreateTableRequest(table=table)
                await service.call(service.tables.CreateTable, request)
            grants = name in ("GrantAccess", "RevokeAccess")
            reads = set(method.needs) <= {READ}
            for caller, told in (
                (served.client("usr_2"), "NAMESPACE_CLOSED"),
                (served.service("auth"), "NAMESPACE_CLOSED"),
                (served.client("usr_9", "admin"), "" if reads else "NAMESPACE_CLOSED"),
                (service, "NAMESPACE_CLOSED" if grants else ""),
            ):
                request = method.request("workflow.events")
                found = await outcome(caller, name.partition(":")[0], request)
                if found != told:
                    wrong.append(f"{name}: {found!r}, not {told!r}")
    assert not wrong, "\n".join(wrong)
