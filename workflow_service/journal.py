"""The journal: events of all runs appended through table_service, many in one commit.

One request is under way at a time; what comes meanwhile waits for the next. A submission is durable as
a whole or not at all. Every request carries the engine's epoch, so that an engine whose place was taken
can append nothing any more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

import grpc
import structlog

from chassis.client import Peer
from chassis.faults import Fault, InvalidArgument, ResourceExhausted, Unavailable
from chassis.tables import RowVersion
from flux.table.v1 import row_service_pb2, row_service_pb2_grpc
from workflow_service.journal_events import EventRow
from workflow_service.journal_rows import EndedRow
from workflow_service.journal_wire import transact_request
from workflow_service.payloads import utf8_bytes

log = structlog.get_logger()

# A batch takes no further submission past either; one that is larger travels alone.
BATCH_EVENTS_MAX = 2_000
BATCH_BYTES_MAX = 4 * 1024 * 1024
# What waits for a slow or absent table_service; past it, no new run is accepted.
QUEUE_BYTES_MAX = 64 * 1024 * 1024
_CALL_TIMEOUT_S = 30.0
_RETRY_FIRST_S = 0.05
_RETRY_MOST_S = 1.0
_ROW_BYTES = 150


class EngineFenced(Exception):
    """Another engine has taken the runs over: this one must not act any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Events of one or more runs, and the rows of those that ended with them, in one commit.

    One of `on_durable` and `on_refused` is called, later and once; `on_refused` only if table_service says
    that these rows can never be stored. Neither is if `is_wanted` says no when their turn comes: what comes
    after a refused submission of the same run must not be written, for the journal has no gaps.
    """

    events: Sequence[EventRow]
    ended: Sequence[EndedRow]
    on_durable: Callable[[], None]
    on_refused: Callable[[Fault], None]
    is_wanted: Callable[[], bool]

    def size_bytes(self) -> int:
        """Return about how many bytes the submission is."""
        texts = [row.payload for row in self.events]
        for run in self.ended:
            texts += (run.input, run.output, run.failure)
        return sum(map(utf8_bytes, texts)) + _ROW_BYTES * len(self.events)


def away() -> Unavailable:
    """Return the fault that nothing can be journalled for now."""
    return Unavailable(
        "NEIGHBOUR_UNAVAILABLE", "table_service cannot be reached", neighbour="table_service"
    )


class Journal:
    """Appends in the order they came; `run` does the work."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._transact = row_service_pb2_grpc.RowServiceStub(peer.channel).Transact
        self._queue: deque[tuple[Submission, int]] = deque()
        self._queued_bytes = 0
        self._filled = asyncio.Event()
        self._waiting = False

    @property
    def is_full(self) -> bool:
        """Return whether so much waits that nothing new should be begun."""
        return self._queued_bytes >= QUEUE_BYTES_MAX

    @property
    def is_waiting(self) -> bool:
        """Return whether table_service did not take the append under way, which is tried again and again."""
        return self._waiting

    def append(self, submission: Submission) -> None:
        """Queue a submission; one of its callbacks tells what became of it."""
        size = submission.size_bytes()
        self._queue.append((submission, size))
        self._queued_bytes += size
        self._filled.set()

    async def run(self, epoch: RowVersion) -> None:
        """Write what is queued until cancelled.

        Raises:
            EngineFenced: If the engine's row has not the version of `epoch` any more.
        """
        # Ends by cancellation when the service stops, or when the engine is fenced.
        while True:
            await self._filled.wait()
            await self._write(self._take(), epoch)

    def _take(self) -> list[Submission]:
        batch: list[Submission] = []
        events_count = taken_bytes = 0
        while self._queue and (
            not batch
            or (
                events_count + len(self._queue[0][0].events) <= BATCH_EVENTS_MAX
                and taken_bytes + self._queue[0][1] <= BATCH_BYTES_MAX
            )
        ):
            submission, size = self._queue.popleft()
            batch.append(submission)
            events_count += len(submission.events)
            taken_bytes += size
        self._queued_bytes -= taken_bytes
        if not self._queue:
            self._filled.clear()
        return batch

    async def _write(self, batch: Sequence[Submission], epoch: RowVersion) -> None:
        batch = [submission for submission in batch if submission.is_wanted()]
        if not batch:
            return
        fault = await self._commit(batch, epoch)
        if fault is None:
            for submission in batch:
                submission.on_durable()
        elif len(batch) == 1:
            log.error("journal.refused", error=fault.message, run=batch[0].events[0].run_id)
            batch[0].on_refused(fault)
        else:
            # One of them can never be stored; the others must not suffer for it.
            for submission in batch:
                await self._write([submission], epoch)

    async def _commit(self, batch: Sequence[Submission], epoch: RowVersion) -> Fault | None:
        """Return None once the batch is durable, or the fault that says it never can be.

        The request id stays the same from try to try, so an answer that was lost is not a second append.
        """
        request = transact_request(
            events=[row for submission in batch for row in submission.events],
            ended=[row for submission in batch for row in submission.ended],
            epoch=epoch,
            request_id=str(uuid4()),
        )
        wait_s = _RETRY_FIRST_S
        # Ends when table_service answers; nothing that waits for the journal goes on before.
        while True:
            try:
                fault = await self._try(request)
            except (Fault, grpc.aio.AioRpcError) as error:
                self._waiting = True
                log.warning("journal.waiting", error=str(error))
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _RETRY_MOST_S)
            else:
                self._waiting = False
                return fault

    async def _try(self, request: row_service_pb2.TransactRequest) -> Fault | None:
        try:
            await self._peer.call(self._transact, request, timeout_s=_CALL_TIMEOUT_S)
        except InvalidArgument as fault:
            return fault
        except Fault as fault:
            if fault.reason == "PRECONDITION_FAILED":
                raise EngineFenced("a newer engine has taken over") from fault
            raise
        except grpc.aio.AioRpcError as error:
            # gRPC itself refuses a message that is too large, and not with a fault of ours.
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return ResourceExhausted("MESSAGE_TOO_LARGE", error.details() or "too large")
            raise
        return None
