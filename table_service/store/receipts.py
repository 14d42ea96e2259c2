"""Receipts: the answer to each request_id, kept in the transaction of what the request changed.

A receipt lives 24 hours. Whether one exists is answered from memory unless it does: the table has no
index, and asking it for every write would cost as much as the write.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa

from chassis.faults import AlreadyExists
from table_service.store.key_hashes import KeyHashes, key_hash
from table_service.store.transaction import Transaction

RECEIPT_TTL = timedelta(hours=24)
PRUNED_ROWS_MAX = 5_000
# Longer than a receipt lives, so that a clock set back a little forgets none.
_GENERATION = RECEIPT_TTL + timedelta(hours=1)

TABLE = """
CREATE TABLE IF NOT EXISTS catalog.receipts (
    key_hash BIGINT NOT NULL, subject VARCHAR NOT NULL, request_id VARCHAR NOT NULL,
    digest BLOB NOT NULL, response BLOB NOT NULL, expire_time TIMESTAMP NOT NULL)
"""

SCHEMA = pa.schema(
    [
        ("key_hash", pa.int64()),
        ("subject", pa.string()),
        ("request_id", pa.string()),
        ("digest", pa.binary()),
        ("response", pa.binary()),
        ("expire_time", pa.timestamp("us")),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptKey:
    """Whose request, under which id. `digest` is of the method and the request without its id."""

    subject: str
    request_id: str
    digest: bytes

    @property
    def hash(self) -> int:
        """Return the hash under which the receipt is found."""
        return key_hash(self.subject, self.request_id)


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
    """The receipts of the store. Threads may share it; each brings its cursor."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        hashes = cursor.sql("SELECT key_hash FROM catalog.receipts").to_arrow_table()
        self._hashes = KeyHashes(hashes.column(0))
        # What was remembered before; forgotten when all of its receipts have lived their time.
        self._older = KeyHashes(pa.chunked_array([], pa.int64()))
        self._since: datetime | None = None
        self._lock = threading.Lock()

    def may_have(self, key: ReceiptKey) -> bool:
        """Return False if there is no receipt for the key, without asking the store."""
        with self._lock:
            return self._knows(key.hash)

    def find(
        self, cursor: duckdb.DuckDBPyConnection, keys: Sequence[ReceiptKey], now: datetime
    ) -> Mapping[tuple[str, str], Receipt]:
        """Return what was answered before, by (subject, request_id); one statement at the most."""
        with self._lock:
            hashes = [hash_ for key in keys if self._knows(hash_ := key.hash)]
        if not hashes:
            return {}
        rows = cursor.execute(
            "SELECT subject, request_id, digest, response FROM catalog.receipts"
            " WHERE key_hash IN (SELECT unnest($1::BIGINT[])) AND expire_time > $2",
            [hashes, _stored(now)],
        ).fetchall()
        return {
            (subject, request_id): Receipt(digest=digest, response=response)
            for subject, request_id, digest, response in rows
        }

    def remember(self, keys: Sequence[ReceiptKey], now: datetime) -> None:
        """Note keys whose receipts have been committed."""
        with self._lock:
            self._since = self._since or now
            if now - self._since >= _GENERATION:
                self._older, self._hashes = (
                    self._hashes,
                    KeyHashes(pa.chunked_array([], pa.int64())),
                )
                self._since = now
            self._hashes.update(key.hash for key in keys)

    def _knows(self, hash_: int) -> bool:
        return hash_ in self._hashes or hash_ in self._older


def store_receipts(transaction: Transaction, answered: Sequence[tuple[ReceiptKey, bytes]]) -> None:
    """Keep answers in the transaction of what they answer."""
    expire_time = _stored(transaction.now + RECEIPT_TTL)
    rows = [
        (key.hash, key.subject, key.request_id, key.digest, response, expire_time)
        for key, response in answered
    ]
    if len(rows) == 1:
        # Half the time of what follows, and most commits have one.
        transaction.rows("INSERT INTO catalog.receipts VALUES ($1, $2, $3, $4, $5, $6)", rows[0])
    elif rows:
        columns = [
            pa.array(values, field.type)
            for values, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)
        ]
        view = transaction.show(pa.Table.from_arrays(columns, schema=SCHEMA))
        transaction.rows(f"INSERT INTO catalog.receipts SELECT * FROM {view}")


def prune(cursor: duckdb.DuckDBPyConnection, now: datetime) -> int:
    """Delete receipts that lived their time, a bounded number; return how many."""
    rows = cursor.execute(
        "DELETE FROM catalog.receipts WHERE rowid IN"
        " (SELECT rowid FROM catalog.receipts WHERE expire_time <= $1 LIMIT $2)",
        [_stored(now), PRUNED_ROWS_MAX],
    ).fetchall()
    return int(rows[0][0])


def _stored(moment: datetime) -> datetime:
    """Return the moment as it is stored: UTC without saying so, which needs no time-zone data."""
    return moment.astimezone(UTC).replace(tzinfo=None)
