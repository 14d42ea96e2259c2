"""One attempt at a step with effects: for whom, for how long, and what its end means."""

from __future__ import annotations

import asyncio
from typing import assert_never

import grpc
import structlog

from chassis.clock import Clock
from chassis.faults import Fault, Unauthenticated
from workflow_service.actors import Actors
from workflow_service.definition import (
    Condition,
    HttpCall,
    InsertRows,
    QuerySql,
    Step,
    TransformExpression,
    TransformSql,
    UpsertRows,
)
from workflow_service.events import Failure, StepResult
from workflow_service.failures import failure_from_fault, is_outage, permanent, timeout, transient
from workflow_service.machine import Outcome
from workflow_service.steps.effect import Effect, StepRefused
from workflow_service.steps.http_call import HttpCaller
from workflow_service.steps.query import DatasetMaker
from workflow_service.steps.rows import RowWriter

log = structlog.get_logger()

# How long an attempt waits for neighbours that are away. A restart or an upgrade must cost a run nothing,
# least of all one of the attempts that its author counted; an outage longer than this is a failure.
PATIENCE_S = 15 * 60.0
_WAIT_FIRST_S = 0.1
_WAIT_MOST_S = 2.0


class Attempts:
    """Makes attempts; knows every kind of step with effects."""

    def __init__(
        self,
        *,
        actors: Actors,
        datasets: DatasetMaker,
        rows: RowWriter,
        http: HttpCaller,
        clock: Clock,
    ) -> None:
        self._actors = actors
        self._datasets = datasets
        self._rows = rows
        self._http = http
        self._clock = clock

    async def make(self, step: Step, effect: Effect) -> Outcome:
        """Return what became of the attempt; every error but cancellation is an outcome.

        The step's timeout bounds each go at it; waiting for a neighbour in between is not counted.
        """
        give_up_at = self._clock.monotonic() + PATIENCE_S
        wait_s = _WAIT_FIRST_S
        # Ends with an outcome, at the latest when patience does.
        while True:
            try:
                return await self._go(step, effect)
            except Fault as fault:
                if not is_outage(fault) or self._clock.monotonic() >= give_up_at:
                    return failure_from_fault(fault)
                if isinstance(fault, Unauthenticated):
                    self._actors.forget(effect.owner)
                log.info("step.waiting", run=effect.run_id, step=step.id, error=fault.message)
            except grpc.aio.AioRpcError as error:
                # Not one of our faults: a connection that broke in the middle says so in many ways.
                log.warning("step.rpc_broken", run=effect.run_id, step=step.id, error=str(error))
                return transient("NEIGHBOUR_UNAVAILABLE", "a neighbour's answer was cut off")
            except Exception:
                log.exception("step.bug", run=effect.run_id, step=step.id)
                return permanent("INTERNAL", "internal error; the log has it under the run's id")
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _WAIT_MOST_S)

    async def _go(self, step: Step, effect: Effect) -> StepResult | Failure:
        scope = asyncio.timeout(effect.timeout_s)
        try:
            async with scope:
                return await self._do(step, effect)
        except StepRefused as refused:
            return refused.failure
        except TimeoutError:
            if not scope.expired():
                raise
            return timeout(effect.timeout_s)

    async def _do(self, step: Step, effect: Effect) -> StepResult | Failure:
        kind = step.kind
        match kind:
            case QuerySql() | TransformSql():
                token = await self._actors.token(effect.owner)
                return await self._datasets.make(kind, effect, token)
            case InsertRows() | UpsertRows():
                token = await self._actors.token(effect.owner)
                return await self._rows.write(kind, effect, token)
            case HttpCall():
                # Asked for although nobody reads it: who lost access runs no more effects.
                await self._actors.token(effect.owner)
                return await self._http.call(kind, effect)
            case TransformExpression() | Condition():
                raise AssertionError(f"step {step.id} has no effect")
            case _:
                assert_never(kind)
