"""Receipts: how long they live, and that no request is worked on twice at once."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from google.protobuf import descriptor_pool, duration_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.faults import AlreadyExists, ResourceExhausted
from chassis.identity import Principal, PrincipalKind, Role
from flux.table.v1 import row_service_pb2, rows_pb2
from table_service.store import Store
from table_service.store.key_hashes import KeyHashes, key_hash
from table_service.store.receipts import ReceiptKey
from table_service.store.transaction import Transaction
from table_service.store.write_queue import Change
from table_service.wire import receipt_key
from tests.support.clock import ManualClock
from tests.table_service.serving import Served, new_request_id, reason, refused
from tests.table_service.stores import ITEMS, START, create, insert, opened, receipt, stored

MONTH = timedelta(days=30)
CALLER = Principal(
    subject="usr_1",
    kind=PrincipalKind.PERSON,
    role=Role.EDITOR,
    session_id="s",
    actor="",
    token_id="t",
    expire_time=START,
)


def living(id_: str, ttl: timedelta) -> ReceiptKey:
    return ReceiptKey(subject="usr_1", request_id=id_, digest=b"content", ttl=ttl)


async def test_a_receipt_lives_as_long_as_its_request_asked(tmp_path: Path) -> None:
    clock = ManualClock()
    with opened(tmp_path, clock) as store:
        create(store, ITEMS)
        await store.writer.submit(insert(("long", 1), key=living("r1", MONTH)))
        await store.writer.submit(insert(("usual", 1), key=receipt("r2")))
        await store.writer.submit(insert(("short", 1), key=living("r3", timedelta(minutes=1))))
        clock.advance(timedelta(minutes=2))
        assert await store.writer.prune_receipts() == 1
        clock.advance(timedelta(days=29))
        assert await store.writer.prune_receipts() == 1
        again = insert(("long", 1), key=living("r1", MONTH))
        assert await store.writer.submit(again) == b"[1]"
    with opened(tmp_path, clock) as store:
        assert store.receipts.may_have(living("r1", MONTH))
        assert await store.writer.submit(again) == b"[1]"
        clock.advance(timedelta(days=1))
        assert await store.writer.prune_receipts() == 1
        with pytest.raises(AlreadyExists) as raised:
            await store.writer.submit(again)
        assert raised.value.reason == "DUPLICATE_KEY"


async def test_a_living_receipt_is_never_forgotten(tmp_path: Path) -> None:
    clock = ManualClock()
    with opened(tmp_path, clock) as store:
        create(store, ITEMS)
        for day in range(70):
            await store.writer.submit(insert((f"{day}", 1), key=living(f"r{day}", MONTH)))
            await store.writer.submit(insert((f"u{day}", 1), key=receipt(f"u{day}")))
            for before in range(max(0, day - 29), day + 1):
                assert store.receipts.may_have(living(f"r{before}", MONTH))
            assert store.receipts.may_have(receipt(f"u{day}"))
            clock.advance(timedelta(days=1))
        assert not store.receipts.may_have(living("r0", MONTH))
        assert not store.receipts.may_have(receipt("u0"))


def test_every_write_says_how_long_its_receipt_lives() -> None:
    pool = descriptor_pool.Default()
    for name in ("TableService", "RowService", "QueryService"):
        for method in pool.FindServiceByName(f"flux.table.v1.{name}").methods:
            fields = method.input_type.fields_by_name
            assert ("request_id" in fields) == ("receipt_ttl" in fields), method.full_name


def test_how_long_a_receipt_lives_is_no_part_of_the_content() -> None:
    def key(**fields: object) -> ReceiptKey:
        request = row_service_pb2.DeleteRowRequest(table="t", row_id=1, **fields)  # type: ignore[arg-type]  # of a test
        found = receipt_key(CALLER, request)
        assert found is not None
        return found

    id_ = new_request_id()
    usual = key(request_id=id_)
    asked = key(request_id=id_, receipt_ttl=duration_pb2.Duration(seconds=90))
    assert usual.digest == asked.digest == key(request_id=new_request_id()).digest
    assert (usual.ttl, asked.ttl) == (timedelta(hours=24), timedelta(seconds=90))
    assert usual.digest != key(request_id=id_, expected_version=1).digest


async def test_no_rows_have_a_receipt_too(served: Served) -> None:
    client, id_ = served.client(), new_request_id()

    async def insert_rows(*rows: rows_pb2.TypedRow) -> None:
        typed = rows_pb2.TypedRows(columns=["id"], rows=rows)
        request = row_service_pb2.InsertRowsRequest(
            table="flights", rows=rows_pb2.Rows(typed=typed), request_id=id_
        )
        await client.call(client.rows.InsertRows, request)

    await insert_rows()
    await insert_rows()
    row = rows_pb2.TypedRow()
    row.values.add().int64 = 1000
    assert reason(await refused(insert_rows(row))) == "REQUEST_ID_REUSED"


async def test_a_request_that_bulk_works_on_is_not_written_beside_it(tmp_path: Path) -> None:
    release = threading.Event()

    def wait(_: Transaction) -> bytes:
        assert release.wait(20)
        return b"by bulk"

    with opened(tmp_path) as store:
        create(store, ITEMS)
        write, other = insert(("a", 1), key=receipt("r1")), insert(("b", 1), key=receipt("r2"))
        bulk = asyncio.create_task(store.bulk.run(wait, receipt("r1")))
        await asyncio.sleep(0)
        try:
            outcomes = await asyncio.gather(
                store.writer.submit(write), store.writer.submit(other), return_exceptions=True
            )
        finally:
            release.set()
        assert isinstance(outcomes[0], ResourceExhausted)
        assert outcomes[0].reason == "QUEUE_FULL"
        assert outcomes[0].retry_after is not None
        assert outcomes[1] == b"[1]"
        assert await bulk == b"by bulk"
        assert await store.writer.submit(write) == b"by bulk"
        assert len(stored(store)) == 1


async def test_a_request_that_the_writer_works_on_is_refused_to_bulk(tmp_path: Path) -> None:
    began, release = threading.Event(), threading.Event()

    def wait(_: Transaction) -> bytes:
        began.set()
        assert release.wait(20)
        return b"by the writer"

    async def by_bulk(store: Store) -> bytes:
        return await store.bulk.run(lambda _: b"by bulk", receipt("r1"))

    with opened(tmp_path) as store:
        write = asyncio.create_task(store.writer.submit(Change(apply=wait, receipt=receipt("r1"))))
        try:
            assert await asyncio.to_thread(began.wait, 20)
            with pytest.raises(ResourceExhausted, match="being worked on already"):
                await by_bulk(store)
        finally:
            release.set()
        assert await write == await by_bulk(store) == b"by the writer"


@settings(max_examples=30, deadline=None)
@given(
    first=st.lists(st.integers(0, 2**63 - 1), max_size=50),
    added=st.lists(st.lists(st.integers(0, 2**63 - 1), max_size=200), max_size=8),
    others=st.lists(st.integers(0, 2**63 - 1), max_size=50),
)
def test_hashes_are_a_set(first: list[int], added: list[list[int]], others: list[int]) -> None:
    hashes, model = KeyHashes(pa.chunked_array([pa.array(first, pa.int64())])), set(first)
    for batch in added:
        hashes.update(batch)
        model.update(batch)
    assert all(member in hashes for member in model)
    assert [other in hashes for other in others] == [other in model for other in others]


def test_many_hashes_of_one_part_are_found() -> None:
    """As they would be after a day of writes; one part is merged again and again."""
    hashes, members = KeyHashes(), [(at * 7919) % (1 << 51) for at in range(5_000)]
    for start in range(0, len(members), 64):
        hashes.update(members[start : start + 64])
    assert all(member in hashes for member in members)
    assert (1 << 51) not in hashes
    assert key_hash("a", "b") != key_hash("ab")
