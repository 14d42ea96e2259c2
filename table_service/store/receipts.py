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

RECEIPT_TTL = timedelta(hours=24)
PRUNED_ROWS_MAX = 5_000

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
        self._lock = threading.Lock()

    def find(
        self, cursor: duckdb.DuckDBPyConnection, keys: Sequence[ReceiptKey], now: datetime
    ) -> Mapping[tuple[str, str], Receipt]:
        """Return what was answered before, by (subject, request_id); one statement at the most."""
        with self._lock:
            hashes = [hash_ for key in keys if (hash_ := key.hash) in self._hashes]
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

    def remember(self, keys: Sequence[ReceiptKey]) -> None:
        """Note keys whose receipts have been committed."""
        with self._lock:
            self._hashes.update(key.hash for key in keys)


def receipt_rows(answered: Sequence[tuple[ReceiptKey, bytes]], now: datetime) -> pa.Table:
    """Return the rows to insert into catalog.receipts."""
    expire_time = _stored(now + RECEIPT_TTL)
    columns = [
        pa.array([key.hash for key, _ in answered], pa.int64()),
        pa.array([key.subject for key, _ in answered], pa.string()),
        pa.array([key.request_id for key, _ in answered], pa.string()),
        pa.array([key.digest for key, _ in answered], pa.binary()),
        pa.array([response for _, response in answered], pa.binary()),
        pa.array([expire_time] * len(answered), pa.timestamp("us")),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


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
