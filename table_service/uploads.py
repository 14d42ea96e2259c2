"""Files that come in as a stream of messages: a header, then chunks, which go into the spool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from chassis.faults import field_invalid
from flux.table.v1 import row_service_pb2 as messages
from table_service.store.spool import SpooledFile

# Chunks are written together, because each write costs a change of threads.
_WRITE_BYTES = 4 * 1024 * 1024
# How far it is is said after so many bytes, and rarer the larger the file: a caller may not listen.
_REPORT_BYTES, _REPORT_PART = 1024 * 1024, 50

Request = TypeVar("Request", messages.ImportRowsRequest, messages.PreviewImportRequest)


async def first_of(requests: AsyncIterator[Request]) -> Request:
    """Return the first message, which is the header.

    Raises:
        InvalidArgument: FIELDS_INVALID.
    """
    async for first in requests:
        if first.WhichOneof("part") == "header":
            return first
        break
    raise field_invalid("part", "the first message must be the header")


async def received(requests: AsyncIterator[Request], file: SpooledFile) -> AsyncIterator[int]:
    """Write the chunks into the file; yield now and then how many bytes have come.

    Raises:
        InvalidArgument: FIELDS_INVALID or FILE_INVALID.
        ResourceExhausted: FILE_TOO_LARGE or QUERY_LIMIT.
        Unavailable: STORE_UNAVAILABLE.
    """
    waiting: list[bytes] = []
    size = total = 0
    report_at = _REPORT_BYTES
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise field_invalid("part", "only the first message is the header")
        # Once: each look at the field copies its bytes.
        chunk = request.chunk
        waiting.append(chunk)
        size += len(chunk)
        total += len(chunk)
        if size >= _WRITE_BYTES:
            await asyncio.to_thread(file.write, waiting)
            waiting, size = [], 0
        if total >= report_at:
            yield total
            report_at = total + _REPORT_BYTES + total // _REPORT_PART
    await asyncio.to_thread(file.write, waiting)
