"""What the machine in test_machine draws: values, cells, and changes of a schema, done to the model too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from flux.table.v1 import migration_pb2
from tests.table_service.row_calls import col
from tests.table_service.serving import Kind
from tests.table_service.table_model import ModelColumn, ModelTable

COLUMNS = ("key", "size", "third column", 'fo"urth')

numbers = st.none() | st.integers(-1, 5)
texts = st.none() | st.sampled_from(["a", "b", "c", "1", "22", "NULL", "'; --"])


def equal(column: str, value: object) -> str:
    """Return a filter; null is equal to nothing."""
    name = '"' + column.replace('"', '""') + '"'
    if value is None:
        return f"{name} = NULL"
    return f"{name} = {value}" if isinstance(value, int) else f"{name} = {quoted_text(str(value))}"


def quoted_text(text: str) -> str:
    """Return text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def draw_cell(data: st.DataObject, table: ModelTable) -> tuple[str, object]:
    """Return a column and a value that it may have somewhere."""
    column = data.draw(st.sampled_from(table.columns))
    there = [row.values[column.name] for row in table.rows.values()]
    other = texts if column.text else numbers
    return column.name, data.draw(st.sampled_from(there) | other if there else other)


def draw_operation(data: st.DataObject, table: ModelTable) -> migration_pb2.SchemaOperation | None:
    """Draw a change of the schema and do it to `table`; None if what was drawn cannot be."""
    operation = migration_pb2.SchemaOperation()
    kind = data.draw(st.sampled_from(sorted(_OPERATIONS)))
    return operation if _OPERATIONS[kind](data, table, operation) else None


def _add(data: st.DataObject, table: ModelTable, operation: Any) -> bool:
    free = [name for name in COLUMNS if name not in table.names()]
    if not free:
        return False
    text = data.draw(st.booleans())
    default = data.draw(texts if text else numbers)
    column = ModelColumn(name=data.draw(st.sampled_from(free)), text=text, default=default)
    kind = Kind.KIND_STRING if text else Kind.KIND_INT64
    operation.add_column.column.CopyFrom(col(column.name, kind, default=default))
    table.columns.append(column)
    for row in table.rows.values():
        row.values[column.name] = default
    return True


def _drop(data: st.DataObject, table: ModelTable, operation: Any) -> bool:
    if len(table.columns) == 1:
        return False
    name = data.draw(st.sampled_from(table.names()))
    operation.drop_column.column = name
    table.columns = [column for column in table.columns if column.name != name]
    table.keys = {key: names for key, names in table.keys.items() if name not in names}
    table.positive = {check: of for check, of in table.positive.items() if of != name}
    for row in table.rows.values():
        del row.values[name]
    return True


def _rename(data: st.DataObject, table: ModelTable, operation: Any) -> bool:
    free = [name for name in COLUMNS if name not in table.names()]
    if not free:
        return False
    old, new = data.draw(st.sampled_from(table.names())), data.draw(st.sampled_from(free))
    operation.rename_column.column, operation.rename_column.new_name = old, new
    table.column(old).name = new
    table.keys = {k: tuple(new if n == old else n for n in v) for k, v in table.keys.items()}
    table.positive = {c: new if n == old else n for c, n in table.positive.items()}
    for row in table.rows.values():
        row.values[new] = row.values.pop(old)
    return True


def _to_text(data: st.DataObject, table: ModelTable, operation: Any) -> bool:
    plain = [
        c for c in table.columns if not c.text and c.default is None and c.name not in table.used()
    ]
    if not plain:
        return False
    column = data.draw(st.sampled_from(plain))
    operation.retype_column.column = column.name
    operation.retype_column.type.kind = Kind.KIND_STRING
    column.text = True
    for row in table.rows.values():
        number = row.values[column.name]
        row.values[column.name] = None if number is None else str(number)
    return True


def _not_null(data: st.DataObject, table: ModelTable, operation: Any) -> bool:
    column = data.draw(st.sampled_from(table.columns))
    change = operation.drop_not_null if column.not_null else operation.set_not_null
    change.column = column.name
    column.not_null = not column.not_null
    return True


def _default(data: st.DataObject, table: ModelTable, operation: Any) -> bool:
    column = data.draw(st.sampled_from(table.columns))
    value = data.draw(texts if column.text else numbers)
    if value is None:
        operation.drop_default.column = column.name
    else:
        made = col(column.name, Kind.KIND_STRING, default=value).default
        operation.set_default.column = column.name
        operation.set_default.default.CopyFrom(made)
    column.default = value
    return True


def _key(data: st.DataObject, table: ModelTable, operation: Any) -> bool:
    drops: bool = data.draw(st.booleans())
    if table.keys and drops:
        name = data.draw(st.sampled_from(sorted(table.keys)))
        operation.drop_unique_key.name = name
        del table.keys[name]
        return True
    names: list[str] = data.draw(
        st.lists(st.sampled_from(table.names()), min_size=1, max_size=2, unique=True)
    )
    new = f"key_{len(table.keys)}"
    if new in table.keys or set(names) in [set(key) for key in table.keys.values()]:
        return False
    operation.add_unique_key.key.name = new
    operation.add_unique_key.key.columns.extend(names)
    table.keys[new] = tuple(names)
    return True


def _reorder(data: st.DataObject, table: ModelTable, operation: Any) -> bool:
    table.columns = data.draw(st.permutations(table.columns))
    operation.reorder_columns.columns.extend(table.names())
    return True


_Operation = Callable[[st.DataObject, ModelTable, Any], bool]
_OPERATIONS: dict[str, _Operation] = {
    "add": _add,
    "drop": _drop,
    "rename": _rename,
    "to_text": _to_text,
    "not_null": _not_null,
    "default": _default,
    "key": _key,
    "reorder": _reorder,
}
