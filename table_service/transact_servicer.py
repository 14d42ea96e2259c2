"""UpdateRows, DeleteRows and Transact of flux.table.v1.RowService: changes of several rows or tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from chassis.identity import Principal
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import rows_pb2
from table_service import datasets, tables
from table_service.access import Right
from table_service.mutation_wire import (
    SELECTED,
    Finder,
    from_mutation,
    from_precondition,
    to_result,
)
from table_service.selection_wire import Selected, from_delete, from_update, selection_rights
from table_service.store import Store, mutations, selections
from table_service.store.expressions import Expression, Expressions
from table_service.store.readers import Cursor
from table_service.store.receipts import ReceiptKey
from table_service.store.transaction import Transaction
from table_service.store.watch import Stop, Watch
from table_service.store.write_limit import WRITE_TIME_S
from table_service.store.write_queue import Change
from table_service.tables import Table
from table_service.wire import INLINE_ROWS_MAX, are_many

Parsed = tuple[list[mutations.Precondition], list[mutations.Mutation]]


class Transactions:
    """Changes that are more than rows as they came."""

    def __init__(self, store: Store, watch: Watch, expressions: Expressions) -> None:
        self._store = store
        self._watch = watch
        self._expressions = expressions

    async def update_rows(
        self, request: messages.UpdateRowsRequest, principal: Principal, receipt: ReceiptKey | None
    ) -> bytes:
        """Change the selected rows and return the answer."""
        rights = selection_rights(Right.UPDATE, request.selection, request.expressions)
        table = tables.resolve(self._store.writer.catalog, request.table, principal, *rights)

        def parse(cursor: Cursor) -> Selected:
            check = partial(self._check, cursor, table)
            selected = from_update(request, table, check, coerce=request.coerce)
            self._bind(cursor, table, selected)
            return selected

        selected = await self._store.readers.read(parse)
        assert selected.assignments is not None
        assignments = selected.assignments

        def apply(transaction: Transaction) -> bytes:
            count = selections.update_selected(
                transaction, table, selected.selection, assignments, selected.parameters
            )
            return messages.UpdateRowsResponse(updated_count=count).SerializeToString()

        return await self._submit(
            apply, receipt, computes=selected.computes, byte_count=request.ByteSize()
        )

    async def delete_rows(
        self, request: messages.DeleteRowsRequest, principal: Principal, receipt: ReceiptKey | None
    ) -> bytes:
        """Delete the selected rows and return the answer."""
        rights = selection_rights(Right.DELETE, request.selection)
        table = tables.resolve(self._store.writer.catalog, request.table, principal, *rights)

        def parse(cursor: Cursor) -> Selected:
            selected = from_delete(request, partial(self._check, cursor, table))
            self._bind(cursor, table, selected)
            return selected

        selected = await self._store.readers.read(parse)

        def apply(transaction: Transaction) -> bytes:
            count = selections.delete_selected(
                transaction, table, selected.selection, selected.parameters
            )
            return messages.DeleteRowsResponse(deleted_count=count).SerializeToString()

        return await self._submit(
            apply, receipt, computes=selected.computes, byte_count=request.ByteSize()
        )

    async def transact(
        self, request: messages.TransactRequest, principal: Principal, receipt: ReceiptKey | None
    ) -> bytes:
        """Apply the mutations in one commit and return the answer."""
        selects = any(m.WhichOneof("kind") in SELECTED for m in request.mutations)
        many = len(request.mutations) > INLINE_ROWS_MAX or are_many(
            *map(_rows_of, request.mutations)
        )
        if selects:
            parsed = await self._store.readers.read(partial(self._parse, request, principal))
        elif many:
            parsed = await asyncio.to_thread(self._parse, request, principal, None)
        else:
            parsed = self._parse(request, principal, None)
        checks, changes = parsed

        def apply(transaction: Transaction) -> bytes:
            results = mutations.apply(transaction, checks, changes)
            response = messages.TransactResponse(results=[to_result(one) for one in results])
            return response.SerializeToString()

        return await self._submit(apply, receipt, computes=selects, byte_count=request.ByteSize())

    def _parse(
        self, request: messages.TransactRequest, principal: Principal, cursor: Cursor | None
    ) -> Parsed:
        catalog, now = self._store.writer.catalog, self._store.clock.now()

        def check(table: Table, written: str, path: str) -> Expression:
            assert cursor is not None
            return self._check(cursor, table, written, path)

        def bind(table: Table, selected: Selected) -> None:
            assert cursor is not None
            self._bind(cursor, table, selected)

        find = Finder(
            table=lambda written, *rights: tables.resolve(catalog, written, principal, *rights),
            dataset=lambda id_: datasets.find_dataset(self._store.datasets, id_, principal, now),
            check=check,
            bind=bind,
        )
        return (
            [
                from_precondition(message, f"preconditions[{at}]", find)
                for at, message in enumerate(request.preconditions)
            ],
            [
                from_mutation(message, f"mutations[{at}]", find)
                for at, message in enumerate(request.mutations)
            ],
        )

    def _check(self, cursor: Cursor, table: Table, written: str, path: str) -> Expression:
        return self._expressions.check(cursor, written, table, path)

    def _bind(self, cursor: Cursor, table: Table, selected: Selected) -> None:
        if selected.computes:
            selections.check_binding(
                cursor, table, selected.selection, selected.assignments, selected.parameters
            )

    async def _submit(
        self,
        apply: Callable[[Transaction], bytes],
        receipt: ReceiptKey | None,
        *,
        computes: bool,
        byte_count: int,
    ) -> bytes:
        """Have the change written; one that computes has the writer to itself, and only for a time."""
        stop = Stop()

        def limited(transaction: Transaction) -> bytes:
            limit: AbstractContextManager[None] = nullcontext()
            if computes:
                limit = self._watch.over(transaction.cursor, stop, limit_s=WRITE_TIME_S)
            with limit:
                return apply(transaction)

        try:
            return await self._store.writer.submit(
                Change(apply=limited, receipt=receipt, alone=computes, byte_count=byte_count)
            )
        except asyncio.CancelledError:
            stop.ask()
            raise


def _rows_of(mutation: messages.Mutation) -> rows_pb2.Rows:
    """Return the rows of a mutation, or its one row of new values."""
    match mutation.WhichOneof("kind"):
        case "insert":
            return mutation.insert.rows
        case "upsert":
            return mutation.upsert.rows
        case "update":
            return mutation.update.values
        case _:
            return mutation.update_selected.values
