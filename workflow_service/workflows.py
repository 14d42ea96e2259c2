"""Workflows by name: making them once, finding them, and keeping the compiled ones at hand."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from chassis.clock import Clock
from chassis.faults import AlreadyExists, FailedPrecondition, NotFound
from workflow_service.definition import Definition
from workflow_service.definition_wire import compile_definition, from_text
from workflow_service.expressions import Environment
from workflow_service.workflow_store import StoredWorkflow, WorkflowStore

COMPILED_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowVersion:
    """One version, ready to run."""

    name: str
    version: int
    definition: Definition


class Workflows:
    """All workflows; the last `compiled_max` versions that were asked for are kept compiled.

    What the latest version of a name is, is kept too: no other process makes versions.
    """

    def __init__(
        self,
        *,
        store: WorkflowStore,
        environment: Environment,
        clock: Clock,
        compiled_max: int = COMPILED_MAX,
    ) -> None:
        self._store = store
        self._environment = environment
        self._clock = clock
        self._compiled_max = compiled_max
        self._compiled: OrderedDict[tuple[str, int], WorkflowVersion] = OrderedDict()
        self._latest: dict[str, int] = {}

    async def prepare(self) -> None:
        """Create the tables that are missing, waiting for table_service."""
        await self._store.prepare()

    async def get(self, name: str, version: int = 0) -> WorkflowVersion:
        """Return a version compiled, the latest for 0; without I/O if it was asked for lately.

        Raises:
            NotFound: WORKFLOW_NOT_FOUND.
            FailedPrecondition: DEFINITION_INVALID if this release does not take what an older one took.
        """
        key = (name, version or self._latest.get(name, 0))
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = await self._compile(await self.stored(name, version))
            self._keep(compiled, is_latest=not version)
        else:
            self._compiled.move_to_end(key)
        return compiled

    async def stored(self, name: str, version: int = 0) -> StoredWorkflow:
        """Return a version as it is stored, the latest for 0.

        Raises:
            NotFound: WORKFLOW_NOT_FOUND.
        """
        found = await self._store.find(name, version)
        if found is None:
            what = f"no version {version} of workflow" if version else "no workflow"
            raise NotFound("WORKFLOW_NOT_FOUND", f"{what} {name!r}", workflow=name, version=version)
        return found

    async def same(self, name: str, text: str) -> StoredWorkflow | None:
        """Return the workflow called `name` if its definition is `text`, None if there is no such name.

        Raises:
            AlreadyExists: WORKFLOW_EXISTS if the name stands for another definition.
        """
        found = await self._store.find(name)
        if found is not None and found.digest != _digest(text):
            raise AlreadyExists(
                "WORKFLOW_EXISTS",
                f"workflow {name!r} exists with another definition",
                workflow=name,
                version=found.version,
            )
        return found

    async def create(self, name: str, text: str, owner: str) -> StoredWorkflow:
        """Store the first version of a workflow whose definition was checked, or return the stored one.

        Of several at once, one stores it; the others see what it stored.

        Raises:
            AlreadyExists: WORKFLOW_EXISTS if the name stands for another definition.
        """
        workflow = StoredWorkflow(
            name=name,
            version=1,
            text=text,
            digest=_digest(text),
            owner=owner,
            create_time=self._clock.now(),
        )
        try:
            await self._store.insert(workflow)
        except AlreadyExists:
            found = await self.same(name, text)
            assert found is not None, "versions are never deleted"
            return found
        return workflow

    async def page(self, after: str, limit: int) -> tuple[list[StoredWorkflow], bool]:
        """Return latest versions by name from past the name `after`, and whether there are more."""
        return await self._store.page(after, limit)

    async def _compile(self, stored: StoredWorkflow) -> WorkflowVersion:
        # In a thread: a large definition takes a second, and the loop has runs to serve.
        compilation = await asyncio.to_thread(
            compile_definition, from_text(stored.text), self._environment
        )
        if compilation.diagnostics:
            first = compilation.diagnostics[0]
            raise FailedPrecondition(
                "DEFINITION_INVALID",
                f"version {stored.version} of workflow {stored.name!r} does not compile any more: "
                f"{first.field}: {first.description}",
                workflow=stored.name,
                version=stored.version,
            )
        return WorkflowVersion(
            name=stored.name, version=stored.version, definition=compilation.definition
        )

    def _keep(self, compiled: WorkflowVersion, *, is_latest: bool) -> None:
        self._compiled[(compiled.name, compiled.version)] = compiled
        self._compiled.move_to_end((compiled.name, compiled.version))
        if is_latest:
            self._latest[compiled.name] = compiled.version
        if len(self._compiled) > self._compiled_max:
            (name, version), _ = self._compiled.popitem(last=False)
            if self._latest.get(name) == version:
                del self._latest[name]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
