"""The baseline of bulk transfer: an Arrow Flight server over DuckDB, as short as one can be.

`python -m bench.flight_server FILE` prints its port. It knows no callers, no schemas and no receipts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import pyarrow as pa
from pyarrow import flight

_BATCH_ROWS = 100_000


class FlightServer(flight.FlightServerBase):  # type: ignore[misc]  # pyarrow has no types
    """Takes a stream of rows into a new table that its path names, and sends a table that a ticket names."""

    def __init__(self, file: Path) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._connection = duckdb.connect(str(file))

    def do_put(
        self,
        _context: object,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        _writer: flight.FlightMetadataWriter,
    ) -> None:
        """Keep the rows as they are, durable when it returns."""
        with self._connection.cursor() as cursor:
            cursor.register("sent", reader.to_reader())
            cursor.execute(f"CREATE TABLE {descriptor.path[0].decode()} AS SELECT * FROM sent")

    def do_get(self, _context: object, ticket: flight.Ticket) -> flight.RecordBatchStream:
        """Send the rows."""
        rows = self._connection.cursor().sql(f"SELECT * FROM {ticket.ticket.decode()}")
        reader: pa.RecordBatchReader = rows.to_arrow_reader(_BATCH_ROWS)
        return flight.RecordBatchStream(reader)


if __name__ == "__main__":
    server = FlightServer(Path(sys.argv[1]))
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    server.serve()
