"""Whether rows fit a table: columns by name, kinds of value, what may not be null, and keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from chassis.faults import FieldViolation
from workflow_service.definition import FromStep, InsertRows, RowExpressions, UpsertRows
from workflow_service.diagnostics import Reason, diagnostic, keyed


class ColumnKind(StrEnum):
    """The kinds of type; the names are those of flux.table.v1.Type.Kind without the prefix."""

    BOOL = "BOOL"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    INT128 = "INT128"
    DECIMAL = "DECIMAL"
    FLOAT = "FLOAT"
    DOUBLE = "DOUBLE"
    STRING = "STRING"
    BYTES = "BYTES"
    UUID = "UUID"
    DATE = "DATE"
    TIME = "TIME"
    TIMESTAMP = "TIMESTAMP"
    LOCAL_TIMESTAMP = "LOCAL_TIMESTAMP"
    INTERVAL = "INTERVAL"
    JSON = "JSON"
    LIST = "LIST"
    STRUCT = "STRUCT"
    MAP = "MAP"
    ENUM = "ENUM"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table or of a dataset; `scale` is a decimal's, `default` whether there is one."""

    name: str
    kind: ColumnKind
    not_null: bool = False
    scale: int = 0
    default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableShape:
    """What rows must fit."""

    name: str
    columns: tuple[Column, ...]
    unique_keys: tuple[tuple[str, ...], ...]


_K = ColumnKind
_WHOLE = frozenset({_K.INT16, _K.INT32, _K.INT64, _K.INT128})
_FRACTIONS = frozenset({_K.FLOAT, _K.DOUBLE})
_NUMBERS = _WHOLE | _FRACTIONS | {_K.DECIMAL}
# Besides itself, what a column of each kind takes from a dataset without losing anything in silence.
_ALSO_TAKES: dict[ColumnKind, frozenset[ColumnKind]] = {
    **dict.fromkeys(_WHOLE, _WHOLE),
    **dict.fromkeys(_FRACTIONS, _NUMBERS),
    _K.DECIMAL: _NUMBERS,
    _K.STRING: frozenset({_K.UUID, _K.JSON, _K.ENUM}),
    _K.TIMESTAMP: frozenset({_K.DATE, _K.LOCAL_TIMESTAMP}),
    _K.LOCAL_TIMESTAMP: frozenset({_K.DATE}),
    _K.JSON: frozenset({_K.LIST, _K.STRUCT, _K.MAP}),
}
_TEXTUAL = frozenset(_K) - {_K.UNKNOWN, _K.BOOL, _K.LIST, _K.STRUCT, _K.MAP}
# The kinds of column that take a CEL value of a static type, as rows in JSON are read (flux.table.v1.Rows);
# types not named here can be anything. Text can say a date, a decimal or an integer past 2^53.
_TAKEN_BY: dict[str, frozenset[ColumnKind]] = {
    "BOOL": frozenset({_K.BOOL, _K.JSON}),
    "INT": _NUMBERS | {_K.JSON},
    "UINT": _NUMBERS | {_K.JSON},
    "DOUBLE": _NUMBERS - _WHOLE | {_K.JSON},
    "STRING": _TEXTUAL,
    "BYTES": frozenset({_K.BYTES}),
    "TIMESTAMP": frozenset({_K.TIMESTAMP}),
    "DURATION": frozenset({_K.INTERVAL}),
}


def check_rows(
    kind: InsertRows | UpsertRows, path: str, table: TableShape, dataset: tuple[Column, ...]
) -> list[FieldViolation]:
    """Return why the rows of an action at `path` do not fit `table`.

    `dataset` has the columns of the step that the rows come from; it is empty for rows written out.
    """
    found: list[FieldViolation] = []
    match kind.source:
        case FromStep():
            found.extend(_dataset_mistakes(dataset, f"{path}.from_step", table, kind.source.step))
        case RowExpressions():
            for index, row in enumerate(kind.source.rows):
                types = {name: expression.result_type for name, expression in row.items()}
                row_path = f"{path}.values.rows[{index}].values"
                found.extend(_values_mistakes(types, row_path, table))
    if isinstance(kind, UpsertRows):
        found.extend(_key_mistakes(kind, path, table, dataset))
    return found


def _dataset_mistakes(
    dataset: tuple[Column, ...], path: str, table: TableShape, step: str
) -> Iterator[FieldViolation]:
    wanted = {column.name: column for column in table.columns}
    for column in dataset:
        target = wanted.get(column.name)
        if target is None:
            text = f"step {step!r} makes a column {column.name!r}: {_no_column(table, column.name)}"
            yield diagnostic(path, Reason.COLUMN_NOT_FOUND, text)
        elif not _takes(target, column):
            text = (
                f"column {column.name!r} of step {step!r} is {column.kind}, "
                f"that of table {table.name!r} {target.kind}: cast it in the step's SQL"
            )
            yield diagnostic(path, Reason.COLUMN_TYPE_MISMATCH, text)
    yield from _missing(table, [column.name for column in dataset], path)


def _values_mistakes(
    types: Mapping[str, str], path: str, table: TableShape
) -> Iterator[FieldViolation]:
    """`types` are CEL's names of the static types of the expressions, by column."""
    wanted = {column.name: column for column in table.columns}
    for name, type_ in types.items():
        target = wanted.get(name)
        if target is None:
            text = _no_column(table, name)
            yield diagnostic(keyed(path, name), Reason.COLUMN_NOT_FOUND, text)
        elif type_ == "NULL" and target.not_null:
            text = f"column {name!r} of table {table.name!r} may not be null"
            yield diagnostic(keyed(path, name), Reason.COLUMN_TYPE_MISMATCH, text)
        elif type_ in _TAKEN_BY and target.kind not in _TAKEN_BY[type_]:
            text = f"a CEL {type_.lower()} does not fit column {name!r}, which is {target.kind}"
            yield diagnostic(keyed(path, name), Reason.COLUMN_TYPE_MISMATCH, text)
    yield from _missing(table, types, path)


def _missing(table: TableShape, given: Iterable[str], path: str) -> Iterator[FieldViolation]:
    names = set(given)
    for column in table.columns:
        if column.not_null and not column.default and column.name not in names:
            text = (
                f"column {column.name!r} of table {table.name!r} may not be null and is not given"
            )
            yield diagnostic(path, Reason.COLUMN_MISSING, text)


def _key_mistakes(
    kind: UpsertRows, path: str, table: TableShape, dataset: tuple[Column, ...]
) -> Iterator[FieldViolation]:
    key = frozenset(kind.key_columns)
    if key not in set(map(frozenset, table.unique_keys)):
        keys = " and ".join(f"({', '.join(columns)})" for columns in table.unique_keys) or "none"
        text = f"({', '.join(kind.key_columns)}) is no unique key of table {table.name!r}; it has {keys}"
        yield diagnostic(f"{path}.key_columns", Reason.KEY_NOT_FOUND, text)
        return
    # What may not be null is missed already.
    nullable = {column.name for column in table.columns if not column.not_null}
    wanted = sorted(key & nullable)
    if isinstance(kind.source, RowExpressions):
        for index, row in enumerate(kind.source.rows):
            row_path = f"{path}.values.rows[{index}].values"
            yield from _keyless(wanted, row, row_path)
    else:
        yield from _keyless(wanted, {column.name for column in dataset}, f"{path}.from_step")


def _keyless(wanted: Iterable[str], given: Iterable[str], path: str) -> Iterator[FieldViolation]:
    names = set(given)
    for name in wanted:
        if name not in names:
            yield diagnostic(path, Reason.COLUMN_MISSING, f"key column {name!r} is not given")


def _takes(target: Column, given: Column) -> bool:
    if given.kind is ColumnKind.UNKNOWN:
        # A parameter decides; what does not fit is refused when the step is done.
        return True
    if target.kind in _WHOLE and given.kind is ColumnKind.DECIMAL:
        # With digits after the point it would be rounded.
        return given.scale == 0
    return target.kind is given.kind or given.kind in _ALSO_TAKES.get(target.kind, ())


def _no_column(table: TableShape, name: str) -> str:
    close = difflib.get_close_matches(name, [column.name for column in table.columns], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"table {table.name!r} has no column {name!r}{hint}"
