"""Which rows a request is about, and what they become: from messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from chassis.faults import InvalidArgument, field_invalid
from chassis.values import from_value
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import rows_pb2
from flux.type.v1 import value_pb2
from table_service import codec
from table_service.access import Right
from table_service.store.expressions import TRUE, Expression, values_of
from table_service.store.selections import Assignments, Selection
from table_service.tables import Table
from table_service.wire import row_count

# Makes an expression of its text; the second text is its field in the request.
Check = Callable[[str, str], Expression]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A change of several rows; `assignments` is None where they go. `parameters` are ready to be bound."""

    selection: Selection
    assignments: Assignments | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def computes(self) -> bool:
        """Return whether an expression of the caller's runs."""
        made = self.assignments.expressions if self.assignments else {}
        return bool(made) or not self.selection.row_ids


def selection_rights(
    right: Right, selection: messages.RowSelection, expressions: Mapping[str, str] | None = None
) -> tuple[Right, ...]:
    """Return the rights that a change of selected rows needs: what looks at rows tells of them."""
    return (right, Right.READ) if selection.filter or expressions else (right,)


def from_update(
    message: messages.UpdateRowsRequest | messages.Mutation.UpdateSelected,
    table: Table,
    check: Check,
    *,
    path: str = "",
    coerce: bool = False,
) -> Selected:
    """Return a change of selected rows; `path` is where the message stands, with a dot at its end.

    Raises:
        InvalidArgument: FIELDS_INVALID, COLUMN_NOT_FOUND, ROW_INVALID, SQL_INVALID or SQL_REFUSED.
    """
    selection = _selection(message.selection, f"{path}selection", check)
    values = (
        one_row(message.values, table, f"{path}values", coerce=coerce)
        if message.HasField("values")
        else None
    )
    names = set(values.schema.names) if values is not None else set()
    if not names and not message.expressions:
        raise field_invalid(f"{path}values", "values or expressions must be given")
    expressions = {}
    for name, written in sorted(message.expressions.items()):
        field_ = f"{path}expressions[{name}]"
        if table.column(name).name in names:
            raise field_invalid(field_, f"column {name!r} has a value and an expression")
        expressions[name] = check(written, field_)
    return Selected(
        selection=selection,
        assignments=Assignments(values=values, expressions=expressions),
        parameters=_parameters(
            message.parameters, f"{path}parameters", selection.filter, *expressions.values()
        ),
    )


def from_delete(
    message: messages.DeleteRowsRequest | messages.Mutation.DeleteSelected,
    check: Check,
    *,
    path: str = "",
) -> Selected:
    """Return a deletion of selected rows; `path` is where the message stands, with a dot at its end.

    Raises:
        InvalidArgument: FIELDS_INVALID, SQL_INVALID or SQL_REFUSED.
    """
    selection = _selection(message.selection, f"{path}selection", check)
    return Selected(
        selection=selection,
        parameters=_parameters(message.parameters, f"{path}parameters", selection.filter),
    )


def one_row(rows: rows_pb2.Rows, table: Table, path: str, *, coerce: bool = False) -> pa.Table:
    """Return the only row of `rows`, some of the table's columns, as carriers.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND; ROW_INVALID, also if there is not exactly one row, or no column.
    """
    count = row_count(rows)
    if count <= 1:
        decoded = codec.decode(rows, table.columns, path=path, complete=False, coerce=coerce).rows
        if decoded.num_rows == 1:
            return decoded
        count = decoded.num_rows
    raise InvalidArgument("ROW_INVALID", f"{path} has {count} rows, not one")


def _selection(message: messages.RowSelection, path: str, check: Check) -> Selection:
    written = message.filter.strip()
    if bool(message.row_ids) == bool(written):
        raise field_invalid(path, "row_ids or filter must be given, and not both")
    return Selection(
        row_ids=tuple(message.row_ids),
        filter=check(written, f"{path}.filter") if written else TRUE,
        affected_max=message.max_affected if message.HasField("max_affected") else None,
    )


def _parameters(
    given: Mapping[str, value_pb2.Value], path: str, *expressions: Expression
) -> dict[str, object]:
    return values_of(expressions, {name: from_value(value) for name, value in given.items()}, path)
