"""WorkflowService over the wire, with real auth_service and table_service behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from chassis.client import Peer
from chassis.clock import SystemClock
from chassis.faults import AlreadyExists, InvalidArgument, NotFound, PermissionDenied
from chassis.tables import Tables
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from flux.workflow.v1 import workflow_service_pb2 as messages
from flux.workflow.v1 import workflow_service_pb2_grpc
from tests.support.definitions import environment, message
from tests.support.harness import Stack, open_stack
from workflow_service.workflow_store import WorkflowStore
from workflow_service.workflows import Workflows

pytestmark = pytest.mark.asyncio(loop_scope="module")

THREE_STEPS = (Path(__file__).parents[2] / "examples" / "three_steps.yaml").read_text("utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The services, and WorkflowService as an editor calls it."""

    stack: Stack
    peer: Peer
    stub: workflow_service_pb2_grpc.WorkflowServiceAsyncStub

    async def service_token(self) -> str:
        peer = self.stack.peer(self.stack.auth)
        secret = self.stack.secrets.workflow.read_text("utf-8").strip()
        stub = auth_service_pb2_grpc.AuthServiceStub(peer.channel)
        request = auth_service_pb2.IssueServiceTokenRequest(
            client_id="workflow", client_secret=secret
        )
        return (await peer.call(stub.IssueServiceToken, request)).access_token

    async def create(self, source: str) -> messages.CreateWorkflowResponse:
        request = messages.CreateWorkflowRequest(source=source)
        return await self.peer.call(self.stub.CreateWorkflow, request)

    async def get(self, name: str, version: int = 0) -> messages.GetWorkflowResponse:
        request = messages.GetWorkflowRequest(name=name, version=version)
        return await self.peer.call(self.stub.GetWorkflow, request)

    async def page(self, size: int = 0, token: str = "") -> messages.ListWorkflowsResponse:
        request = messages.ListWorkflowsRequest(page_size=size, page_token=token)
        return await self.peer.call(self.stub.ListWorkflows, request)

    async def validate(self, source: str) -> list[tuple[str, str, str]]:
        request = messages.ValidateWorkflowRequest(source=source)
        answer = await self.peer.call(self.stub.ValidateWorkflow, request)
        return [(found.path, found.reason, found.message) for found in answer.diagnostics]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with open_stack(tmp_path_factory.mktemp("workflows"), with_workflow=True) as stack:
        peer = stack.peer(stack.workflow, await stack.register("ada"))
        stub = workflow_service_pb2_grpc.WorkflowServiceStub(peer.channel)
        yield World(stack=stack, peer=peer, stub=stub)


def named(name: str, expression: str = "1") -> str:
    return f"name: {name}\nsteps:\n- id: a\n  transform:\n    expression: '{expression}'\n"


async def test_a_workflow_is_created_once_and_read_back(world: World) -> None:
    first = (await world.create(THREE_STEPS)).workflow
    assert (first.name, first.version) == ("three_steps", 1)
    assert first.definition == message(THREE_STEPS)
    assert first.owner.startswith("usr_")
    again = (await world.create(THREE_STEPS)).workflow
    assert again == first
    request = messages.CreateWorkflowRequest(definition=first.definition)
    assert (await world.peer.call(world.stub.CreateWorkflow, request)).workflow == first
    assert (await world.get("three_steps")).workflow == first
    assert (await world.get("three_steps", 1)).workflow == first


async def test_a_name_that_stands_for_another_definition_is_taken(world: World) -> None:
    await world.create(named("taken"))
    with pytest.raises(AlreadyExists) as refused:
        await world.create(named("taken", "2"))
    assert refused.value.reason == "WORKFLOW_EXISTS"
    assert refused.value.metadata["workflow"] == "taken"


async def test_of_many_at_once_one_creates_and_all_see_it(world: World) -> None:
    answers = await asyncio.gather(*(world.create(named("raced")) for _ in range(8)))
    assert {answer.workflow.version for answer in answers} == {1}
    times = {answer.workflow.create_time.ToNanoseconds() for answer in answers}
    assert len(times) == 1
    different = await asyncio.gather(
        *(world.create(named("raced_too", str(index))) for index in range(8)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, AlreadyExists) for answer in different) == 7
    assert sum(isinstance(answer, messages.CreateWorkflowResponse) for answer in different) == 1


async def test_what_does_not_exist_is_not_found(world: World) -> None:
    for name, version in (("nothing", 0), ("three_steps", 99)):
        with pytest.raises(NotFound) as refused:
            await world.get(name, version)
        assert refused.value.reason == "WORKFLOW_NOT_FOUND"


async def test_a_wrong_definition_is_refused_with_every_error(world: World) -> None:
    text = (
        "name: wrong\nsteps:\n- id: a\n  query:\n    sql: SELECT 1 FROM nothing\n"
        "- id: b\n  transform:\n    expression: steps.x.value\n"
        "- id: c\n  transform:\n    expression: 1 +\n"
    )
    with pytest.raises(InvalidArgument) as refused:
        await world.create(text)
    assert refused.value.reason == "DEFINITION_INVALID"
    found = {(v.field, v.reason): v.description for v in refused.value.violations}
    assert found.keys() == {
        ("definition.steps[0].query.sql", "TABLE_NOT_FOUND"),
        ("definition.steps[1].transform.expression", "STEP_UNKNOWN"),
        ("definition.steps[2].transform.expression", "EXPRESSION_INVALID"),
    }
    assert found["definition.steps[0].query.sql", "TABLE_NOT_FOUND"].startswith("line 5: ")
    with pytest.raises(NotFound):
        await world.get("wrong")
    assert {(path, reason) for path, reason, _ in await world.validate(text)} == found.keys()


async def test_source_that_is_no_definition_is_told_with_its_line(world: World) -> None:
    assert await world.validate("name: w\nsteps: *x") == [
        ("definition", "SOURCE_INVALID", "line 2: aliases (*name) are not allowed")
    ]
    with pytest.raises(InvalidArgument, match="line 2: "):
        await world.create("name: w\nsteps: *x")
    [(path, reason, text)] = await world.validate(
        "name: W\nsteps: [{id: a, transform: {expression: '1'}}]"
    )
    assert (path, reason) == ("definition.name", "string.pattern")
    assert text.startswith("line 1: ")


async def test_validating_stores_nothing(world: World) -> None:
    assert await world.validate(named("only_validated")) == []
    with pytest.raises(NotFound):
        await world.get("only_validated")


async def test_a_message_past_the_contracts_limits_is_refused_at_the_door(world: World) -> None:
    request = messages.ValidateWorkflowRequest(definition=message(named("w")))
    request.definition.steps[0].id = "Upper"
    with pytest.raises(InvalidArgument) as refused:
        await world.peer.call(world.stub.ValidateWorkflow, request)
    assert [v.field for v in refused.value.violations] == ["definition.steps[0].id"]


async def test_pages_go_by_name_and_hold_every_workflow_once(world: World) -> None:
    for index in (2, 0, 1, 3):
        await world.create(named(f"paged_{index}"))
    names: list[str] = []
    token = ""
    while True:
        answer = await world.page(2, token)
        assert len(answer.workflows) <= 2
        names.extend(workflow.name for workflow in answer.workflows)
        token = answer.next_page_token
        if not token:
            break
    assert names == sorted(set(names))
    assert [name for name in names if name.startswith("paged_")] == [
        f"paged_{index}" for index in range(4)
    ]
    whole = await world.page()
    assert [workflow.name for workflow in whole.workflows] == names
    with pytest.raises(InvalidArgument) as refused:
        await world.page(2, "bm9wZQ")
    assert refused.value.reason == "PAGE_TOKEN_INVALID"


async def test_a_page_of_large_workflows_ends_early_and_misses_none(world: World) -> None:
    for index in range(4):
        text = f"name: large_{index}\nsteps:\n- id: a\n  transform: {{expression: '1'}}\n"
        text += "".join(
            f"- {{id: s{step}, description: {'x' * 1900}, transform: {{expression: '1'}}}}\n"
            for step in range(450)
        )
        await world.create(text)
    names: list[str] = []
    answer = await world.page(1000)
    assert answer.next_page_token
    while True:
        names.extend(workflow.name for workflow in answer.workflows)
        if not answer.next_page_token:
            break
        answer = await world.page(1000, answer.next_page_token)
    assert [name for name in names if name.startswith("large_")] == [
        f"large_{index}" for index in range(4)
    ]


async def test_only_people_describe_workflows_and_viewers_may_look(world: World) -> None:
    service = world.stack.peer(world.stack.workflow, await world.service_token())
    stub = workflow_service_pb2_grpc.WorkflowServiceStub(service.channel)
    with pytest.raises(PermissionDenied) as refused:
        await service.call(stub.CreateWorkflow, messages.CreateWorkflowRequest(source="name: w"))
    assert refused.value.reason == "ROLE_REQUIRED"
    await world.create(THREE_STEPS)
    await service.call(stub.GetWorkflow, messages.GetWorkflowRequest(name="three_steps"))


async def test_a_workflow_is_kept_compiled_and_let_go_when_others_are_wanted(
    world: World,
) -> None:
    for name in ("kept_a", "kept_b", "kept_c"):
        await world.create(named(name))
    peer = world.stack.peer(world.stack.table, await world.service_token())
    store = WorkflowStore(peer=peer, tables=Tables(peer, "workflow"))
    workflows = Workflows(
        store=store, environment=environment(), clock=SystemClock(), compiled_max=2
    )
    with pytest.raises(NotFound, match="no workflow 'nothing'"):
        await workflows.get("nothing")
    first = await workflows.get("kept_a")
    assert first.definition.steps[0].id == "a"
    assert await workflows.get("kept_a") is first
    assert await workflows.get("kept_a", 1) is first
    await workflows.get("kept_b")
    assert await workflows.get("kept_a") is first
    await workflows.get("kept_c")
    assert await workflows.get("kept_a") is first
    assert (await workflows.get("kept_b")).name == "kept_b"
