"""Operations on schemas without any rows: limits, blame, and the way back from any schema to any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.faults import InvalidArgument
from table_service import schema_changes
from table_service.schema_changes import Conditions
from table_service.schema_operations import (
    AddCheck,
    AddColumn,
    AddUniqueKey,
    RenameColumn,
    RetypeColumn,
    SchemaOperation,
    SetDefault,
    SetNotNull,
)
from table_service.schema_requirements import (
    Holds,
    Method,
    NoDuplicates,
    NoNull,
    changes_nothing,
    methods_of,
    requirements,
)
from table_service.schema_reverts import operations_between
from table_service.schemas import CHECKS_MAX, COLUMNS_MAX, KEYS_MAX, Schema
from table_service.table_lists import read_position
from table_service.tables import Check, UniqueKey
from table_service.types import Column, Default, DefaultFunction, Kind, Type

INT = Type(kind=Kind.INT64)
TEXT = Type(kind=Kind.STRING)


def words(written: str, columns: Sequence[Column]) -> frozenset[str]:
    """Return the columns in an expression that is nothing but words."""
    return frozenset(word for word in written.split() if any(word == c.name for c in columns))


def renamed(written: str, columns: Sequence[Column], names: Mapping[str, str]) -> str:
    return " ".join(names.get(word, word) for word in written.split())


# Expressions of words stand in for SQL, which DuckDB alone reads.
READ = Conditions(
    used=words,
    renamed=renamed,
    condition=lambda written, columns, path: words(written, columns),
    value=lambda column, operation, columns, path: frozenset(operation.using.split()),
)


def column(
    id_: int,
    name: str = "",
    type_: Type = INT,
    *,
    default: Default | None = None,
    not_null: bool = False,
) -> Column:
    return Column(name=name or f"c{id_}", type=type_, id=id_, default=default, not_null=not_null)


def schema_of(
    *columns: Column, keys: Sequence[UniqueKey] = (), checks: Sequence[Check] = ()
) -> Schema:
    return Schema(columns=columns, unique_keys=tuple(keys), checks=tuple(checks))


def apply(schema: Schema, *operations: SchemaOperation) -> schema_changes.Changes:
    return schema_changes.apply(schema, 100, operations, READ)


def why(schema: Schema, operation: SchemaOperation) -> tuple[str, str]:
    with pytest.raises(InvalidArgument) as raised:
        apply(schema, operation)
    violation = raised.value.violations[0]
    return violation.field, violation.description


def test_a_table_holds_only_so_much() -> None:
    full = schema_of(*(column(at) for at in range(1, COLUMNS_MAX + 1)))
    assert why(full, AddColumn(column=column(0, "x")))[1] == "a table has at most 1000 columns"
    keys = [UniqueKey(name=f"k{at}", columns=(f"c{at}",)) for at in range(1, KEYS_MAX + 1)]
    keyed = schema_of(*(column(at) for at in range(1, 20)), keys=keys)
    key = UniqueKey(name="", columns=("c19",))
    assert why(keyed, AddUniqueKey(key=key))[1] == "a table has at most 16 unique keys"
    checks = [Check(name=f"x{at}", expression="c1") for at in range(CHECKS_MAX)]
    checked = schema_of(column(1), checks=checks)
    check = Check(name="", expression="c1")
    assert why(checked, AddCheck(check=check))[1] == "a table has at most 64 checks"


def test_key_holds_back_types_it_cannot_have() -> None:
    schema = schema_of(column(1), keys=[UniqueKey(name="k", columns=("c1",))])
    path, sentence = why(schema, RetypeColumn(column="c1", type=Type(kind=Kind.JSON)))
    assert path == "operations[0].retype_column.type"
    assert sentence == "column 'c1' is part of unique key 'k', which cannot have type JSON"


def test_requirements_are_laid_to_the_last_that_touched_what_they_are_about() -> None:
    schema = schema_of(
        column(1, not_null=True),
        column(2),
        keys=[UniqueKey(name="k", columns=("c1", "c2"))],
        checks=[Check(name="x", expression="c2 > 0")],
    )
    changes = apply(
        schema,
        RenameColumn(column="c1", new_name="c9"),
        SetNotNull(column="c2", not_null=True),
        RetypeColumn(column="c9", type=TEXT),
        SetNotNull(column="c9", not_null=True),
        AddColumn(column=column(0, "n", not_null=True), unique=True, check="n"),
        RenameColumn(column="n", new_name="m"),
    )
    found = requirements(changes, READ.used)
    assert [(type(one), one.operation) for one in found] == [
        (NoNull, 2),
        (NoNull, 1),
        (NoNull, 4),
        (NoDuplicates, 2),
        (NoDuplicates, 4),
        (Holds, 4),
    ]


def test_what_stays_as_it_was_asks_nothing() -> None:
    schema = schema_of(
        column(1, not_null=True), column(2), keys=[UniqueKey(name="k", columns=("c1",))]
    )
    changes = apply(
        schema, RetypeColumn(column="c2", type=TEXT), SetNotNull(column="c1", not_null=True)
    )
    assert requirements(changes, READ.used) == []
    assert methods_of(changes.applied) == [Method.REBUILD, Method.DEFINITION]


def test_there_and_back_is_nothing_unless_values_may_have_changed() -> None:
    schema = schema_of(column(1))
    names = (RenameColumn(column="c1", new_name="x"), RenameColumn(column="x", new_name="c1"))
    assert changes_nothing(apply(schema, *names))
    types = (RetypeColumn(column="c1", type=TEXT), RetypeColumn(column="c1", type=INT))
    assert not changes_nothing(apply(schema, *types))
    assert not changes_nothing(apply(schema, RetypeColumn(column="c1", type=INT, using="c1")))


def test_position_that_is_none_is_refused() -> None:
    assert read_position("") is None
    with pytest.raises(InvalidArgument):
        read_position("[")


names = st.sampled_from(["a", "b", "c", "d", "e"])
defaults = st.sampled_from(
    [None, Default(literal=None), Default(function=DefaultFunction.SEQUENCE), Default(literal=5)]
)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """Return a schema whose columns have any of five ids and names."""
    ids = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5, unique=True))
    called = draw(st.lists(names, min_size=len(ids), max_size=len(ids), unique=True))
    columns = []
    for id_, name in zip(ids, called, strict=True):
        type_ = draw(st.sampled_from([INT, TEXT]))
        default = draw(defaults) if type_ is INT else None
        not_null = draw(st.booleans()) and not (default and default == Default(literal=None))
        columns.append(column(id_, name, type_, default=default, not_null=not_null))
    keys: list[UniqueKey] = []
    checks: list[Check] = []
    for at in draw(st.lists(st.integers(0, 2), max_size=2, unique=True)):
        chosen = draw(st.lists(st.sampled_from(called), min_size=1, max_size=2, unique=True))
        if not any(set(key.columns) == set(chosen) for key in keys):
            keys.append(UniqueKey(name=f"k{at}", columns=tuple(chosen)))
        checks.append(Check(name=f"x{at}", expression=f"{chosen[0]} > {at}"))
    return schema_of(*columns, keys=keys, checks=checks)


@given(now=schemas(), then=schemas())
def test_there_is_a_way_between_any_two_schemas(now: Schema, then: Schema) -> None:
    operations = operations_between(now, then, READ)
    after = schema_changes.apply(now, 5, operations, READ).after
    assert after.columns == then.columns
    assert set(after.unique_keys) == set(then.unique_keys)
    assert set(after.checks) == set(then.checks)
    assert operations_between(then, then, READ) == []


def test_default_that_goes_is_no_reason_to_count() -> None:
    schema = schema_of(column(1, default=Default(literal=1)))
    changes = apply(schema, SetDefault(column="c1", default=None))
    assert methods_of(changes.applied) == [Method.DEFINITION]
