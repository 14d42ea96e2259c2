"""The versions of workflows as table_service keeps them, one row a version that never changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from chassis.client import Peer
from chassis.tables import ColumnKind, ColumnSpec, Insert, Tables, TableSpec
from chassis.values import from_value, to_value
from flux.table.v1 import query_service_pb2, query_service_pb2_grpc, rows_pb2

WORKFLOWS = TableSpec(
    name="workflows",
    description="The versions of workflows; `definition` is JSON, `digest` the SHA-256 of it.",
    columns=(
        ColumnSpec(name="name", kind=ColumnKind.KIND_STRING),
        ColumnSpec(name="version", kind=ColumnKind.KIND_INT64),
        ColumnSpec(name="definition", kind=ColumnKind.KIND_STRING),
        ColumnSpec(name="digest", kind=ColumnKind.KIND_STRING),
        ColumnSpec(name="owner", kind=ColumnKind.KIND_STRING),
        ColumnSpec(name="create_time", kind=ColumnKind.KIND_TIMESTAMP),
    ),
    unique_keys=(("name", "version"),),
)
_COLUMNS = ("name", "version", "definition", "digest", "owner", "create_time")
# A page of large definitions ends early, so that it fits into one message with room to spare.
PAGE_CHARS_MAX = 2 * 1024 * 1024

_FROM = f"SELECT {', '.join(_COLUMNS)} FROM workflow.workflows"  # noqa: S608  # constants only
_LATEST = f"{_FROM} WHERE name = $name ORDER BY version DESC LIMIT 1"
_VERSION = f"{_FROM} WHERE name = $name AND version = $version"
_LATEST_OF_EACH = (
    " FROM workflow.workflows AS w"
    " JOIN (SELECT name, max(version) AS version FROM workflow.workflows"
    " WHERE name > $after GROUP BY name) AS latest"
    " ON w.name = latest.name AND w.version = latest.version"
)
_SIZES = f"SELECT w.name, length(w.definition){_LATEST_OF_EACH} ORDER BY w.name"
_PAGE = (
    f"SELECT {', '.join('w.' + column for column in _COLUMNS)}{_LATEST_OF_EACH}"
    " WHERE w.name <= $last ORDER BY w.name"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWorkflow:
    """One version; `text` is its definition as JSON, `digest` the SHA-256 of that in hexadecimal."""

    name: str
    version: int
    text: str
    digest: str
    owner: str
    create_time: datetime


class WorkflowStore:
    """Reads and writes versions; `peer` is table_service as this service itself."""

    def __init__(self, *, peer: Peer, tables: Tables) -> None:
        self._peer = peer
        self._query = query_service_pb2_grpc.QueryServiceStub(peer.channel).Query
        self._tables = tables

    async def prepare(self) -> None:
        """Create what is missing, waiting for table_service."""
        await self._tables.prepare((WORKFLOWS,))

    async def find(self, name: str, version: int = 0) -> StoredWorkflow | None:
        """Return one version, the latest for 0, or None if there is none."""
        if version:
            found = await self._rows(_VERSION, {"name": name, "version": version})
        else:
            found = await self._rows(_LATEST, {"name": name})
        return _stored(found[0]) if found else None

    async def insert(self, workflow: StoredWorkflow) -> None:
        """Store a new version.

        Raises:
            AlreadyExists: DUPLICATE_KEY if that version is there, by whomever.
        """
        row = (
            workflow.name,
            workflow.version,
            workflow.text,
            workflow.digest,
            workflow.owner,
            workflow.create_time,
        )
        await self._tables.transact(Insert(table=WORKFLOWS.name, columns=_COLUMNS, rows=[row]))

    async def page(self, after: str, limit: int) -> tuple[list[StoredWorkflow], bool]:
        """Return latest versions by name from past the name `after`, and whether there are more."""
        # The sizes first: a result is made whole, and a thousand definitions may have a gigabyte.
        sizes = await self._rows(f"{_SIZES} LIMIT {limit + 1}", {"after": after})
        last, chars = after, 0
        for index, (name, size) in enumerate(sizes):
            assert isinstance(size, int)
            chars += size
            if index == limit or (index and chars > PAGE_CHARS_MAX):
                return await self._page(after, last), True
            last = str(name)
        return await self._page(after, last), False

    async def _page(self, after: str, last: str) -> list[StoredWorkflow]:
        if last == after:
            return []
        return [_stored(row) for row in await self._rows(_PAGE, {"after": after, "last": last})]

    async def _rows(self, sql: str, parameters: Mapping[str, object]) -> list[list[object]]:
        request = query_service_pb2.QueryRequest(
            sql=sql,
            parameters={name: to_value(value) for name, value in parameters.items()},
            encoding=rows_pb2.Rows.ENCODING_TYPED,
        )
        rows: list[list[object]] = []
        answers = self._peer.stream(self._query, request)
        async with aclosing(answers):
            async for answer in answers:
                rows.extend(
                    [from_value(value) for value in row.values] for row in answer.rows.typed.rows
                )
        return rows


def _stored(row: Sequence[object]) -> StoredWorkflow:
    name, version, text, digest, owner, create_time = row
    assert isinstance(version, int)
    assert isinstance(create_time, datetime)
    return StoredWorkflow(
        name=str(name),
        version=version,
        text=str(text),
        digest=str(digest),
        owner=str(owner),
        create_time=create_time,
    )
