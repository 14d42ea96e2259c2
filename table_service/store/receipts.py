"""Receipts: the answer to each request_id, kept in the transaction of what the request changed.

A receipt lives 24 hours, or as long as its request asked. Whether one exists is answered from memory unless
it does: the table has no index, and asking it for every write would cost as much as the write.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa

from chassis.faults import AlreadyExists
from table_service.store.cell_inserts import insert_cells
from table_service.store.key_hashes import KeyHashes, key_hash
from table_service.store.moments import stored
from table_service.store.transaction import Transaction

RECEIPT_TTL = timedelta(hours=24)
RECEIPT_TTL_MAX = timedelta(days=30)
PRUNED_ROWS_MAX = 5_000
# Longer than a receipt lives, so that a clock set back a little forgets none.
_SLACK = timedelta(hours=1)

TABLE = """
CREATE TABLE IF NOT EXISTS catalog.receipts (
    key_hash BIGINT NOT NULL, subject VARCHAR NOT NULL, request_id VARCHAR NOT NULL,
    digest BLOB NOT NULL, response BLOB NOT NULL, expire_time TIMESTAMP NOT NULL)
"""

ReceiptId = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptKey:
    """Whose request, under which id, and how long its answer is kept.

    `digest` is of the method and the request without its id and its `ttl`.
    """

    subject: str
    request_id: str
    digest: bytes
    ttl: timedelta = RECEIPT_TTL
    hash: int = field(init=False)

    def __post_init__(self) -> None:
        """Hash once what is looked for several times."""
        object.__setattr__(self, "hash", key_hash(self.subject, self.request_id))

    @property
    def id(self) -> ReceiptId:
        """Return what no two requests share."""
        return self.subject, self.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was answered to which content."""

    digest: bytes
    response: bytes

    def answer(self, key: ReceiptKey) -> bytes:
        """Return the first answer.

        Raises:
            AlreadyExists: REQUEST_ID_REUSED if it was to other content.
        """
        if self.digest != key.digest:
            raise AlreadyExists(
                "REQUEST_ID_REUSED",
                "request_id was used for another request",
                request_id=key.request_id,
            )
        return self.response


class Receipts:
    """Finds receipts, and sees to it that nobody works on a request while another does. For any thread."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, now: datetime) -> None:
        # Those of the usual life apart, so that a few that live long do not keep them all in memory.
        usual, most = RECEIPT_TTL + _SLACK, RECEIPT_TTL_MAX + _SLACK
        until = stored(now + usual)
        self._usual = _Generations(usual, _stored_hashes(cursor, "expire_time <= $1", until))
        self._long = _Generations(most, _stored_hashes(cursor, "expire_time > $1", until))
        self._worked_on: set[ReceiptId] = set()
        self._lock = threading.Lock()

    def may_have(self, key: ReceiptKey) -> bool:
        """Return False if there is no receipt for the key, without asking the store."""
        return key.hash in self._usual or key.hash in self._long

    def find(
        self, cursor: duckdb.DuckDBPyConnection, keys: Iterable[ReceiptKey], now: datetime
    ) -> Mapping[ReceiptId, Receipt]:
        """Return what was answered before, by id; one statement at the most."""
        hashes = [key.hash for key in keys if self.may_have(key)]
        if not hashes:
            return {}
        rows = cursor.execute(
            "SELECT subject, request_id, digest, response FROM catalog.receipts"
            " WHERE key_hash IN (SELECT unnest($1::BIGINT[])) AND expire_time > $2",
            [hashes, stored(now)],
        ).fetchall()
        return {
            (subject, request_id): Receipt(digest=digest, response=response)
            for subject, request_id, digest, response in rows
        }

    def remember(self, keys: Collection[ReceiptKey], now: datetime) -> None:
        """Note keys whose receipts have been committed."""
        with self._lock:
            self._usual.update([key.hash for key in keys if key.ttl <= RECEIPT_TTL], now)
            self._long.update([key.hash for key in keys if key.ttl > RECEIPT_TTL], now)

    def claim(self, ids: Collection[ReceiptId]) -> set[ReceiptId]:
        """Take requests to work on and return those that somebody works on already, which were not taken.

        Look for their receipts after this: whoever works on a request lets go of it when it is committed.
        """
        with self._lock:
            others = self._worked_on.intersection(ids)
            self._worked_on.update(ids)
            return others

    def let_go(self, ids: Iterable[ReceiptId]) -> None:
        """Give back requests that were taken, after their end."""
        with self._lock:
            self._worked_on.difference_update(ids)


class _Generations:
    """Hashes of receipts that live no longer than `life`, forgotten when all of an age have."""

    def __init__(self, life: timedelta, hashes: pa.ChunkedArray) -> None:
        self._life = life
        # The newest, and what was remembered before.
        self._sets = (KeyHashes(hashes), KeyHashes())
        self._since: datetime | None = None

    def __contains__(self, hash_: int) -> bool:
        newest, older = self._sets
        return hash_ in newest or hash_ in older

    def update(self, hashes: Collection[int], now: datetime) -> None:
        """Add hashes of receipts made by now."""
        if not hashes:
            return
        self._since = self._since or now
        if now - self._since >= self._life:
            self._sets = (KeyHashes(), self._sets[0])
            self._since = now
        self._sets[0].update(hashes)


def store_receipts(transaction: Transaction, answered: Sequence[tuple[ReceiptKey, bytes]]) -> None:
    """Keep answers in the transaction of what they answer."""
    if not answered:
        return
    now = stored(transaction.now)
    keys = [key for key, _ in answered]
    insert_cells(
        transaction,
        "catalog.receipts",
        ("BIGINT", "VARCHAR", "VARCHAR", "BLOB", "BLOB", "TIMESTAMP"),
        (
            [key.hash for key in keys],
            [key.subject for key in keys],
            [key.request_id for key in keys],
            [key.digest for key in keys],
            [response for _, response in answered],
            [now + key.ttl for key in keys],
        ),
    )


def prune(cursor: duckdb.DuckDBPyConnection, now: datetime) -> int:
    """Delete receipts that lived their time, a bounded number; return how many."""
    rows = cursor.execute(
        "DELETE FROM catalog.receipts WHERE rowid IN"
        " (SELECT rowid FROM catalog.receipts WHERE expire_time <= $1 LIMIT $2)",
        [stored(now), PRUNED_ROWS_MAX],
    ).fetchall()
    return int(rows[0][0])


def _stored_hashes(
    cursor: duckdb.DuckDBPyConnection, condition: str, until: datetime
) -> pa.ChunkedArray:
    sql = f"SELECT key_hash FROM catalog.receipts WHERE {condition}"
    return cursor.sql(sql, params=[until]).to_arrow_table().column(0)
