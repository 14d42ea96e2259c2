"""The store against a model of it, and what survives a stop of any kind."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chassis.clock import SystemClock
from chassis.faults import Aborted, AlreadyExists, FailedPrecondition, Fault, NotFound
from table_service.store import Store, mutations, open_store, upserts
from table_service.store import rows as row_store
from table_service.store.catalog import (
    Dataset,
    LayoutUnknown,
    drop_dataset,
    prepare,
    record_dataset,
)
from table_service.store.database import open_database
from table_service.store.receipts import ReceiptKey
from table_service.store.transaction import Transaction, dataset_relation
from table_service.store.write_queue import Change
from table_service.types import Column, Kind, Type
from tests.support.clock import ManualClock
from tests.table_service.stores import (
    EVENTS,
    ITEMS,
    LIMITS,
    create,
    insert,
    items,
    opened,
    receipt,
    stored,
)


def sizes(*values: int) -> pa.Table:
    return pa.table({"size": pa.array(values, pa.int64())})


def change(work: Callable[[Transaction], object], key: ReceiptKey | None = None) -> Change:
    return Change(apply=lambda transaction: repr(work(transaction)).encode(), receipt=key)


class Rows(RuleBasedStateMachine):
    """Writes of every kind to a table with a unique key, against a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = self.open()
        create(self.store, ITEMS)
        self.model: dict[int, tuple[str, int | None, int]] = {}
        self.given: set[int] = set()

    def open(self) -> Store:
        return open_store(Path(self.folder.name), limits=LIMITS, clock=SystemClock())

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    keys = st.sampled_from("abcdef")
    batches = st.lists(st.tuples(keys, st.none() | st.integers(0, 99)), min_size=1, max_size=4)

    def held(self) -> dict[str, int]:
        return {key: row_id for row_id, (key, _, _) in self.model.items()}

    @rule(rows=batches)
    def insert(self, rows: list[tuple[str, int | None]]) -> None:
        keys = [key for key, _ in rows]
        if len(set(keys)) < len(keys) or self.held().keys() & set(keys):
            with pytest.raises(AlreadyExists) as raised:
                self.store.writer.run(insert(*rows))
            assert raised.value.reason == "DUPLICATE_KEY"
            assert any(key in raised.value.metadata["key"] for key in keys)
            return
        row_ids = [int(text) for text in self.store.writer.run(insert(*rows))[1:-1].split(b",")]
        assert not self.given & set(row_ids)
        self.given |= set(row_ids)
        for row_id, (key, size) in zip(row_ids, rows, strict=True):
            self.model[row_id] = (key, size, 1)

    @rule(rows=batches)
    def upsert(self, rows: list[tuple[str, int | None]]) -> None:
        work = change(lambda t: upserts.upsert(t, ITEMS, ["key"], items(*rows)))
        keys = [key for key, _ in rows]
        if len(set(keys)) < len(keys):
            with pytest.raises(AlreadyExists):
                self.store.writer.run(work)
            return
        held = self.held()
        self.store.writer.run(work)
        by_key = {key: row_id for row_id, (key, _, _) in stored(self.store).items()}
        for key, size in rows:
            if key in held:
                self.model[held[key]] = (key, size, self.model[held[key]][2] + 1)
            else:
                assert by_key[key] not in self.given
                self.given.add(by_key[key])
                self.model[by_key[key]] = (key, size, 1)

    @rule(row_id=st.integers(1, 12), version=st.none() | st.integers(1, 3), size=st.integers(0, 99))
    def update(self, row_id: int, version: int | None, size: int) -> None:
        work = change(lambda t: row_store.update(t, ITEMS, [row_id], [version], sizes(size)))
        if row_id not in self.model:
            with pytest.raises(NotFound):
                self.store.writer.run(work)
            return
        key, _, now = self.model[row_id]
        if version not in (None, now):
            with pytest.raises(Aborted):
                self.store.writer.run(work)
            return
        self.store.writer.run(work)
        self.model[row_id] = (key, size, now + 1)

    @precondition(lambda self: self.model)
    @rule(drawn=st.data(), size=st.integers(0, 99))
    def replace_in_one_commit(self, drawn: st.DataObject, size: int) -> None:
        row_id = drawn.draw(st.sampled_from(sorted(self.model)))
        key, _, version = self.model[row_id]
        steps: list[mutations.Mutation] = [
            mutations.UpdateRow(
                table=ITEMS, row_id=row_id, values=sizes(1), expected_version=None, path="x"
            ),
            mutations.DeleteRow(table=ITEMS, row_id=row_id, expected_version=version + 1, path="x"),
            mutations.InsertRows(table=ITEMS, rows=items((key, size)), path="rows"),
        ]
        check = mutations.RowVersion(table=ITEMS, row_id=row_id, version=version)
        new: list[int] = []

        def work(transaction: Transaction) -> object:
            new[:] = mutations.apply(transaction, [check], steps)[2].row_ids
            return None

        self.store.writer.run(change(work))
        del self.model[row_id]
        assert new[0] not in self.given
        self.given.add(new[0])
        self.model[new[0]] = (key, size, 1)

    @precondition(lambda self: self.model)
    @rule(drawn=st.data())
    def fail_at_the_end(self, drawn: st.DataObject) -> None:
        row_id = drawn.draw(st.sampled_from(sorted(self.model)))
        steps: list[mutations.Mutation] = [
            mutations.DeleteRow(table=ITEMS, row_id=row_id, expected_version=None, path="x"),
            mutations.DeleteRow(table=ITEMS, row_id=10**6, expected_version=None, path="x"),
        ]
        with pytest.raises(NotFound):
            self.store.writer.run(change(lambda t: mutations.apply(t, [], steps)))

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.open()

    @invariant()
    def same(self) -> None:
        assert stored(self.store) == self.model


Rows.TestCase.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
TestRows = Rows.TestCase


async def test_one_culprit_in_a_group_fails_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        create(store, ITEMS)
        writes = [store.writer.submit(insert((f"k{at % 49}", at))) for at in range(50)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert [type(error) for error in failed] == [AlreadyExists]
        assert "k0" in str(failed[0])
        assert len(stored(store)) == 49


async def test_a_bug_in_one_write_is_its_own(tmp_path: Path) -> None:
    def bug(_: Transaction) -> bytes:
        raise ZeroDivisionError

    with opened(tmp_path) as store:
        create(store, ITEMS)
        writes = [store.writer.submit(insert(("a", 1))), store.writer.submit(Change(apply=bug))]
        first, second = await asyncio.gather(*writes, return_exceptions=True)
        assert isinstance(first, bytes)
        assert isinstance(second, ZeroDivisionError)


async def test_a_retry_gets_the_first_answer_and_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        create(store, ITEMS)
        write = insert(("a", 1), key=receipt("r1"))
        first, again = await asyncio.gather(store.writer.submit(write), store.writer.submit(write))
        assert first == again == await store.writer.submit(write)
        other = insert(("b", 1), key=receipt("r1", b"other"))
        with pytest.raises(AlreadyExists) as raised:
            await store.writer.submit(other)
        assert raised.value.reason == "REQUEST_ID_REUSED"
        await store.writer.submit(insert(("c", 1), key=receipt("r1", subject="usr_2")))
    with opened(tmp_path) as store:
        assert await store.writer.submit(write) == first
        assert len(stored(store)) == 2


async def test_a_failed_write_leaves_no_receipt(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        create(store, ITEMS)
        write = change(lambda t: row_store.delete(t, ITEMS, [1], [None]), receipt("r1"))
        with pytest.raises(NotFound):
            await store.writer.submit(write)
        await store.writer.submit(insert(("a", 1)))
        await store.writer.submit(write)
        assert stored(store) == {}


async def test_receipts_are_forgotten_after_a_day(tmp_path: Path) -> None:
    clock = ManualClock()
    with opened(tmp_path, clock) as store:
        create(store, EVENTS, ITEMS)
        await store.writer.submit(insert(("a", 1), key=receipt("r1")))
        clock.advance(timedelta(hours=23))
        assert await store.writer.prune_receipts() == 0
        assert await store.writer.submit(insert(("a", 1), key=receipt("r1"))) == b"[1]"
        clock.advance(timedelta(hours=2))
        assert await store.writer.prune_receipts() == 1
        with pytest.raises(AlreadyExists, match="row 0: a row of the table has key: a"):
            await store.writer.submit(insert(("a", 1), key=receipt("r1")))


async def test_receipts_are_found_as_long_as_they_live_and_take_no_room_after(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    with opened(tmp_path, clock) as store:
        create(store, EVENTS, ITEMS)
        for hour in range(100):
            await store.writer.submit(insert((f"{hour}", 1), key=receipt(f"r{hour}")))
            for before in range(max(0, hour - 23), hour + 1):
                assert store.receipts.may_have(receipt(f"r{before}"))
            clock.advance(timedelta(hours=1))
        assert not any(store.receipts.may_have(receipt(f"r{hour}")) for hour in range(40))


async def test_preconditions_are_checked_before_anything_changes(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        create(store, ITEMS)
        await store.writer.submit(insert(("a", 1)))
        absent = mutations.RowAbsent(table=ITEMS, key=pa.table({"key": ["a"]}))
        stale = mutations.RowVersion(table=ITEMS, row_id=1, version=2)
        step = mutations.InsertRows(table=ITEMS, rows=items(("b", 1)), path="rows")
        with pytest.raises(FailedPrecondition):
            await store.writer.submit(change(lambda t: mutations.apply(t, [absent], [step])))
        with pytest.raises(FailedPrecondition):
            await store.writer.submit(change(lambda t: mutations.apply(t, [stale], [step])))
        assert len(stored(store)) == 1


async def test_a_dataset_goes_into_a_table(tmp_path: Path) -> None:
    number, text = Type(kind=Kind.DOUBLE), Type(kind=Kind.STRING)
    columns = (Column(name="key", type=text), Column(name="size", type=number))
    dataset = Dataset(
        id="ds_1",
        owner="usr_1",
        columns=columns,
        row_count=3,
        byte_count=0,
        create_time=datetime(2026, 1, 1, tzinfo=UTC),
        expire_time=datetime(2027, 1, 1, tzinfo=UTC),
    )

    with opened(tmp_path) as store:
        create(store, ITEMS, EVENTS)

        def make(transaction: Transaction) -> bytes:
            transaction.rows(
                f"CREATE TABLE {dataset_relation('ds_1')} AS SELECT 'k' || i AS key,"
                " i::DOUBLE AS size FROM range(3) r(i)"
            )
            record_dataset(transaction, dataset, store.datasets)
            return b"made"

        assert await store.bulk.run(make, receipt("r1")) == b"made"
        assert await store.bulk.run(make, receipt("r1")) == b"made"
        await store.writer.submit(insert(("k1", 50)))
        upsert = mutations.UpsertRows(
            table=ITEMS, key=("key",), rows=store.datasets["ds_1"], path="x"
        )
        answer = await store.writer.submit(change(lambda t: mutations.apply(t, [], [upsert])))
        assert b"inserted_count=2, updated_count=1" in answer
        assert sorted(stored(store).values()) == [("k0", 0, 1), ("k1", 1, 2), ("k2", 2, 1)]
    with opened(tmp_path) as store:
        assert store.datasets == {"ds_1": dataset}
        await store.writer.submit(change(lambda t: drop_dataset(t, "ds_1", store.datasets)))
        assert store.datasets == {}


async def test_a_dataset_that_does_not_fit_names_its_rows(tmp_path: Path) -> None:
    text = Type(kind=Kind.STRING)
    columns = (Column(name="key", type=text), Column(name="size", type=Type(kind=Kind.DOUBLE)))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    dataset = Dataset(
        id="ds_1",
        owner="u",
        columns=columns,
        row_count=3,
        byte_count=0,
        create_time=now,
        expire_time=now,
    )
    with opened(tmp_path) as store:
        create(store, ITEMS)

        def make(transaction: Transaction) -> bytes:
            transaction.rows(
                f"CREATE TABLE {dataset_relation('ds_1')} AS SELECT 'k' AS key, i / 2 AS size"
                " FROM range(3) r(i)"
            )
            record_dataset(transaction, dataset, store.datasets)
            return b""

        await store.bulk.run(make)
        step = mutations.InsertRows(table=ITEMS, rows=dataset, path="dataset")
        with pytest.raises(Fault) as raised:
            await store.writer.submit(change(lambda t: mutations.apply(t, [], [step])))
        assert raised.value.message == "row 1, column 'size': '0.5' does not fit INT64"


def test_a_file_of_a_newer_layout_is_left_as_it_is(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        cursor = store.database.cursor()
        cursor.execute("UPDATE catalog.layout SET version = 3")
        cursor.execute("DROP TABLE catalog.row_ids")
        cursor.close()
        store.writer.broken = True
    database = open_database(tmp_path, LIMITS)
    cursor = database.cursor()
    with pytest.raises(LayoutUnknown):
        prepare(cursor)
    tables = cursor.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    cursor.close()
    database.close()
    assert ("row_ids",) not in tables
