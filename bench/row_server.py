"""The baseline of single-row inserts: a gRPC server over DuckDB that does nothing but insert, and answers.

`python -m bench.row_server FILE` prints its port. Rows that wait are committed together, with a receipt
each. It knows no callers and one table, and believes whatever it is told.
"""

from __future__ import annotations

import asyncio
import sys
import threading

import duckdb
import grpc
import uvloop

from flux.table.v1 import row_service_pb2

_ROWS = (
    "INSERT INTO small SELECT unnest($1::BIGINT[]), unnest($2::VARCHAR[]), unnest($3::DOUBLE[]),"
    " unnest($4::BIGINT[]), 1"
)
_RECEIPTS = "INSERT INTO receipts SELECT unnest($1::VARCHAR[]), unnest($2::BLOB[])"
_Waiting = tuple[
    row_service_pb2.InsertRowsRequest, "asyncio.Future[row_service_pb2.InsertRowsResponse]"
]


class RowServer:
    """Inserts one row a call."""

    def __init__(self, file: str) -> None:
        self._connection = duckdb.connect(file)
        self._connection.execute(
            "CREATE TABLE small (id BIGINT, name VARCHAR, amount DOUBLE, _row_id BIGINT, _version BIGINT)"
        )
        self._connection.execute("CREATE TABLE receipts (request_id VARCHAR, response BLOB)")
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._count = 0
        threading.Thread(target=self._serve, daemon=True).start()

    async def insert(
        self,
        request: row_service_pb2.InsertRowsRequest,
        context: grpc.aio.ServicerContext[object, object],
    ) -> row_service_pb2.InsertRowsResponse:
        """Insert the row with all that wait, and answer when it is durable."""
        future: asyncio.Future[row_service_pb2.InsertRowsResponse] = self._loop.create_future()
        with self._changed:
            self._waiting.append((request, future))
            self._changed.notify()
        return await future

    def _serve(self) -> None:
        # Ends with the process.
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                group, self._waiting = self._waiting, []
            self._loop.call_soon_threadsafe(_deliver, group, self._commit(group))

    def _commit(self, group: list[_Waiting]) -> list[row_service_pb2.InsertRowsResponse]:
        cells = [request.rows.typed.rows[0].values for request, _ in group]
        row_ids = list(range(self._count + 1, self._count + 1 + len(group)))
        self._count += len(group)
        answers = [row_service_pb2.InsertRowsResponse(row_ids=[row_id]) for row_id in row_ids]
        self._connection.execute("BEGIN")
        self._connection.execute(
            _ROWS,
            [
                [id_.int64 for id_, _, _ in cells],
                [name.string for _, name, _ in cells],
                [amount.double for _, _, amount in cells],
                row_ids,
            ],
        )
        self._connection.execute(
            _RECEIPTS,
            [
                [request.request_id for request, _ in group],
                [answer.SerializeToString() for answer in answers],
            ],
        )
        self._connection.execute("COMMIT")
        return answers


def _deliver(group: list[_Waiting], answers: list[row_service_pb2.InsertRowsResponse]) -> None:
    for (_, future), answer in zip(group, answers, strict=True):
        if not future.done():
            future.set_result(answer)


async def _serve(file: str) -> None:
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        RowServer(file).insert,
        row_service_pb2.InsertRowsRequest.FromString,
        row_service_pb2.InsertRowsResponse.SerializeToString,
    )
    service = row_service_pb2.DESCRIPTOR.services_by_name["RowService"].full_name
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {"InsertRows": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
