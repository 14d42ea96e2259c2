"""flux.workflow.v1.RunService: parse, call, wrap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import grpc
from google.protobuf.duration_pb2 import Duration

from chassis import calls
from chassis.faults import Unavailable
from chassis.identity import current_principal
from chassis.paging import decode_token, encode_token, page_size
from chassis.values import from_struct
from flux.workflow.v1 import run_pb2, run_service_pb2_grpc
from flux.workflow.v1 import run_service_pb2 as messages
from workflow_service.active_run import ActiveRun
from workflow_service.run_reader import RunReader
from workflow_service.run_wire import (
    add_steps,
    run_message,
    start_digest,
    statuses_of,
    watch_message,
)
from workflow_service.runs import Run, step_runs
from workflow_service.starts import Starts

Context = grpc.aio.ServicerContext[object, object]


# The part of a call's time that is kept for its answer.
ANSWER_RATIO = 0.1


class RunServicer(run_service_pb2_grpc.RunServiceServicer):
    """Refuses every call until `ready` is set, which is when the engine has recovered its runs."""

    def __init__(self, *, starts: Starts, reader: RunReader, ready: asyncio.Event) -> None:
        self._starts = starts
        self._reader = reader
        self._ready = ready

    async def StartRun(  # the contract's name, as are those below
        self, request: messages.StartRunRequest, context: Context
    ) -> messages.StartRunResponse:
        """Start one run."""
        inputs = {"input": from_struct(request.input)}
        [run] = await self._start(request, inputs)
        return messages.StartRunResponse(run=await self._shown(run, request.view))

    async def BatchStartRuns(
        self, request: messages.BatchStartRunsRequest, context: Context
    ) -> messages.BatchStartRunsResponse:
        """Start many runs."""
        inputs = {
            f"inputs[{index}]": from_struct(given) for index, given in enumerate(request.inputs)
        }
        runs = await self._start(request, inputs)
        return messages.BatchStartRunsResponse(
            runs=[await self._shown(run, request.view) for run in runs]
        )

    async def GetRun(
        self, request: messages.GetRunRequest, context: Context
    ) -> messages.GetRunResponse:
        """Return one run."""
        self._check_ready()
        run = await self._reader.find(current_principal(), request.run_id)
        view = request.view or run_pb2.RUN_VIEW_FULL
        return messages.GetRunResponse(run=await self._shown(run, view))

    async def ListRuns(
        self, request: messages.ListRunsRequest, context: Context
    ) -> messages.ListRunsResponse:
        """Return a page of runs."""
        self._check_ready()
        binding = f"ListRuns/{request.workflow}/{sorted(request.states)}".encode()
        found, more = await self._reader.page(
            current_principal(),
            workflow=request.workflow,
            statuses=statuses_of(request.states),
            before=decode_token(request.page_token, binding),
            limit=page_size(request.page_size),
        )
        return messages.ListRunsResponse(
            runs=map(run_message, found),
            next_page_token=encode_token(found[-1].id, binding) if more else "",
        )

    async def WatchRun(
        self, request: messages.WatchRunRequest, context: Context
    ) -> AsyncIterator[messages.WatchRunResponse]:
        """Stream what happens in a run."""
        self._check_ready()
        caller = current_principal()
        async for sighting in self._reader.watch(caller, request.run_id, request.cursor):
            yield watch_message(sighting)

    async def CancelRun(
        self, request: messages.CancelRunRequest, context: Context
    ) -> messages.CancelRunResponse:
        """Ask a run to stop."""
        self._check_ready()
        run = await self._reader.cancel(current_principal(), request.run_id)
        return messages.CancelRunResponse(run=run_message(run))

    async def _start(
        self,
        request: messages.StartRunRequest | messages.BatchStartRunsRequest,
        inputs: Mapping[str, Mapping[str, object]],
    ) -> Sequence[ActiveRun | Run]:
        """Return the runs as soon as they are durable, or have ended if the caller waits for that."""
        self._check_ready()
        runs = await self._starts.start(
            current_principal(),
            request.workflow,
            inputs,
            request_id=request.request_id,
            digest=start_digest(request) if request.request_id else "",
        )
        if request.HasField("wait"):
            await _wait(runs, request.wait)
        return runs

    async def _shown(self, found: ActiveRun | Run, view: run_pb2.RunView.ValueType) -> run_pb2.Run:
        """Return a run in a view; unspecified means BASIC."""
        run = found.run() if isinstance(found, ActiveRun) else found
        message = run_message(run)
        if view == run_pb2.RUN_VIEW_FULL:
            events = [event async for event in self._reader.events(found)]
            add_steps(message, step_runs(events))
        return message

    def _check_ready(self) -> None:
        if not self._ready.is_set():
            raise Unavailable(
                "NEIGHBOUR_UNAVAILABLE",
                "workflow_service has not recovered its runs yet",
                neighbour="table_service",
            )


async def _wait(runs: Sequence[ActiveRun | Run], wait: Duration) -> None:
    """Return when every run has ended, or when the time is up, a little before the call's own."""
    wait_s = wait.ToTimedelta().total_seconds()
    deadline = calls.deadline.get()
    if deadline is not None:
        left = deadline - asyncio.get_running_loop().time()
        wait_s = min(wait_s, left * (1 - ANSWER_RATIO))
    try:
        async with asyncio.timeout(wait_s):
            for run in runs:
                if isinstance(run, ActiveRun):
                    await run.ended()
    except TimeoutError:
        # The answer shows how far they are.
        return
