"""How many runs of a three-step workflow of pure steps, and how long one takes."""

from __future__ import annotations

from pathlib import Path

import grpc
from google.protobuf import duration_pb2, struct_pb2

from bench.measurement import Measurement, percentile
from bench.traffic import calls_per_second, latencies_s
from flux.workflow.v1 import (
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)

DEFINITION = Path(__file__).parents[1] / "examples" / "three_steps.yaml"
WORKFLOW = "three_steps"
STEPS = 3
_BATCH = 250
_BATCHES_IN_FLIGHT = 4
_CALLERS = 64
_WAIT = duration_pb2.Duration(seconds=30)
Metadata = tuple[tuple[str, str], ...]


async def measure_runs(
    channel: grpc.aio.Channel, metadata: Metadata, *, seconds: float, commit_s: float, rpc_s: float
) -> list[Measurement]:
    """Return runs/s in batches and one by one, steps/s, and the latency of one run.

    Beside them stand what bare DuckDB commits a second, and what one commit and one empty call take.
    """
    await workflow_service_pb2_grpc.WorkflowServiceStub(channel).CreateWorkflow(
        workflow_service_pb2.CreateWorkflowRequest(source=DEFINITION.read_text(encoding="utf-8")),
        metadata=metadata,
    )
    client = _Client(run_service_pb2_grpc.RunServiceStub(channel), metadata)
    in_batches = await calls_per_second(client.batch, in_flight=_BATCHES_IN_FLIGHT, seconds=seconds)
    each = await calls_per_second(client.one, in_flight=_CALLERS, seconds=seconds)
    taken_ms = [1000 * taken for taken in await latencies_s(client.one, count=300)]
    rates = {
        "runs_per_s_batch": (in_batches, "runs/s"),
        "steps_per_s_batch": (STEPS * in_batches, "steps/s"),
        "runs_per_s_each": (each, "runs/s"),
    }
    return [
        Measurement(
            metric=metric,
            value=value,
            unit=unit,
            baseline=1 / commit_s,
            baseline_name="bare DuckDB: commits/s, one row each, one at a time",
        )
        for metric, (value, unit) in rates.items()
    ] + [
        Measurement(
            metric=f"run_p{percent}_ms",
            value=percentile(taken_ms, percent),
            unit="ms",
            baseline=1000 * (commit_s + rpc_s),
            baseline_name="one bare DuckDB commit and one empty RPC",
        )
        for percent in (50, 95)
    ]


class _Client:
    """Starts runs and waits for them."""

    def __init__(self, runs: run_service_pb2_grpc.RunServiceAsyncStub, metadata: Metadata) -> None:
        self._runs = runs
        self._metadata = metadata
        given = struct_pb2.Struct()
        given.update({"n": 7})
        self._batch = run_service_pb2.BatchStartRunsRequest(
            workflow=WORKFLOW, inputs=[given] * _BATCH, wait=_WAIT
        )
        self._one = run_service_pb2.StartRunRequest(workflow=WORKFLOW, input=given, wait=_WAIT)

    async def batch(self) -> int:
        answer = await self._runs.BatchStartRuns(self._batch, metadata=self._metadata)
        return sum(_succeeded(run) for run in answer.runs)

    async def one(self) -> int:
        answer = await self._runs.StartRun(self._one, metadata=self._metadata)
        return _succeeded(answer.run)


def _succeeded(run: run_pb2.Run) -> int:
    """Return 1 for a run that is done; anything else makes the figure a lie.

    Raises:
        RuntimeError: If the run has not succeeded.
    """
    if run.state != run_pb2.Run.STATE_SUCCEEDED:
        raise RuntimeError(f"run {run.id} is {run_pb2.Run.State.Name(run.state)}: {run.failure}")
    return 1
