"""Keys, service tokens, revocations and own tables, had from the real services."""

from __future__ import annotations

import asyncio
import math
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from chassis.client import Peer, ServiceTokens, connect
from chassis.clock import SystemClock
from chassis.faults import Aborted, AlreadyExists, FailedPrecondition, Fault, Unavailable
from chassis.keys import PublishedKeys, follow_revocations
from chassis.revocations import Revocations
from chassis.tables import (
    ColumnKind,
    ColumnSpec,
    Delete,
    Insert,
    RowAbsent,
    RowVersion,
    Tables,
    TableSpec,
    Update,
    Upsert,
)
from chassis.tokens import TokenVerifier
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from tests.support.harness import MESSAGE_BYTES_MAX, Stack, open_stack
from tests.support.ports import free_ports
from tests.support.waiting import eventually

NOTES = TableSpec(
    name="notes",
    description="Notes of a test.",
    columns=(
        ColumnSpec(name="title", kind=ColumnKind.KIND_STRING),
        ColumnSpec(name="weight", kind=ColumnKind.KIND_DOUBLE, nullable=True),
    ),
    unique_keys=(("title",),),
)
COLUMNS = ("title", "weight")


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(tmp_path) as stack:
        yield stack


@asynccontextmanager
async def workflow_tokens(stack: Stack) -> AsyncIterator[ServiceTokens]:
    channel = connect(stack.auth.address, message_bytes_max=MESSAGE_BYTES_MAX)
    yield ServiceTokens(
        channel=channel,
        client_id="workflow",
        client_secret=stack.secrets.workflow.read_text(encoding="utf-8").strip(),
        clock=SystemClock(),
    )
    await channel.close()


@asynccontextmanager
async def own_tables(stack: Stack) -> AsyncIterator[Tables]:
    async with workflow_tokens(stack) as tokens:
        channel = connect(stack.table.address, message_bytes_max=MESSAGE_BYTES_MAX)
        tables = Tables(Peer(name="table_service", channel=channel, tokens=tokens), "workflow")
        await tables.prepare([NOTES])
        yield tables
        await channel.close()


async def test_published_keys_verify_a_real_token(stack: Stack) -> None:
    clock = SystemClock()
    channel = connect(stack.auth.address, message_bytes_max=MESSAGE_BYTES_MAX)
    verifier = TokenVerifier(
        keys=PublishedKeys(channel=channel, clock=clock),
        issuer="flux",
        clock=clock,
        revocations=Revocations(clock),
    )
    principal = await verifier.verify(await stack.login())
    await channel.close()
    assert principal.subject.startswith("usr_")


async def test_no_keys_and_nobody_to_ask_is_unavailable() -> None:
    channel = connect(f"127.0.0.1:{free_ports(1)[0]}", message_bytes_max=MESSAGE_BYTES_MAX)
    keys = PublishedKeys(channel=channel, clock=SystemClock())
    with pytest.raises(Unavailable) as caught:
        await keys.refresh()
    await channel.close()
    assert caught.value.reason == "KEYS_UNAVAILABLE"


async def test_service_token_is_had_once_and_kept(stack: Stack) -> None:
    async with workflow_tokens(stack) as tokens:
        first, second = await asyncio.gather(tokens.token(), tokens.token())
    assert first == second


async def test_wrong_secret_gives_no_token(stack: Stack) -> None:
    channel = connect(stack.auth.address, message_bytes_max=MESSAGE_BYTES_MAX)
    tokens = ServiceTokens(
        channel=channel, client_id="workflow", client_secret="x" * 32, clock=SystemClock()
    )
    with pytest.raises(Fault) as caught:
        await tokens.token()
    await channel.close()
    assert caught.value.reason == "CREDENTIALS_INVALID"


async def test_logout_reaches_whoever_follows_within_a_second(stack: Stack) -> None:
    clock = SystemClock()
    revocations = Revocations(clock)
    channel = connect(stack.auth.address, message_bytes_max=MESSAGE_BYTES_MAX)
    token = await stack.login()
    peer = stack.peer(stack.auth, token)
    async with workflow_tokens(stack) as tokens:
        following = asyncio.create_task(
            follow_revocations(channel=channel, tokens=tokens, revocations=revocations)
        )
        await peer.call(
            auth_service_pb2_grpc.AuthServiceStub(peer.channel).Logout,
            auth_service_pb2.LogoutRequest(),
        )

        async def heard() -> bool:
            return bool(revocations.snapshot())

        await eventually(heard, within_s=1)
        following.cancel()
    await channel.close()


async def test_own_table_takes_and_gives_rows(stack: Stack) -> None:
    async with own_tables(stack) as tables:
        rows = [("a", 1.5), ("b", None), ("c", math.inf)]
        [inserted] = await tables.transact(Insert(table="notes", columns=COLUMNS, rows=rows))
        found = await tables.list_rows("notes")
        assert [tuple(row.values[name] for name in COLUMNS) for row in found] == rows
        assert tuple(row.row_id for row in found) == inserted.row_ids
        [heavy] = await tables.list_rows(
            "notes", filter="weight > $least", parameters={"least": 10.0}
        )
        assert heavy.values["title"] == "c"
        assert len(await tables.list_rows("notes", limit=2)) == 2


async def test_preparing_again_changes_nothing(stack: Stack) -> None:
    async with own_tables(stack) as tables:
        await tables.transact(Insert(table="notes", columns=COLUMNS, rows=[("a", 1.0)]))
        await tables.prepare([NOTES])
        assert len(await tables.list_rows("notes")) == 1


async def test_mutations_happen_in_order_and_together(stack: Stack) -> None:
    async with own_tables(stack) as tables:
        [inserted] = await tables.transact(
            Insert(table="notes", columns=COLUMNS, rows=[("a", 1.0), ("b", 2.0)])
        )
        one, two = inserted.row_ids
        results = await tables.transact(
            Update(table="notes", row_id=one, values={"weight": 9.0}, expected_version=1),
            Delete(table="notes", row_id=two),
            Upsert(
                table="notes",
                key_columns=("title",),
                columns=COLUMNS,
                rows=[("a", 10.0), ("z", 26.0)],
            ),
            preconditions=[
                RowVersion(table="notes", row_id=two, version=1),
                RowAbsent(table="notes", values={"title": "z"}),
            ],
        )
        assert results[0].version == 2
        assert results[1].deleted_count == 1
        assert (results[2].inserted_count, results[2].updated_count) == (1, 1)
        found = {
            row.values["title"]: row.values["weight"] for row in await tables.list_rows("notes")
        }
        assert found == {"a": 10.0, "z": 26.0}


async def test_broken_precondition_changes_nothing(stack: Stack) -> None:
    async with own_tables(stack) as tables:
        await tables.transact(Insert(table="notes", columns=COLUMNS, rows=[("a", 1.0)]))
        with pytest.raises(FailedPrecondition):
            await tables.transact(
                Insert(table="notes", columns=COLUMNS, rows=[("b", 2.0)]),
                preconditions=[RowAbsent(table="notes", values={"title": "a"})],
            )
        with pytest.raises(AlreadyExists):
            await tables.transact(
                Insert(table="notes", columns=COLUMNS, rows=[("c", 1.0), ("a", 2.0)])
            )
        [row] = await tables.list_rows("notes")
        with pytest.raises(Aborted):
            await tables.transact(
                Update(table="notes", row_id=row.row_id, values={"weight": 2.0}, expected_version=7)
            )
        assert (row.values["title"], len(await tables.list_rows("notes"))) == ("a", 1)


async def test_repeated_request_gets_the_first_answer(stack: Stack) -> None:
    async with own_tables(stack) as tables:
        insert = Insert(table="notes", columns=COLUMNS, rows=[("a", 1.0)])
        request_id = str(uuid4())
        first = await tables.transact(insert, request_id=request_id)
        assert await tables.transact(insert, request_id=request_id) == first
        with pytest.raises(AlreadyExists) as caught:
            await tables.transact(
                Insert(table="notes", columns=COLUMNS, rows=[("b", 1.0)]), request_id=request_id
            )
        assert caught.value.reason == "REQUEST_ID_REUSED"
        assert len(await tables.list_rows("notes")) == 1


async def test_preparing_waits_for_table_service() -> None:
    channel = connect(f"127.0.0.1:{free_ports(1)[0]}", message_bytes_max=MESSAGE_BYTES_MAX)
    tables = Tables(Peer(name="table_service", channel=channel, tokens=None), "workflow")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(timedelta(seconds=0.5).total_seconds()):
            await tables.prepare([NOTES])
    await channel.close()


async def test_metrics_count_calls_by_method_and_code(tmp_path: Path) -> None:
    [port] = free_ports(1)
    async with open_stack(
        tmp_path, table_settings={"metrics_listen": f"127.0.0.1:{port}"}
    ) as stack:
        await stack.login()

        def scrape() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                return str(answer.read(), "utf-8")

        text = await asyncio.to_thread(scrape)
    assert 'flux_rpc_total{code="OK",method="/flux.table.v1.RowService/Transact"}' in text
