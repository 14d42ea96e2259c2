"""Workflows and diagnostics as the contract's messages."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import timestamp_pb2

from chassis.faults import FieldViolation
from flux.workflow.v1 import workflow_pb2, workflow_service_pb2
from workflow_service.definition_wire import from_text
from workflow_service.workflow_store import StoredWorkflow


def workflow_message(workflow: StoredWorkflow) -> workflow_pb2.Workflow:
    """Return a stored version as it travels."""
    create_time = timestamp_pb2.Timestamp()
    create_time.FromDatetime(workflow.create_time)
    return workflow_pb2.Workflow(
        name=workflow.name,
        version=workflow.version,
        definition=from_text(workflow.text),
        owner=workflow.owner,
        create_time=create_time,
    )


def diagnostic_messages(
    found: Iterable[FieldViolation],
) -> list[workflow_service_pb2.Diagnostic]:
    """Return diagnostics as they travel in an answer that is no error."""
    return [
        workflow_service_pb2.Diagnostic(path=one.field, reason=one.reason, message=one.description)
        for one in found
    ]
