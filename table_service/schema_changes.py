"""Carrying out operations on a schema: the schema after each, or what is wrong with it.

Pure but for `Conditions`, through which DuckDB reads expressions. Rows are not looked at here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from chassis.faults import FieldViolation
from table_service.column_rules import (
    KEY_KINDS,
    column_violations,
    default_violations,
    name_violations,
    type_violations,
)
from table_service.schema_operations import (
    AddCheck,
    AddColumn,
    AddUniqueKey,
    DropCheck,
    DropColumn,
    DropUniqueKey,
    RenameColumn,
    ReorderColumns,
    RetypeColumn,
    SchemaOperation,
    SetDefault,
    SetDescription,
    SetNotNull,
)
from table_service.schemas import (
    COLUMNS_MAX,
    Schema,
    check_violations,
    key_violations,
    named_check,
    named_key,
    refuse,
)
from table_service.tables import Check, UniqueKey, free_name
from table_service.types import Column, Kind, Type, precision

Columns = Sequence[Column]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How expressions are read. Paths are of the fields that faults name.

    `used`: the columns that a check of the schema uses. `renamed`: a check with new names of columns.
    `condition`: the columns that a check uses, once it was looked at as a check of these columns. `value`:
    looks at a retype of a column of these, and returns the columns that its expression uses.
    """

    used: Callable[[str, Columns], frozenset[str]]
    renamed: Callable[[str, Columns, Mapping[str, str]], str]
    condition: Callable[[str, Columns, str], frozenset[str]]
    value: Callable[[Column, RetypeColumn, Columns, str], frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """An operation, the schemas before and after it, and what it does, in a sentence."""

    operation: SchemaOperation
    before: Schema
    after: Schema
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Operations carried out in order; `column_ids` is the greatest id that a column has had."""

    before: Schema
    applied: tuple[Applied, ...]
    column_ids: int

    @property
    def after(self) -> Schema:
        """Return the schema after all of them."""
        return self.applied[-1].after if self.applied else self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """Where an operation stands: the schema before it, the path of its fields, the next column's id.

    `made`: the ids of the columns that operations before have given values by expressions.
    """

    schema: Schema
    path: str
    next_id: int
    made: frozenset[int]
    read: Conditions

    def column(self, name: str, field: str = "column") -> Column:
        """Return a column that the operation names.

        Raises:
            InvalidArgument: SCHEMA_INVALID.
        """
        column = self.schema.column(name)
        if column is None:
            self.refuse(field, f"there is no column {name!r}")
        assert column is not None
        return column

    def refuse(self, field: str, why: str) -> None:
        """Refuse the operation for one of its fields; for itself if that is empty."""
        path = f"{self.path}.{field}" if field else self.path
        refuse([FieldViolation(field=path, description=why)])


def apply(
    schema: Schema, column_ids: int, operations: Sequence[SchemaOperation], read: Conditions
) -> Changes:
    """Carry out the operations on a schema.

    Raises:
        InvalidArgument: SCHEMA_INVALID, SQL_INVALID or SQL_REFUSED with the operation in the paths.
    """
    applied: list[Applied] = []
    before, made = schema, frozenset[int]()
    for index, operation in enumerate(operations):
        path = f"operations[{index}].{member(operation)}"
        step = _Step(schema=schema, path=path, next_id=column_ids + 1, made=made, read=read)
        after, sentence = _carry_out(operation, step)
        applied.append(Applied(operation=operation, before=schema, after=after, sentence=sentence))
        if isinstance(operation, RetypeColumn) and operation.using:
            made |= {step.column(operation.column).id}
        column_ids = max(column_ids, *(column.id for column in after.columns))
        schema = after
    # Each column was looked at by itself; together they may have too many fields.
    refuse(column_violations(schema.columns, "operations"))
    return Changes(before=before, applied=tuple(applied), column_ids=column_ids)


def member(operation: SchemaOperation) -> str:
    """Return the name of the operation in the contract."""
    match operation:
        case SetDefault(default=None):
            return "drop_default"
        case SetNotNull(not_null=False):
            return "drop_not_null"
        case _:
            return _MEMBERS[type(operation)]


_MEMBERS: dict[type, str] = {
    AddColumn: "add_column",
    DropColumn: "drop_column",
    RenameColumn: "rename_column",
    RetypeColumn: "retype_column",
    SetDefault: "set_default",
    SetNotNull: "set_not_null",
    SetDescription: "set_description",
    AddUniqueKey: "add_unique_key",
    DropUniqueKey: "drop_unique_key",
    AddCheck: "add_check",
    DropCheck: "drop_check",
    ReorderColumns: "reorder_columns",
}


def type_text(type_: Type) -> str:
    """Return a type as a sentence shows it."""
    if type_.kind is Kind.DECIMAL:
        return f"DECIMAL({precision(type_)}, {type_.scale})"
    if type_.element is not None:
        return f"{type_.kind} of {type_text(type_.element)}"
    return str(type_.kind)


def _carry_out(operation: SchemaOperation, step: _Step) -> tuple[Schema, str]:
    match operation:
        case AddColumn():
            return _add_column(operation, step)
        case DropColumn():
            return _drop_column(operation, step)
        case RenameColumn():
            return _rename_column(operation, step)
        case RetypeColumn():
            return _retype_column(operation, step)
        case SetDefault():
            return _set_default(operation, step)
        case SetNotNull():
            return _set_not_null(operation, step)
        case SetDescription():
            column = step.column(operation.column)
            described = replace(column, description=operation.description)
            return step.schema.with_column(described), f"column {column.name!r} is described anew"
        case ReorderColumns():
            return _reorder(operation, step)
        case _:
            return _carry_out_rule(operation, step)


def _carry_out_rule(
    operation: AddUniqueKey | DropUniqueKey | AddCheck | DropCheck, step: _Step
) -> tuple[Schema, str]:
    match operation:
        case AddUniqueKey():
            schema, key = _with_key(step.schema, operation.key, f"{step.path}.key")
            return schema, f"unique key {key.name!r} ({', '.join(key.columns)}) is added"
        case DropUniqueKey():
            return _drop_unique_key(operation, step)
        case AddCheck():
            path = f"{step.path}.check"
            refuse(check_violations(operation.check, step.schema, path))
            schema, check = _with_check(
                step.schema, operation.check, f"{path}.expression", step.read
            )
            return schema, f"check {check.name!r} is added: {check.expression}"
        case DropCheck():
            return _drop_check(operation, step)
        case other:
            assert_never(other)


def _add_column(operation: AddColumn, step: _Step) -> tuple[Schema, str]:
    column, path = operation.column, f"{step.path}.column"
    violations = name_violations(column.name, f"{path}.name")
    violations += _name_taken(step.schema, column.name, f"{path}.name")
    wrong = type_violations(column.type, f"{path}.type")
    if not wrong and column.default is not None:
        wrong = default_violations(column, f"{path}.default")
    if len(step.schema.columns) >= COLUMNS_MAX:
        why = f"a table has at most {COLUMNS_MAX} columns"
        wrong.append(FieldViolation(field=path, description=why))
    refuse(violations + wrong)
    columns = list(step.schema.columns)
    place = len(columns)
    if operation.after:
        place = columns.index(step.column(operation.after, "after")) + 1
    columns.insert(place, replace(column, id=column.id or step.next_id))
    schema = replace(step.schema, columns=tuple(columns))
    sentence = f"column {column.name!r} of type {type_text(column.type)} is added"
    if column.id:
        sentence += ", without what it held once"
    if operation.unique:
        key = UniqueKey(name="", columns=(column.name,))
        schema, key = _with_key(schema, key, f"{path}.unique")
        sentence += f", with unique key {key.name!r}"
    if operation.check:
        name = free_name(f"{column.name}_check", {check.name for check in schema.checks})
        check = Check(name=name, expression=operation.check)
        refuse(check_violations(check, schema, f"{path}.check"))
        schema, check = _with_check(schema, check, f"{path}.check", step.read)
        sentence += f", with check {check.name!r}"
    return schema, sentence


def _drop_column(operation: DropColumn, step: _Step) -> tuple[Schema, str]:
    column, schema = step.column(operation.column), step.schema
    if len(schema.columns) == 1:
        step.refuse("column", "a table has at least one column")
    keys = tuple(key for key in schema.unique_keys if column.name not in key.columns)
    checks = tuple(
        check
        for check in schema.checks
        if column.name not in step.read.used(check.expression, schema.columns)
    )
    after = Schema(
        columns=tuple(other for other in schema.columns if other is not column),
        unique_keys=keys,
        checks=checks,
    )
    gone = [f"unique key {key.name!r}" for key in schema.unique_keys if key not in keys]
    gone += [f"check {check.name!r}" for check in schema.checks if check not in checks]
    with_it = f", and with it {', '.join(gone)}" if gone else ""
    return after, f"column {column.name!r} is dropped{with_it}"


def _rename_column(operation: RenameColumn, step: _Step) -> tuple[Schema, str]:
    column, schema, new = step.column(operation.column), step.schema, operation.new_name
    others = replace(schema, columns=tuple(c for c in schema.columns if c is not column))
    refuse(
        name_violations(new, f"{step.path}.new_name")
        + _name_taken(others, new, f"{step.path}.new_name")
    )
    names = {column.name: new}
    after = schema.with_column(replace(column, name=new))
    after = replace(
        after,
        unique_keys=tuple(
            replace(key, columns=tuple(names.get(name, name) for name in key.columns))
            for key in schema.unique_keys
        ),
        checks=tuple(
            replace(check, expression=step.read.renamed(check.expression, schema.columns, names))
            for check in schema.checks
        ),
    )
    return after, f"column {column.name!r} is renamed to {new!r}"


def _retype_column(operation: RetypeColumn, step: _Step) -> tuple[Schema, str]:
    column, schema = step.column(operation.column), step.schema
    path = f"{step.path}.type"
    retyped = replace(column, type=operation.type)
    wrong = type_violations(operation.type, path)
    if not wrong and retyped.default is not None:
        wrong = [
            FieldViolation(field=path, description=f"its default is in the way: {why.description}")
            for why in default_violations(retyped, path)
        ]
    for key in schema.unique_keys:
        if column.name in key.columns and operation.type.kind not in KEY_KINDS:
            why = f"column {column.name!r} is part of unique key {key.name!r}"
            why += f", which cannot have type {operation.type.kind}"
            wrong.append(FieldViolation(field=path, description=why))
    refuse(wrong)
    for name in sorted(step.read.value(column, operation, schema.columns, step.path)):
        # One would be written out in the other wherever it names the column, and that in the next again.
        if step.column(name).id in step.made:
            why = f"an operation before gives column {name!r} its values by an expression"
            step.refuse("using", f"{why}: make it one expression, or two requests")
    after = schema.with_column(retyped)
    for check in schema.checks:
        if column.name in step.read.used(check.expression, schema.columns):
            step.read.condition(check.expression, after.columns, path)
    by = f" by {operation.using}" if operation.using else ""
    return after, f"column {column.name!r} becomes {type_text(operation.type)}{by}"


def _set_default(operation: SetDefault, step: _Step) -> tuple[Schema, str]:
    column = step.column(operation.column)
    after = replace(column, default=operation.default)
    if operation.default is None:
        return step.schema.with_column(after), f"column {column.name!r} has no default any more"
    refuse(default_violations(after, f"{step.path}.default"))
    return step.schema.with_column(after), f"column {column.name!r} has another default"


def _set_not_null(operation: SetNotNull, step: _Step) -> tuple[Schema, str]:
    column = step.column(operation.column)
    after = replace(column, not_null=operation.not_null)
    if operation.not_null and column.default is not None:
        refuse(default_violations(after, f"{step.path}.column"))
    verb = "refuses" if operation.not_null else "takes"
    return step.schema.with_column(after), f"column {column.name!r} {verb} null"


def _drop_unique_key(operation: DropUniqueKey, step: _Step) -> tuple[Schema, str]:
    kept = tuple(key for key in step.schema.unique_keys if key.name != operation.name)
    if len(kept) == len(step.schema.unique_keys):
        step.refuse("name", f"there is no unique key {operation.name!r}")
    return replace(step.schema, unique_keys=kept), f"unique key {operation.name!r} is dropped"


def _drop_check(operation: DropCheck, step: _Step) -> tuple[Schema, str]:
    kept = tuple(check for check in step.schema.checks if check.name != operation.name)
    if len(kept) == len(step.schema.checks):
        step.refuse("name", f"there is no check {operation.name!r}")
    return replace(step.schema, checks=kept), f"check {operation.name!r} is dropped"


def _reorder(operation: ReorderColumns, step: _Step) -> tuple[Schema, str]:
    columns = [step.column(name, f"columns[{at}]") for at, name in enumerate(operation.columns)]
    missing = [c.name for c in step.schema.columns if c.name not in operation.columns]
    if missing:
        step.refuse("columns", f"every column has a place; {missing[0]!r} has none")
    return replace(step.schema, columns=tuple(columns)), "the columns get another order"


def _with_key(schema: Schema, key: UniqueKey, path: str) -> tuple[Schema, UniqueKey]:
    refuse(key_violations(key, schema, path))
    named = named_key(key, {other.name for other in schema.unique_keys})
    return replace(schema, unique_keys=(*schema.unique_keys, named)), named


def _with_check(schema: Schema, check: Check, path: str, read: Conditions) -> tuple[Schema, Check]:
    used = read.condition(check.expression, schema.columns, path)
    taken = {other.name for other in schema.checks}
    named = named_check(check, schema.ordered(used), taken)
    return replace(schema, checks=(*schema.checks, named)), named


def _name_taken(schema: Schema, name: str, path: str) -> list[FieldViolation]:
    for other in schema.columns:
        if other.name.lower() == name.lower():
            why = f"column {name!r} has the name of {other.name!r}"
            return [FieldViolation(field=path, description=why)]
    return []
