"""flux.workflow.v1.WorkflowService: parse, call, wrap."""

from __future__ import annotations

import asyncio

import grpc

from chassis.faults import FieldViolation, PermissionDenied, Unavailable
from chassis.identity import PrincipalKind, current_principal
from chassis.paging import decode_token, encode_token, page_size
from flux.workflow.v1 import workflow_service_pb2 as messages
from flux.workflow.v1 import workflow_service_pb2_grpc
from workflow_service.checking import DefinitionChecker
from workflow_service.diagnostics import refusal
from workflow_service.workflow_wire import diagnostic_messages, workflow_message
from workflow_service.workflows import Workflows

Context = grpc.aio.ServicerContext[object, object]

_LIST = b"flux.workflow.v1.WorkflowService/ListWorkflows"


class WorkflowServicer(workflow_service_pb2_grpc.WorkflowServiceServicer):
    """Refuses every call until `ready` is set, which is when the tables are there."""

    def __init__(
        self, *, workflows: Workflows, checker: DefinitionChecker, ready: asyncio.Event
    ) -> None:
        self._workflows = workflows
        self._checker = checker
        self._ready = ready

    async def CreateWorkflow(  # the contract's name, as are those below
        self, request: messages.CreateWorkflowRequest, context: Context
    ) -> messages.CreateWorkflowResponse:
        """Check a definition and store it."""
        person_id = self._person_id("CreateWorkflow")
        draft = await self._checker.read(
            request.source if request.HasField("source") else request.definition
        )
        _refuse(draft.violations)
        name, text = draft.definition.name, draft.text
        stored = await self._workflows.same(name, text)
        if stored is None:
            _refuse(await self._checker.check(draft, person_id))
            stored = await self._workflows.create(name, text, person_id)
        return messages.CreateWorkflowResponse(workflow=workflow_message(stored))

    async def GetWorkflow(
        self, request: messages.GetWorkflowRequest, context: Context
    ) -> messages.GetWorkflowResponse:
        """Return one version."""
        self._check_ready()
        stored = await self._workflows.stored(request.name, request.version)
        return messages.GetWorkflowResponse(workflow=workflow_message(stored))

    async def ListWorkflows(
        self, request: messages.ListWorkflowsRequest, context: Context
    ) -> messages.ListWorkflowsResponse:
        """Return a page of latest versions."""
        self._check_ready()
        after = decode_token(request.page_token, _LIST)
        found, more = await self._workflows.page(after, page_size(request.page_size))
        return messages.ListWorkflowsResponse(
            workflows=map(workflow_message, found),
            next_page_token=encode_token(found[-1].name, _LIST) if more else "",
        )

    async def ValidateWorkflow(
        self, request: messages.ValidateWorkflowRequest, context: Context
    ) -> messages.ValidateWorkflowResponse:
        """Check a definition and answer with what was found."""
        person_id = self._person_id("ValidateWorkflow")
        draft = await self._checker.read(
            request.source if request.HasField("source") else request.definition
        )
        found = draft.violations
        if not found:
            found = await self._checker.check(draft, person_id)
        return messages.ValidateWorkflowResponse(diagnostics=diagnostic_messages(found))

    def _person_id(self, method: str) -> str:
        """Return the caller, who must be a person: their rights decide what a workflow may read.

        Raises:
            PermissionDenied: ROLE_REQUIRED if it is a service for itself.
        """
        self._check_ready()
        caller = current_principal()
        if caller.kind is not PrincipalKind.PERSON:
            raise PermissionDenied("ROLE_REQUIRED", f"{method} is for people", method=method)
        return caller.subject

    def _check_ready(self) -> None:
        if not self._ready.is_set():
            raise Unavailable(
                "NEIGHBOUR_UNAVAILABLE",
                "workflow_service waits for table_service",
                neighbour="table_service",
            )


def _refuse(found: tuple[FieldViolation, ...]) -> None:
    if found:
        raise refusal(found)
