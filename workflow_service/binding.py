"""Holds a definition against the tables there are: every statement bound, every action's rows fitted.

Asks table_service as the person who describes the workflow, so that it answers with what they may see.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from chassis.client import Peer
from chassis.faults import Fault, FieldViolation, InvalidArgument, NotFound, PermissionDenied
from flux.table.v1 import (
    query_service_pb2,
    query_service_pb2_grpc,
    table_pb2,
    table_service_pb2,
    table_service_pb2_grpc,
)
from workflow_service.assignment import Column, ColumnKind, TableShape, check_rows
from workflow_service.definition import (
    Definition,
    FromStep,
    InsertRows,
    QuerySql,
    TransformSql,
    UpsertRows,
)
from workflow_service.diagnostics import Reason, diagnostic, keyed
from workflow_service.references import PlacedStep, action_path, makes_dataset, placed_steps

# What they say of a statement or a table is wrong with the definition; any other fault is the call's own.
_ABOUT_DEFINITION = (InvalidArgument, NotFound, PermissionDenied)
_QUERY_LIMIT = "QUERY_LIMIT"
_WORD = re.compile(r"[a-z_][a-z0-9_]*")

Columns = tuple[table_pb2.Column, ...]


class TableReader:
    """What one person sees of table_service; `token` is theirs, or one to act for them with."""

    def __init__(self, *, peer: Peer, token: str) -> None:
        self._peer = peer
        self._token = token
        self._queries = query_service_pb2_grpc.QueryServiceStub(peer.channel)
        self._tables = table_service_pb2_grpc.TableServiceStub(peer.channel)
        self._seen: dict[str, table_pb2.Table | Fault] = {}

    async def describe(
        self, sql: str, parameter_names: Iterable[str], relations: Mapping[str, Columns]
    ) -> query_service_pb2.DescribeQueryResponse:
        """Return the columns that a statement would have over tables and `relations`.

        Raises:
            Fault: What table_service has against the statement.
        """
        kinds = query_service_pb2.DescribeQueryRequest
        request = kinds(
            sql=sql,
            parameter_names=sorted(parameter_names),
            relations={
                name: kinds.Relation(columns=columns) for name, columns in relations.items()
            },
        )
        return await self._peer.call(self._queries.DescribeQuery, request, token=self._token)

    async def table(self, name: str) -> table_pb2.Table:
        """Return a table; asked for once only, so that one definition is held against one schema.

        Raises:
            NotFound: TABLE_NOT_FOUND.
            PermissionDenied: NAMESPACE_CLOSED.
        """
        if name not in self._seen:
            request = table_service_pb2.GetTableRequest(table=name)
            try:
                answer = await self._peer.call(self._tables.GetTable, request, token=self._token)
                self._seen[name] = answer.table
            except _ABOUT_DEFINITION as fault:
                self._seen[name] = fault
        seen = self._seen[name]
        if isinstance(seen, Fault):
            raise seen
        return seen


async def bind(definition: Definition, tables: TableReader) -> list[FieldViolation]:
    """Return what is wrong with the SQL and the table actions of a definition.

    Raises:
        Fault: If table_service cannot answer.
    """
    binder = _Binder(definition, tables)
    for place in placed_steps(definition):
        match place.step.kind:
            case QuerySql():
                await binder.bind_sql(place, place.step.kind, f"{place.path}.query")
            case TransformSql():
                await binder.bind_sql(place, place.step.kind, f"{place.path}.transform")
            case InsertRows() | UpsertRows():
                await binder.bind_rows(place, place.step.kind)
            case _:
                pass
    return binder.found


class _Binder:
    """Goes through the steps in order: what one makes, the next can read."""

    def __init__(self, definition: Definition, tables: TableReader) -> None:
        self._tables = tables
        self._makers = {
            place.step.id for place in placed_steps(definition) if makes_dataset(place.step.kind)
        }
        # By step; those whose SQL is wrong are missing.
        self._columns: dict[str, Columns] = {}
        self.found: list[FieldViolation] = []

    async def bind_sql(self, place: PlacedStep, kind: QuerySql | TransformSql, path: str) -> None:
        words = set(_WORD.findall(kind.sql.lower()))
        named = [
            id_ for id_, step in place.certain.items() if id_ in words and makes_dataset(step.kind)
        ]
        if any(id_ not in self._columns for id_ in named):
            # What it reads is wrong already; what it would make of that nobody can say.
            return
        relations = {id_: self._columns[id_] for id_ in named}
        try:
            answer = await self._described(kind, path, relations)
        except Fault as fault:
            self._note(f"{path}.sql", fault, place)
            return
        self._columns[place.step.id] = tuple(answer.columns)
        await self._note_ambiguous(answer, f"{path}.sql")

    async def bind_rows(self, place: PlacedStep, kind: InsertRows | UpsertRows) -> None:
        path = action_path(kind, place.path)
        try:
            table = await self._tables.table(kind.table)
        except Fault as fault:
            self._note(f"{path}.table", fault, place)
            return
        dataset: Columns = ()
        if isinstance(kind.source, FromStep):
            if kind.source.step not in place.certain or kind.source.step not in self._columns:
                # Said already: no such dataset here, or one whose SQL is wrong.
                return
            dataset = self._columns[kind.source.step]
        self.found.extend(check_rows(kind, path, _shape(kind.table, table), _columns(dataset)))

    def _note(self, path: str, fault: Fault, place: PlacedStep) -> None:
        """Note what a fault says of the definition; raise it again if it says nothing of it."""
        if not isinstance(fault, _ABOUT_DEFINITION) and fault.reason != _QUERY_LIMIT:
            raise fault
        message = fault.message
        name = fault.metadata.get("table", "")
        if fault.reason == "TABLE_NOT_FOUND" and name in self._makers - place.certain.keys():
            how = "runs in some runs only" if name in place.sometimes else "is not done yet here"
            message = f"{message}, and the step of that name {how}"
        self.found.append(diagnostic(path, fault.reason, message))

    async def _described(
        self, kind: QuerySql | TransformSql, path: str, relations: Mapping[str, Columns]
    ) -> query_service_pb2.DescribeQueryResponse:
        """Describe a statement; if only its parameters are wrong, note that and look at the rest of it."""
        try:
            return await self._tables.describe(kind.sql, kind.parameters, relations)
        except InvalidArgument as fault:
            missing, unused = (_listed(fault.metadata.get(name)) for name in ("missing", "unused"))
            if not missing and not unused:
                raise
        for name in kind.parameters:
            if name.lower() in unused:
                where = keyed(f"{path}.parameters", name)
                text = f"the SQL has no ${name}"
                self.found.append(diagnostic(where, Reason.PARAMETER_UNUSED, text))
        for name in sorted(missing):
            text = f"${name} is not among the parameters"
            self.found.append(diagnostic(f"{path}.sql", Reason.PARAMETER_MISSING, text))
        used = {name.lower() for name in kind.parameters} - unused | missing
        return await self._tables.describe(kind.sql, used, relations)

    async def _note_ambiguous(
        self, answer: query_service_pb2.DescribeQueryResponse, path: str
    ) -> None:
        # A table of a dataset's name that is no relation here: in some run, the dataset would be read.
        both = [name for name in answer.tables if name in self._makers]
        both.extend([name for name in answer.relations if await self._is_table(name)])
        for name in both:
            text = (
                f"{name!r} is both a table and the dataset of a step: call the step something else"
            )
            self.found.append(diagnostic(path, Reason.NAME_AMBIGUOUS, text))

    async def _is_table(self, name: str) -> bool:
        try:
            await self._tables.table(name)
        except (NotFound, PermissionDenied):
            return False
        return True


def _listed(names: str | None) -> set[str]:
    return set(names.split(", ")) if names else set()


def _shape(name: str, table: table_pb2.Table) -> TableShape:
    return TableShape(
        name=name,
        columns=_columns(table.columns),
        unique_keys=tuple(tuple(key.columns) for key in table.unique_keys),
    )


def _columns(columns: Iterable[table_pb2.Column]) -> tuple[Column, ...]:
    return tuple(
        Column(
            name=column.name,
            kind=ColumnKind(table_pb2.Type.Kind.Name(column.type.kind).removeprefix("KIND_")),
            not_null=column.not_null,
            scale=column.type.scale,
            default=column.HasField("default"),
        )
        for column in columns
    )
