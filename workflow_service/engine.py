"""The engine: journals what happens in runs, and does what the machine says comes next.

Nothing is done before what led to it is durable; nothing is shown before it is durable. A chain of pure
steps is evaluated in memory and journalled together. Every run's state changes on the event loop alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from datetime import timedelta
from functools import partial

import structlog

from chassis.clock import Clock
from chassis.faults import Fault, ResourceExhausted, Unavailable
from chassis.ids import IdMaker
from workflow_service import evaluation
from workflow_service.active_run import ActiveRun
from workflow_service.attempts import Attempts
from workflow_service.definition import Definition, Step
from workflow_service.events import (
    AttemptStarted,
    CancelRequested,
    Failure,
    RunCancelled,
    RunEvent,
    RunFailed,
    RunStarted,
    RunSucceeded,
    StartRequest,
)
from workflow_service.failures import transient
from workflow_service.journal import Journal, Submission, away
from workflow_service.journal_rows import ended_row
from workflow_service.machine import (
    Begin,
    Cancel,
    Conclude,
    Evaluate,
    Fail,
    Interrupt,
    Outcome,
    Perform,
    Rest,
    decide,
    resume,
    settle,
)
from workflow_service.recent_runs import RecentRuns
from workflow_service.run_state import RunState, RunStatus
from workflow_service.runs import run_ended
from workflow_service.steps.effect import Effect, effect_key

log = structlog.get_logger()

# What waits in a run to be journalled is handed over past this, so that no commit is too large a message.
SUBMISSION_BYTES_MAX = 2 * 1024 * 1024
# How long the engine evaluates before it lets calls and the journal have their turn.
SLICE_S = 0.005


class Engine:
    """All active runs of this installation."""

    def __init__(
        self,
        *,
        journal: Journal,
        attempts: Attempts,
        clock: Clock,
        ids: IdMaker,
        jitter: Callable[[], float],
        runs_max: int,
        effects_max: int,
        when_lost: Callable[[RunStarted], None],
    ) -> None:
        """`when_lost` is told of a run that was begun and can never be accepted."""
        self._journal = journal
        self._attempts = attempts
        self._clock = clock
        self._ids = ids
        self._jitter = jitter
        self._runs_max = runs_max
        self._effects = asyncio.Semaphore(effects_max)
        self._active: dict[str, ActiveRun] = {}
        self._recent = RecentRuns()
        self._when_lost = when_lost
        self._ready: deque[ActiveRun] = deque()
        self._pumping = False
        self._stopped: Fault | None = None

    def start(
        self,
        definition: Definition,
        version: int,
        *,
        owner: str,
        inputs: Sequence[Mapping[str, object]],
        request_id: str,
        digest: str,
    ) -> list[ActiveRun]:
        """Begin a run for each input, all or none; they are accepted when the journal says so.

        Raises:
            ResourceExhausted: TOO_MANY_RUNS.
            Unavailable: If the journal cannot be written now.
        """
        self._check_room(len(inputs))
        now, runs = self._clock.now(), []
        for index, given in enumerate(inputs):
            request = StartRequest(id=request_id, digest=digest, index=index)
            started = RunStarted(
                sequence=1,
                time=now,
                workflow=definition.name,
                version=version,
                owner=owner,
                input=given,
                request=request if request_id else None,
            )
            runs.append(ActiveRun(self._ids.new_id("run"), definition, started))
        self._active.update((run.id, run) for run in runs)
        if len(runs) == 1:
            # What follows at once goes into the same commit.
            self._advance(runs[0])
        else:
            self._submit(runs)
            self._ready.extend(runs)
            self._pump_soon()
        return runs

    def _check_room(self, count: int) -> None:
        if self._stopped is not None:
            raise self._stopped
        if self._journal.is_waiting:
            raise away()
        if len(self._active) + count > self._runs_max or self._journal.is_full:
            raise ResourceExhausted(
                "TOO_MANY_RUNS",
                f"{len(self._active)} runs are active",
                retry_after=timedelta(seconds=1),
                active=len(self._active),
            )

    def find(self, run_id: str) -> ActiveRun | None:
        """Return a run that is active or has just ended, if it is accepted."""
        run = self._active.get(run_id) or self._recent.find(run_id)
        return run if run is not None and run.is_durable else None

    def pending(self, run_id: str) -> ActiveRun | None:
        """Return a run that is not accepted yet."""
        run = self._active.get(run_id)
        return run if run is not None and not run.is_durable else None

    def active(self) -> list[ActiveRun]:
        """Return the runs that are accepted and have not ended, in the order they were started."""
        return [run for run in self._active.values() if run.is_durable]

    @property
    def active_count(self) -> int:
        """Return how many runs there are in memory that have not ended."""
        return len(self._active)

    def cancel(self, run: ActiveRun, by: str) -> None:
        """Ask a run to stop; asking again changes nothing.

        Raises:
            FailedPrecondition: RUN_ENDED if it has ended otherwise.
            Unavailable: If it goes no further here.
        """
        if run.dropped is not None:
            raise run.dropped
        status = run.state.status
        if status in (RunStatus.CANCELLING, RunStatus.CANCELLED):
            return
        if status.is_final:
            raise run_ended(run.id, status)
        run.record(CancelRequested(sequence=run.state.sequence + 1, time=self._clock.now(), by=by))
        # A run in the middle of a chain of pure steps is in `_ready`, and is looked at twice: harmless.
        self._advance(run)

    def recover(self, runs: Sequence[ActiveRun]) -> None:
        """Go on with runs that were replayed from the journal; an open attempt is made again."""
        now = self._clock.now()
        for run in runs:
            run.submitted = len(run.events)
            run.made_durable(run.submitted, run.state)
            self._active[run.id] = run
            if run.state.attempt_open and run.state.status is RunStatus.RUNNING:
                run.record(resume(run.definition, run.state, time=now))
        self._ready.extend(runs)
        self._pump_soon()

    def stop(self, why: Fault) -> None:
        """Begin nothing and record nothing from now on; whoever waits is told `why`."""
        if self._stopped is not None:
            return
        self._stopped = why
        self._ready.clear()
        for run in self._active.values():
            if run.task is not None:
                run.task.cancel()
            if run.timer is not None:
                run.timer.cancel()
            run.drop(why)

    async def close(self, why: Fault) -> None:
        """Stop, and return when every attempt under way has let go of what it held."""
        self.stop(why)
        tasks = [run.task for run in self._active.values() if run.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _pump_soon(self) -> None:
        if not self._pumping and self._ready:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump, context=Context())

    def _pump(self) -> None:
        """Advance runs that are ready for one slice of time."""
        self._pumping = False
        until = self._clock.monotonic() + SLICE_S
        while self._ready and self._clock.monotonic() < until:
            self._advance(self._ready.popleft())
        self._pump_soon()

    def _advance(self, run: ActiveRun, outcome: Outcome | None = None) -> None:
        """Do what comes next in a run until it has to wait, and hand what happened to the journal.

        `outcome` is that of the attempt which was under way, if it has just ended.
        """
        until = self._clock.monotonic() + SLICE_S
        try:
            if outcome is not None:
                run.record(self._settled(run, outcome))
            # Ends when the run has to wait, when its slice is over, or when the engine stops.
            while self._stopped is None and run.dropped is None:
                event = self._next_event(run)
                if event is None:
                    break
                run.record(event)
                is_much = run.waiting_bytes() > SUBMISSION_BYTES_MAX
                if is_much or self._clock.monotonic() >= until:
                    self._ready.append(run)
                    self._pump_soon()
                    break
            if self._stopped is None and run.dropped is None and len(run.events) > run.submitted:
                self._submit([run])
        except Exception as error:  # noqa: BLE001  # logged there; one run's bug is not the others'
            self._drop(run, error)

    def _next_event(self, run: ActiveRun) -> RunEvent | None:
        """Return what happens next in memory, or None after arranging for what has to be waited for."""
        state = run.state
        sequence = state.sequence + 1
        command = decide(run.definition, state)
        match command:
            case Evaluate():
                return self._settled(run, evaluation.outcome(command.step, run.context()))
            case Conclude():
                now = self._clock.now()
                ended = evaluation.output(run.definition, run.context())
                if isinstance(ended, Failure):
                    return RunFailed(sequence=sequence, time=now, failure=ended)
                return RunSucceeded(sequence=sequence, time=now, output=ended)
            case Begin():
                return self._begun(run, command)
            case Perform():
                self._perform(run, command.step)
                return None
            case Interrupt():
                return self._interrupted(run)
            case Fail():
                return RunFailed(sequence=sequence, time=self._clock.now(), failure=command.failure)
            case Cancel():
                return RunCancelled(sequence=sequence, time=self._clock.now())
            case Rest():
                return None

    def _settled(self, run: ActiveRun, outcome: Outcome) -> RunEvent:
        now = self._clock.now()
        return settle(run.definition, run.state, outcome, time=now, jitter=self._jitter())

    def _begun(self, run: ActiveRun, command: Begin) -> RunEvent | None:
        """Return the event that begins an attempt, or None after setting a timer for it."""
        now = self._clock.now()
        if command.not_before is not None and command.not_before > now:
            self._set_timer(run, command.not_before - now)
            return None
        return AttemptStarted(
            sequence=run.state.sequence + 1,
            time=now,
            step=command.step.id,
            attempt=command.attempt,
        )

    def _set_timer(self, run: ActiveRun, delay: timedelta) -> None:
        if run.timer is not None:
            run.timer.cancel()
        run.timer = asyncio.get_running_loop().call_later(
            delay.total_seconds(), self._advance, run, context=Context()
        )

    def _perform(self, run: ActiveRun, step: Step) -> None:
        """Make the attempt at hand, once all that led to it is durable."""
        if run.task is None and run.durable == len(run.events):
            effect = Effect(
                run_id=run.id,
                owner=run.state.started.owner,
                key=effect_key(run.id, step.id),
                context=run.context(),
                datasets=run.state.datasets,
                timeout_s=step.timeout.total_seconds(),
            )
            # In an empty context: the deadline of the call that started the run is not the attempt's.
            run.task = asyncio.create_task(
                self._attempt(run, step, effect), name=f"{run.id}/{step.id}", context=Context()
            )

    async def _attempt(self, run: ActiveRun, step: Step, effect: Effect) -> None:
        try:
            async with self._effects:
                outcome = await self._attempts.make(step, effect)
        except asyncio.CancelledError:
            if run.dropped is not None:
                raise
            outcome = transient("RUN_CANCELLED", "the run was cancelled")
        run.task = None
        if run.dropped is None:
            self._advance(run, outcome)

    def _interrupted(self, run: ActiveRun) -> RunEvent | None:
        """Interrupt the attempt under way, once the wish to cancel is durable; without one, end the run."""
        if run.task is None:
            return RunCancelled(sequence=run.state.sequence + 1, time=self._clock.now())
        if run.durable == len(run.events):
            run.task.cancel()
        return None

    def _submit(self, runs: Sequence[ActiveRun]) -> None:
        """Hand every new event of these runs to the journal, to become durable together."""
        events = []
        ended = []
        handed = []
        for run in runs:
            events.extend(run.take_rows())
            if run.state.status.is_final:
                ended.append(ended_row(run.id, run.state, run.events[-1]))
            handed.append((run, run.submitted, run.state))
        self._journal.append(
            Submission(
                events=events,
                ended=ended,
                on_durable=partial(self._on_durable, handed),
                on_refused=partial(self._on_refused, runs),
                is_wanted=lambda: any(run.dropped is None for run in runs),
            )
        )

    def _on_durable(self, handed: Sequence[tuple[ActiveRun, int, RunState]]) -> None:
        for run, count, state in handed:
            run.made_durable(count, state)
            if state.status.is_final:
                self._retire(run)
            elif run.durable == len(run.events):
                self._ready.append(run)
        if len(self._ready) == 1:
            self._advance(self._ready.popleft())
        self._pump_soon()

    def _on_refused(self, runs: Sequence[ActiveRun], fault: Fault) -> None:
        for run in runs:
            self._drop(run, fault)

    def _retire(self, run: ActiveRun) -> None:
        self._active.pop(run.id, None)
        if run.timer is not None:
            run.timer.cancel()
        self._recent.add(run)
        log.debug("run.ended", run=run.id, state=run.state.status.value)

    def _drop(self, run: ActiveRun, error: Exception) -> None:
        """Give a run up here; it stays unfinished in the journal and is taken up at the next start."""
        log.error("run.dropped", run=run.id, exc_info=error)
        self._active.pop(run.id, None)
        if run.task is not None:
            run.task.cancel()
        if run.timer is not None:
            run.timer.cancel()
        if run.is_durable:
            self._recent.add(run)
        else:
            self._when_lost(run.state.started)
        run.drop(
            Unavailable("INTERNAL", f"run {run.id!r} cannot go on before a restart", run=run.id)
        )
