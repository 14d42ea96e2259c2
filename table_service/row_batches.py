"""Rows of a request on their way into a table, and what became of each on its way back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import pyarrow as pa

from chassis.faults import InvalidArgument
from flux.errors.v1 import reason_pb2
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import rows_pb2
from table_service import codec
from table_service.codec import Decoded
from table_service.row_faults import VIOLATIONS_MAX, RowFault
from table_service.store import Store
from table_service.store.defaults import marked
from table_service.store.staging import Written
from table_service.store.transaction import Transaction
from table_service.store.upserts import Upserted
from table_service.store.violations import refusal
from table_service.store.write_queue import Change
from table_service.tables import Table
from table_service.wire import are_many

# Looks at marked rows, at these places among those sent, in a transaction that keeps nothing of it.
Explain = Callable[[Transaction, Table, pa.Table, pa.Array | None], list[RowFault]]


# Each of them may need a message in the answer, and so many fit.
ALONE_ROWS_MAX = 100_000
_LONG_MESSAGES_MAX = 1_000
_SHORT_MESSAGE_CHARACTERS = 60


def stands_alone(error_mode: messages.ErrorMode.ValueType) -> bool:
    """Return whether each row stands alone."""
    return error_mode == messages.ERROR_MODE_PER_ROW


async def decode(
    rows: rows_pb2.Rows,
    table: Table,
    *,
    complete: bool,
    coerce: bool,
    per_row: bool,
) -> Decoded:
    """Return rows as `codec.decode` does, in a thread if they are many.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND or ROW_INVALID.
    """
    work = partial(
        codec.decode, rows, table.columns, complete=complete, coerce=coerce, per_row=per_row
    )
    decoded = await asyncio.to_thread(work) if are_many(rows) else work()
    if per_row and decoded.count > ALONE_ROWS_MAX:
        raise InvalidArgument(
            "ROW_INVALID",
            f"rows that stand alone are {ALONE_ROWS_MAX} at the most, not {decoded.count}",
            limit=ALONE_ROWS_MAX,
        )
    return decoded


async def decode_whole(
    store: Store,
    rows: rows_pb2.Rows,
    table: Table,
    explain: Explain,
    *,
    complete: bool,
    coerce: bool,
) -> pa.Table:
    """Return marked rows if all of them fit; `explain` says what else is wrong if some do not.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND or ROW_INVALID, with what keys and checks have against the others.
    """
    try:
        decoded = await decode(rows, table, complete=complete, coerce=coerce, per_row=False)
    except InvalidArgument as fault:
        if 0 < len(fault.violations) < VIOLATIONS_MAX:
            with suppress(InvalidArgument):
                good = await decode(rows, table, complete=complete, coerce=coerce, per_row=True)
                found = await _explained(store, table, good, explain)
                further = (
                    refusal(found, rows_path("rows", rows), indexed=True).violations
                    if found
                    else ()
                )
                fault.violations = (*fault.violations, *further)[:VIOLATIONS_MAX]
        raise
    return marked(decoded.rows, decoded.missing)


async def _explained(
    store: Store, table: Table, decoded: Decoded, explain: Explain
) -> list[RowFault]:
    found: list[RowFault] = []
    if decoded.rows.num_rows:

        def apply(transaction: Transaction) -> bytes:
            rows = marked(decoded.rows, decoded.missing)
            found[:] = explain(transaction, table, rows, decoded.places)
            return b""

        await store.writer.submit(Change(apply=apply, byte_count=decoded.rows.nbytes))
    return found


def rows_path(path: str, rows: rows_pb2.Rows) -> str:
    """Return where the rows of a message stand, for what is wrong with one of them."""
    encoded = rows.WhichOneof("encoded")
    return f"{path}.{encoded}" if encoded == "arrow_ipc" else f"{path}.{encoded}.rows"


def inserted(row_ids: range) -> bytes:
    """Return the answer to rows that were all inserted."""
    return messages.InsertRowsResponse(row_ids=row_ids).SerializeToString()


def inserted_some(decoded: Decoded, written: Written) -> bytes:
    """Return the answer to rows that stand alone."""
    answer = messages.InsertRowsResponse(errors=_errors(decoded, written))
    answer.row_ids.extend(_spread(decoded.count, written.places, written.row_ids))
    return answer.SerializeToString()


def upserted(done: Upserted) -> bytes:
    """Return the answer to rows that were all written."""
    created = sum(done.created)
    return messages.UpsertRowsResponse(
        row_ids=done.row_ids,
        created=done.created,
        created_count=created,
        updated_count=len(done.created) - created,
    ).SerializeToString()


def upserted_some(decoded: Decoded, written: Written) -> bytes:
    """Return the answer to rows that stand alone."""
    created = sum(written.created)
    new = _spread(decoded.count, written.places, written.created)
    return messages.UpsertRowsResponse(
        row_ids=_spread(decoded.count, written.places, written.row_ids),
        created=map(bool, new),
        created_count=created,
        updated_count=len(written.created) - created,
        errors=_errors(decoded, written),
    ).SerializeToString()


def _errors(decoded: Decoded, written: Written) -> list[messages.RowError]:
    faults = sorted((*decoded.faults, *written.faults), key=lambda fault: fault.index)
    return [
        messages.RowError(
            index=fault.index,
            column=fault.column,
            reason=reason_pb2.ErrorReason.Value(f"ERROR_REASON_{fault.reason}"),
            message=fault.message
            if at < _LONG_MESSAGES_MAX
            else fault.message[:_SHORT_MESSAGE_CHARACTERS],
        )
        for at, fault in enumerate(faults)
    ]


def _spread(count: int, places: Sequence[int], values: Sequence[int]) -> list[int]:
    """Return `count` values: those given at their places, 0 at all others."""
    spread = [0] * count
    for place, value in zip(places, values, strict=True):
        spread[place] = value
    return spread
