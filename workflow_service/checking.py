"""Everything that can be said of a definition before it runs, in one pass."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from chassis.client import Peer
from chassis.faults import FieldViolation
from chassis.interceptors.validation import Validation
from flux.workflow.v1 import workflow_pb2
from workflow_service.actors import Actors
from workflow_service.binding import TableReader, bind
from workflow_service.definition_source import Source, read_source
from workflow_service.definition_wire import Compilation, compile_definition, size_mistakes, to_text
from workflow_service.diagnostics import DIAGNOSTICS_MAX, with_lines
from workflow_service.expressions import Environment
from workflow_service.references import check_references


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A definition not checked yet: as a message, as the text it would be stored as, and where it says what.

    If there are `violations`, of its form or of the contract's limits, the rest means nothing.
    """

    definition: workflow_pb2.Definition
    text: str
    lines: Mapping[str, int]
    violations: tuple[FieldViolation, ...]


class DefinitionChecker:
    """Checks definitions as the person who describes them; `table` is table_service."""

    def __init__(self, *, environment: Environment, table: Peer, actors: Actors) -> None:
        self._environment = environment
        self._validation = Validation()
        self._table = table
        self._actors = actors

    async def read(self, content: str | workflow_pb2.Definition) -> Draft:
        """Return what is described, by source text or by a message that keeps the contract's limits."""
        # In a thread, as all work here that a hostile definition can make long.
        return await asyncio.to_thread(_draft, content, self._validation)

    async def check(self, draft: Draft, person_id: str) -> tuple[FieldViolation, ...]:
        """Return what is wrong with the definition of a draft that has no violations.

        Raises:
            Fault: If a neighbour cannot answer.
        """
        compilation, found = await asyncio.to_thread(_compiled, draft.definition, self._environment)
        token = await self._actors.token(person_id)
        reader = TableReader(peer=self._table, token=token)
        bound = await bind(compilation.definition, reader)
        return _told((*compilation.diagnostics, *found, *bound), draft.lines)


def _draft(content: str | workflow_pb2.Definition, validation: Validation) -> Draft:
    if isinstance(content, str):
        source = read_source(content, validation)
    else:
        source = Source(definition=content, violations=(), lines={})
    violations = source.violations or size_mistakes(source.definition)
    return Draft(
        definition=source.definition,
        text="" if violations else to_text(source.definition),
        lines=source.lines,
        violations=_told(violations, source.lines),
    )


def _compiled(
    message: workflow_pb2.Definition, environment: Environment
) -> tuple[Compilation, list[FieldViolation]]:
    compilation = compile_definition(message, environment)
    return compilation, check_references(compilation.definition)


def _told(
    found: tuple[FieldViolation, ...], lines: Mapping[str, int]
) -> tuple[FieldViolation, ...]:
    return with_lines(found[:DIAGNOSTICS_MAX], lines)
