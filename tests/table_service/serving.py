"""table_service's own servicers on a real port, with tokens of the test's own, and a client for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.rpc import error_details_pb2

from chassis.client import connect
from chassis.clock import Clock, SystemClock
from chassis.config import ServiceSettings
from chassis.ids import IdMaker
from chassis.revocations import Revocations
from chassis.server import Servicer, serve
from chassis.status import status_of
from chassis.tokens import TokenVerifier
from chassis.values import from_value, to_value
from flux.table.v1 import (
    query_service_pb2,
    query_service_pb2_grpc,
    row_service_pb2,
    row_service_pb2_grpc,
    rows_pb2,
    table_pb2,
    table_service_pb2,
    table_service_pb2_grpc,
)
from table_service.query_servicer import QueryServicer
from table_service.row_servicer import RowServicer
from table_service.store import Store, open_store
from table_service.store.database import Limits
from table_service.store.heavy import Heavy, HeavyLimits, open_heavy
from table_service.store.watch import Watch
from table_service.table_servicer import TableServicer
from table_service.transfer_servicer import Transfers
from tests.support.tokens import TestKeys
from tests.table_service.stores import LIMITS

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
# What grpc.aio says when it has lost what the server answered.
LOST_STATUS = "Internal error from Core"
Kind = table_pb2.Type.Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running table_service without a main, and who may call it."""

    store: Store
    heavy: Heavy
    address: str
    keys: TestKeys
    channel: grpc.aio.Channel

    def client(self, subject: str = "usr_1", role: str = "editor") -> Client:
        """Return a client that calls as a person."""
        token = self.keys.sign(self.keys.claims(sub=subject, roles=[role]))
        return Client(self.channel, token)

    def service(self, name: str) -> Client:
        """Return a client that calls as a service, for itself."""
        token = self.keys.sign(self.keys.claims(sub=name, kind="service", roles=[]))
        return Client(self.channel, token)


class Client:
    """The three services as one caller sees them."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self.metadata = (("authorization", f"Bearer {token}"),)
        self.queries = query_service_pb2_grpc.QueryServiceStub(channel)
        self.rows = row_service_pb2_grpc.RowServiceStub(channel)
        self.tables = table_service_pb2_grpc.TableServiceStub(channel)

    async def call(self, method: Any, request: Any, **options: Any) -> Any:
        """Call a unary method."""
        return await method(request, metadata=self.metadata, **options)

    async def create_table(self, name: str, *columns: table_pb2.Column, keys: Any = ()) -> None:
        """Create a table."""
        table = table_pb2.Table(
            name=name,
            columns=columns,
            unique_keys=[table_pb2.UniqueKey(columns=key) for key in keys],
        )
        await self.call(self.tables.CreateTable, table_service_pb2.CreateTableRequest(table=table))

    async def query(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        encoding: Any = rows_pb2.Rows.ENCODING_TYPED,
        **fields: Any,
    ) -> QueryAnswer:
        """Run a query and return all of its answer."""
        request = query_service_pb2.QueryRequest(
            sql=sql,
            parameters={name: to_value(value) for name, value in (parameters or {}).items()},
            encoding=encoding,
            **fields,
        )
        parts = [part async for part in self.queries.Query(request, metadata=self.metadata)]
        assert parts[0].WhichOneof("part") == "header"
        assert parts[-1].WhichOneof("part") == "summary"
        return QueryAnswer(
            header=parts[0].header,
            batches=[part.rows for part in parts[1:-1]],
            summary=parts[-1].summary,
        )

    async def values(
        self, sql: str, parameters: Mapping[str, object] | None = None, **fields: Any
    ) -> list[Any]:
        """Return the rows of a query as tuples."""
        return (await self.query(sql, parameters, **fields)).values()

    async def import_file(
        self,
        table: str,
        content: bytes | Iterable[bytes],
        file_format: Any = row_service_pb2.FILE_FORMAT_CSV,
        *,
        request_id: str = "",
        **csv: Any,
    ) -> row_service_pb2.ImportRowsResponse:
        """Import a file."""
        header = row_service_pb2.ImportHeader(
            table=table,
            format=file_format,
            csv=row_service_pb2.CsvOptions(**csv),
            request_id=request_id,
        )
        return (await self.import_answers(header, content))[-1]

    async def import_answers(
        self, header: row_service_pb2.ImportHeader, content: bytes | Iterable[bytes]
    ) -> list[row_service_pb2.ImportRowsResponse]:
        """Import a file and return every answer."""

        def messages() -> Iterator[row_service_pb2.ImportRowsRequest]:
            yield row_service_pb2.ImportRowsRequest(header=header)
            for chunk in in_chunks(content) if isinstance(content, bytes) else content:
                yield row_service_pb2.ImportRowsRequest(chunk=chunk)

        # Ends with an outcome: a grpc.aio client that is writing when it is refused may lose the status.
        while True:
            try:
                answers = await answered(self.rows.ImportRows(messages(), metadata=self.metadata))
                break
            except grpc.aio.AioRpcError as error:
                if error.details() != LOST_STATUS or not isinstance(content, bytes):
                    raise
        assert answers[-1].phase == row_service_pb2.ImportRowsResponse.PHASE_DONE
        return answers

    async def export_file(self, table: str, file_format: Any, columns: Any = ()) -> bytes:
        """Export a file and check its summary."""
        request = row_service_pb2.ExportRowsRequest(
            table=table, format=file_format, columns=columns
        )
        parts = [part async for part in self.rows.ExportRows(request, metadata=self.metadata)]
        content = b"".join(part.chunk for part in parts[:-1])
        assert all(len(part.chunk) <= 2 * 1024 * 1024 for part in parts)
        assert parts[-1].summary.file_bytes == len(content)
        return content


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAnswer:
    """The three parts of an answer."""

    header: Any
    batches: list[Any]
    summary: Any

    def values(self) -> list[tuple[Any, ...]]:
        """Return typed rows as tuples."""
        return [
            tuple(from_value(value) for value in row.values)
            for batch in self.batches
            for row in batch.typed.rows
        ]


def column(name: str, kind: Any, *, not_null: bool = False, **type_: Any) -> table_pb2.Column:
    """Return a column of a new table."""
    return table_pb2.Column(name=name, type=table_pb2.Type(kind=kind, **type_), not_null=not_null)


def in_chunks(content: bytes) -> Iterator[bytes]:
    """Cut a file into chunks of a megabyte."""
    for at in range(0, len(content), 1 << 20):
        yield content[at : at + (1 << 20)]


def reason(error: grpc.aio.AioRpcError) -> str:
    """Return the reason of a status."""
    return str(detail(error, error_details_pb2.ErrorInfo).reason)


def detail(error: grpc.aio.AioRpcError, kind: Any) -> Any:
    """Return one detail of a status."""
    status = status_of(error)
    assert status is not None, error
    found = kind()
    assert any(part.Unpack(found) for part in status.details if part.Is(kind.DESCRIPTOR)), status
    return found


def new_request_id() -> str:
    """Return a UUID."""
    return str(uuid4())


@asynccontextmanager
async def serving(
    folder: Path,
    *,
    clock: Clock | None = None,
    limits: HeavyLimits | None = None,
    store_limits: Limits = LIMITS,
) -> AsyncIterator[Served]:
    """Serve a real store on a free port."""
    clock = clock or SystemClock()
    keys, ids, watch = TestKeys(clock), IdMaker(clock), Watch(clock)
    store = open_store(folder, limits=store_limits, clock=clock)
    heavy = open_heavy(store, watch, clock=clock, ids=ids, limits=limits or HeavyLimits())
    servicers = [
        Servicer(
            name="flux.table.v1.TableService",
            implementation=TableServicer(store, heavy, ids),
            register=table_service_pb2_grpc.add_TableServiceServicer_to_server,
        ),
        Servicer(
            name="flux.table.v1.RowService",
            implementation=RowServicer(store, Transfers(store, heavy, ids), heavy),
            register=row_service_pb2_grpc.add_RowServiceServicer_to_server,
        ),
        Servicer(
            name="flux.table.v1.QueryService",
            implementation=QueryServicer(store, heavy, ids=ids, clock=clock),
            register=query_service_pb2_grpc.add_QueryServiceServicer_to_server,
        ),
    ]
    settings = ServiceSettings(listen="127.0.0.1:0", drain_timeout_s=1)
    verifier = TokenVerifier(keys=keys, issuer="flux", clock=clock, revocations=Revocations(clock))
    try:
        async with serve(settings, servicers=servicers, verifier=verifier, clock=clock) as running:
            channel = connect(running.address, message_bytes_max=MESSAGE_BYTES_MAX)
            yield Served(
                store=store, heavy=heavy, address=running.address, keys=keys, channel=channel
            )
            await channel.close()
    finally:
        heavy.close()
        store.close()
        watch.close()


FLIGHTS = b"id,carrier,delay\n1,UA,5\n2,AA,-3\n3,UA,11\n4,DL,\n"


async def answered(call: Any) -> list[Any]:
    """Return all that a stream answers."""
    return [answer async for answer in call]


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


async def create_dataset(client: Client, sql: str, **fields: Any) -> Any:
    request = query_service_pb2.CreateDatasetRequest(sql=sql, **fields)
    return await client.call(client.queries.CreateDataset, request)
