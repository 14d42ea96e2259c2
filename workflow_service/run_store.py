"""What the engine keeps besides appending: its epoch, and reading back events and ended runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import structlog

from chassis.client import Peer
from chassis.clock import Clock
from chassis.faults import Aborted, AlreadyExists, FailedPrecondition, ResourceExhausted
from chassis.tables import (
    ColumnKind,
    ColumnSpec,
    Insert,
    RowAbsent,
    RowVersion,
    Tables,
    TableSpec,
    Update,
)
from chassis.values import from_value, to_value
from flux.table.v1 import query_service_pb2, query_service_pb2_grpc, rows_pb2
from workflow_service.events import Failure, RunEvent, RunStarted
from workflow_service.journal_events import EventRow, JournalDamaged, event_of, failure_of
from workflow_service.journal_wire import EVENTS, RUNS
from workflow_service.payloads import decode
from workflow_service.run_state import RunStatus
from workflow_service.runs import Run

log = structlog.get_logger()

ENGINE = TableSpec(
    name="engine",
    description="One row: which engine may append to the journal.",
    columns=(
        ColumnSpec(name="name", kind=ColumnKind.KIND_STRING),
        ColumnSpec(name="epoch", kind=ColumnKind.KIND_INT64),
        ColumnSpec(name="holder", kind=ColumnKind.KIND_STRING),
        ColumnSpec(name="taken_time", kind=ColumnKind.KIND_TIMESTAMP),
    ),
    unique_keys=(("name",),),
)
_ENGINE_NAME = "engine"
# How many events one query brings; a run may have more, and large ones come a part of that at a time.
EVENTS_PAGE = 5_000
_SHRINKING = 8
_QUERY_TIMEOUT_S = 300.0
# Ids hold the time they were made, which the store can skip old rows by; a clock may have gone back so far.
_CLOCK_STEP_MAX = timedelta(days=1)
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_EVENT_COLUMNS = "run_id, sequence, time, kind, step, attempt, payload"
_RUN_COLUMNS = (
    "run_id, workflow, version, owner, state, create_time, end_time, input, output, failure"
)
_UNFINISHED = (
    f"SELECT {_EVENT_COLUMNS} FROM workflow.events"  # noqa: S608  # constants only
    " WHERE run_id NOT IN (SELECT run_id FROM workflow.runs)"
    " AND (run_id > $run_id OR (run_id = $run_id AND sequence > $sequence))"
    " ORDER BY run_id, sequence"
)
_OF_RUN = (
    f"SELECT {_EVENT_COLUMNS} FROM workflow.events"  # noqa: S608  # constants only
    " WHERE run_id = $run_id AND sequence > $sequence AND time >= $since"
    " ORDER BY sequence"
)
_STARTED_BY_REQUEST = (
    f"SELECT {_EVENT_COLUMNS} FROM workflow.events"  # noqa: S608  # constants only
    " WHERE kind = 'RUN_STARTED' AND time >= $since AND run_id > $run_id"
    " AND contains(payload, '\"request\":{')"
    " ORDER BY run_id"
)
_ENDED = (
    f"SELECT {_RUN_COLUMNS} FROM workflow.runs"  # noqa: S608  # constants only
    " WHERE run_id = $run_id AND create_time >= $since AND create_time <= $until"
)


class RunStore:
    """Reads through table_service's queries; appending is the journal's."""

    def __init__(self, *, peer: Peer, tables: Tables, clock: Clock) -> None:
        self._peer = peer
        self._query = query_service_pb2_grpc.QueryServiceStub(peer.channel).Query
        self._tables = tables
        self._clock = clock

    async def prepare(self) -> None:
        """Create what is missing, waiting for table_service."""
        await self._tables.prepare((ENGINE, EVENTS, RUNS))

    async def take_epoch(self, holder: str) -> RowVersion:
        """Make `holder` the one engine, and return what every append must find unchanged.

        Raises:
            Unavailable: If table_service cannot be reached; calling again is safe.
        """
        # Ends when the row did not change between reading and writing it.
        while True:
            rows = await self._tables.list_rows(ENGINE.name)
            try:
                if not rows:
                    await self._insert_epoch(holder)
                    continue
                row = rows[0]
                epoch = row.values["epoch"]
                assert isinstance(epoch, int)
                values = {
                    "epoch": epoch + 1,
                    "holder": holder,
                    "taken_time": self._clock.now(),
                }
                update = Update(
                    table=ENGINE.name,
                    row_id=row.row_id,
                    values=values,
                    expected_version=row.version,
                )
                [changed] = await self._tables.transact(update, request_id=str(uuid4()))
            except (AlreadyExists, Aborted, FailedPrecondition):
                continue
            return RowVersion(table=ENGINE.name, row_id=row.row_id, version=changed.version)

    async def _insert_epoch(self, holder: str) -> None:
        insert = Insert(
            table=ENGINE.name,
            columns=("name", "epoch", "holder", "taken_time"),
            rows=[(_ENGINE_NAME, 0, holder, self._clock.now())],
        )
        absent = RowAbsent(table=ENGINE.name, values={"name": _ENGINE_NAME})
        await self._tables.transact(insert, preconditions=[absent])

    async def unfinished(self) -> AsyncIterator[EventRow]:
        """Yield the events of every run that has not ended, run by run in order."""
        async for row in self._event_rows(_UNFINISHED, {"run_id": "", "sequence": 0}):
            yield row

    async def started_by_request(self, since: datetime) -> AsyncIterator[tuple[str, RunStarted]]:
        """Yield the runs that were started under a client's request id since then, oldest first.

        A damaged row is logged and left out: one run must not keep the engine from starting.
        """
        async for row in self._event_rows(_STARTED_BY_REQUEST, {"since": since, "run_id": ""}):
            try:
                event = event_of(row)
            except JournalDamaged as error:
                log.error("run.unreadable", run=row.run_id, error=str(error))  # noqa: TRY400  # no bug here
                continue
            assert isinstance(event, RunStarted)
            yield row.run_id, event

    async def events(self, run_id: str, after: int = 0) -> AsyncIterator[RunEvent]:
        """Yield the events of one run past the sequence `after`."""
        made = made_time(run_id)
        if made is None:
            return
        since = made - _CLOCK_STEP_MAX
        parameters = {"run_id": run_id, "sequence": after, "since": since}
        async for row in self._event_rows(_OF_RUN, parameters):
            yield event_of(row)

    async def holds(self, epoch: RowVersion) -> bool:
        """Return whether no other engine has taken over since `take_epoch` returned this.

        Raises:
            Fault: If table_service cannot answer.
        """
        rows = await self._tables.list_rows(ENGINE.name)
        return any(row.row_id == epoch.row_id and row.version == epoch.version for row in rows)

    async def ended(self, run_id: str) -> Run | None:
        """Return a run that has ended, or None if no such run has."""
        made = made_time(run_id)
        if made is None:
            return None
        parameters = {
            "run_id": run_id,
            "since": made - _CLOCK_STEP_MAX,
            "until": made + _CLOCK_STEP_MAX,
        }
        rows = await self._rows(_ENDED, parameters, 1)
        return _ended_run(rows[0]) if rows else None

    async def ended_page(
        self,
        *,
        owner: str,
        workflow: str,
        statuses: Sequence[RunStatus],
        before: str,
        limit: int,
    ) -> tuple[list[Run], bool]:
        """Return ended runs, latest first, from below the id `before`; an empty argument means all.

        Also returns whether there may be more below the last of them: past `limit`, or fewer of large ones.
        """
        conditions = ["true"]
        parameters: dict[str, object] = {}
        for name, column, value in (
            ("owner", "owner =", owner),
            ("workflow", "workflow =", workflow),
            ("before", "run_id <", before),
        ):
            if value:
                conditions.append(f"{column} ${name}")
                parameters[name] = value
        if statuses:
            names = [f"state_{index}" for index in range(len(statuses))]
            conditions.append(f"state IN ({', '.join('$' + name for name in names)})")
            parameters.update(zip(names, (status.value for status in statuses), strict=True))
        sql = (
            f"SELECT {_RUN_COLUMNS} FROM workflow.runs"  # noqa: S608  # columns and $names only
            f" WHERE {' AND '.join(conditions)} ORDER BY run_id DESC"
        )
        # Ends with an answer that table_service can hold; at the latest one run fits.
        while True:
            try:
                rows = await self._rows(sql, parameters, limit)
            except ResourceExhausted as fault:
                if fault.reason != "QUERY_LIMIT" or limit == 1:
                    raise
                limit = max(limit // _SHRINKING, 1)
            else:
                return [_ended_run(row) for row in rows], len(rows) == limit

    async def _event_rows(
        self, sql: str, parameters: Mapping[str, object]
    ) -> AsyncIterator[EventRow]:
        """Yield the events that a query has, page by page: it goes on past `run_id` and `sequence`."""
        limit = EVENTS_PAGE
        # Ends with the first page that is not full.
        while True:
            try:
                page = await self._rows(sql, parameters, limit)
            except ResourceExhausted as fault:
                if fault.reason != "QUERY_LIMIT" or limit == 1:
                    raise
                limit = max(limit // _SHRINKING, 1)
                continue
            rows = [_event_row(values) for values in page]
            for row in rows:
                yield row
            if len(rows) < limit:
                return
            reached = {"run_id": rows[-1].run_id, "sequence": rows[-1].sequence}
            parameters = {name: reached.get(name, value) for name, value in parameters.items()}

    async def _rows(
        self, sql: str, parameters: Mapping[str, object], limit: int
    ) -> list[list[object]]:
        request = query_service_pb2.QueryRequest(
            sql=f"{sql} LIMIT {limit}",
            parameters={name: to_value(value) for name, value in parameters.items()},
            encoding=rows_pb2.Rows.ENCODING_TYPED,
            row_count_max=limit,
        )
        rows: list[list[object]] = []
        answers = self._peer.stream(self._query, request, timeout_s=_QUERY_TIMEOUT_S)
        async with aclosing(answers):
            async for answer in answers:
                rows.extend(
                    [from_value(value) for value in row.values] for row in answer.rows.typed.rows
                )
        return rows


def made_time(run_id: str) -> datetime | None:
    """Return when a run's id was made, or None if no run was ever called so."""
    prefix, _, text = run_id.partition("_")
    if prefix != "run" or len(text) != 26 or not set(text) <= set(_ALPHABET):
        return None
    milliseconds = 0
    # The first ten of the 26 characters are the time.
    for character in text[:10]:
        milliseconds = milliseconds * 32 + _ALPHABET.index(character)
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def _event_row(row: Sequence[object]) -> EventRow:
    run_id, sequence, time, kind, step, attempt, payload = row
    assert isinstance(run_id, str)
    assert isinstance(sequence, int)
    assert isinstance(time, datetime)
    assert isinstance(kind, str)
    assert isinstance(step, str)
    assert isinstance(attempt, int)
    assert isinstance(payload, str)
    return EventRow(
        run_id=run_id,
        sequence=sequence,
        time=time,
        kind=kind,
        step=step,
        attempt=attempt,
        payload=payload,
    )


def _ended_run(row: Sequence[object]) -> Run:
    run_id, workflow, version, owner, state, create_time, end_time, given, output, failure = row
    assert isinstance(version, int)
    assert isinstance(create_time, datetime)
    assert isinstance(end_time, datetime)
    return Run(
        id=str(run_id),
        workflow=str(workflow),
        version=version,
        owner=str(owner),
        status=RunStatus(str(state)),
        create_time=create_time,
        end_time=end_time,
        input=_mapping(str(given)),
        output=_mapping(str(output)) if output else None,
        failure=_failure(str(failure)) if failure else None,
    )


def _failure(text: str) -> Failure:
    return failure_of(_mapping(text))


def _mapping(text: str) -> Mapping[str, object]:
    value = decode(text)
    if not isinstance(value, dict):
        raise JournalDamaged("an ended run's input or output is no map")
    return value
