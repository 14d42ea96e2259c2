"""Starting runs: who may, with what input, and once for each request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from chassis.clock import Clock
from chassis.faults import FieldViolation, InvalidArgument, PermissionDenied
from chassis.identity import Principal, PrincipalKind
from workflow_service.active_run import ActiveRun
from workflow_service.definition import Definition
from workflow_service.engine import Engine
from workflow_service.journal import away
from workflow_service.payloads import depth, encode, utf8_bytes
from workflow_service.requests import StartRequests
from workflow_service.run_reader import RunReader
from workflow_service.runs import Run, check_input
from workflow_service.workflows import Workflows

# All inputs of one request, as JSON text: they have to fit into one commit, twice.
INPUT_BYTES_MAX = 2 * 1024 * 1024
# Deeper, and a client's protobuf could not parse the answer: its limit is 100, three a level.
INPUT_DEPTH_MAX = 24
# How long table_service may take to make a run durable before its client is told to come again.
ACCEPTANCE_S = 10.0
# A request with more mistakes is answered with the first of them.
VIOLATIONS_MAX = 100


class Starts:
    """Takes requests for runs to the engine."""

    def __init__(
        self,
        *,
        workflows: Workflows,
        engine: Engine,
        reader: RunReader,
        requests: StartRequests,
        clock: Clock,
    ) -> None:
        self._workflows = workflows
        self._engine = engine
        self._reader = reader
        self._requests = requests
        self._clock = clock

    async def start(
        self,
        caller: Principal,
        workflow: str,
        inputs: Mapping[str, Mapping[str, object]],
        *,
        request_id: str,
        digest: str,
    ) -> list[ActiveRun | Run]:
        """Return the runs of a request once they are durable, started now or by the same request before.

        `inputs` maps the path of each input in the request to the input; `digest` is of its content.

        Raises:
            PermissionDenied: ROLE_REQUIRED for a service: a run acts for a person.
            NotFound: WORKFLOW_NOT_FOUND.
            InvalidArgument: INPUT_INVALID.
            ResourceExhausted: TOO_MANY_RUNS.
            AlreadyExists: REQUEST_ID_REUSED.
            Unavailable: If table_service is away; the same request may come again.
        """
        if caller.kind is not PrincipalKind.PERSON:
            raise PermissionDenied(
                "ROLE_REQUIRED", "a run acts for a person, a service starts none", role="editor"
            )
        owner = caller.subject
        version = await self._workflows.get(workflow)
        # No await from here to the engine: of two equal requests, the second finds the first.
        if request_id:
            known = self._requests.find(owner, request_id, digest, self._clock.now())
            if known:
                return await self._known(caller, known)
        runs = self._engine.start(
            version.definition,
            version.version,
            owner=owner,
            inputs=_checked(version.definition, inputs),
            request_id=request_id,
            digest=digest,
        )
        # A run that was dropped at once has come to nothing.
        if request_id and all(run.dropped is None for run in runs):
            ids = [run.id for run in runs]
            self._requests.add(owner, request_id, digest, self._clock.now(), ids)
        await _accepted(runs)
        return list(runs)

    async def _known(self, caller: Principal, run_ids: Sequence[str]) -> list[ActiveRun | Run]:
        runs: list[ActiveRun | Run] = []
        for run_id in run_ids:
            pending = self._engine.pending(run_id)
            if pending is not None:
                await _accepted([pending])
            runs.append(await self._reader.find(caller, run_id))
        return runs


async def _accepted(runs: Sequence[ActiveRun]) -> None:
    """Return when the runs are durable.

    Raises:
        Unavailable: If they are not for long, though they may be later: the same request finds out.
        Fault: If they never will be.
    """
    try:
        async with asyncio.timeout(ACCEPTANCE_S):
            for run in runs:
                await run.accepted()
    except TimeoutError as error:
        raise away() from error


def _checked(
    definition: Definition, inputs: Mapping[str, Mapping[str, object]]
) -> list[Mapping[str, object]]:
    """Return the inputs with defaults filled in.

    Raises:
        InvalidArgument: INPUT_INVALID with everything that is wrong with all of them.
    """
    filled: list[Mapping[str, object]] = []
    violations: list[FieldViolation] = []
    size = 0
    for path, given in inputs.items():
        values, found = check_input(definition.inputs, given, path)
        violations.extend(found)
        if not found:
            size += utf8_bytes(encode(values))
            if depth(values) > INPUT_DEPTH_MAX:
                violations.append(_too(path, f"nests deeper than {INPUT_DEPTH_MAX}"))
            if size > INPUT_BYTES_MAX:
                violations.append(_too(path, f"makes the input more than {INPUT_BYTES_MAX} bytes"))
        filled.append(values)
        if len(violations) >= VIOLATIONS_MAX or size > INPUT_BYTES_MAX:
            break
    if violations:
        raise InvalidArgument(
            "INPUT_INVALID",
            violations[0].description,
            violations=tuple(violations[:VIOLATIONS_MAX]),
            workflow=definition.name,
        )
    return filled


def _too(path: str, what: str) -> FieldViolation:
    return FieldViolation(field=path, description=f"the input {what}", reason="INPUT_INVALID")
