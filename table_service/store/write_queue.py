"""What waits to be written: bounded by number and by bytes, handed out in groups that can share a commit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa

from chassis.faults import ResourceExhausted
from table_service.plain_rows import PlainRows
from table_service.store.errors import store_unavailable
from table_service.store.receipts import ReceiptId, ReceiptKey
from table_service.store.transaction import Transaction
from table_service.store.waiting import Gathering, Waiting
from table_service.tables import Table

QUEUE_WRITES_MAX = 10_000
QUEUE_BYTES_MAX = 256 * 1024 * 1024
GROUP_WRITES_MAX = 512
# What is merged into one statement is held twice.
GROUP_BYTES_MAX = 32 * 1024 * 1024
RETRY_AFTER = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A write of any kind: `apply` changes the store and returns the answer's bytes.

    `apply` may run more than once, each time in a new transaction of which only the last is committed. A
    write that is `alone` shares its commit with no other: what defines tables does. `byte_count` is about
    what it holds while it waits.
    """

    apply: Callable[[Transaction], bytes]
    receipt: ReceiptKey | None = None
    alone: bool = False
    byte_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert:
    """New rows for one table, which may travel in one statement with other inserts.

    `rows` has carriers under the names of some of the table's columns; `answer` makes the answer of the
    row ids given. The rows may be marked (see `defaults`); `path` is where they stand in the request.
    """

    table: Table
    rows: pa.Table | PlainRows
    answer: Callable[[range], bytes]
    path: str = "rows"
    receipt: ReceiptKey | None = None
    alone: bool = False
    byte_count: int = 0


Write = Change | Insert


WaitingWrite = Waiting[Write, bytes]


class WriteQueue:
    """Takes writes of any thread, and gives them to one."""

    def __init__(self) -> None:
        self._writes: deque[WaitingWrite] = deque()
        self._byte_count = 0
        self._gathering = Gathering()

    def put(self, waiting: WaitingWrite) -> None:
        """Add a write.

        Raises:
            ResourceExhausted: QUEUE_FULL.
            Unavailable: STORE_UNAVAILABLE once it is closed.
        """
        byte_count = waiting.asked.byte_count
        with self._gathering.lock:
            if self._gathering.closing:
                raise store_unavailable()
            if len(self._writes) >= QUEUE_WRITES_MAX:
                raise _full(f"{QUEUE_WRITES_MAX} requests wait already", QUEUE_WRITES_MAX)
            if self._writes and self._byte_count + byte_count > QUEUE_BYTES_MAX:
                raise _full(f"{QUEUE_BYTES_MAX} bytes of requests wait already", QUEUE_BYTES_MAX)
            self._writes.append(waiting)
            self._byte_count += byte_count
            self._gathering.added()

    def next_group(self) -> list[WaitingWrite]:
        """Wait for writes and return those that can share a commit, in order; none when closed and empty."""
        with self._gathering.lock:
            self._gathering.wait()
            group: list[WaitingWrite] = []
            ids: set[ReceiptId] = set()
            byte_count = 0
            while self._writes and len(group) < GROUP_WRITES_MAX:
                write = self._writes[0].asked
                byte_count += write.byte_count
                if group and (write.alone or group[-1].asked.alone or byte_count > GROUP_BYTES_MAX):
                    break
                if write.receipt is not None:
                    # The second of two with one id must find the receipt of the first.
                    if write.receipt.id in ids:
                        break
                    ids.add(write.receipt.id)
                group.append(self._writes.popleft())
                self._byte_count -= write.byte_count
            self._gathering.taken(len(group))
            return group

    def close(self) -> None:
        """Take no more; what is there is still handed out."""
        with self._gathering.lock:
            self._gathering.close()


def _full(sentence: str, limit: int) -> ResourceExhausted:
    return ResourceExhausted("QUEUE_FULL", sentence, retry_after=RETRY_AFTER, limit=limit)
