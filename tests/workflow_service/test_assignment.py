"""Rows against a table: what fits, and where each thing that does not is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flux.table.v1 import table_pb2
from tests.support.definitions import definition, told
from workflow_service.assignment import Column, ColumnKind, TableShape, check_rows
from workflow_service.definition import InsertRows, UpsertRows

K = ColumnKind
PATH = "definition.here"


def column(name: str, kind: ColumnKind, *, not_null: bool = False, scale: int = 0) -> Column:
    return Column(name=name, kind=kind, not_null=not_null, scale=scale)


TABLE = TableShape(
    name="t",
    columns=(
        column("carrier", K.STRING, not_null=True),
        column("month", K.INT32, not_null=True),
        column("delay", K.DOUBLE),
        column("note", K.STRING),
    ),
    unique_keys=(("carrier", "month"), ("note",)),
)
FITTING = (
    column("carrier", K.STRING),
    column("month", K.INT64),
    column("delay", K.DECIMAL, scale=2),
)


def action(text: str) -> InsertRows | UpsertRows:
    made = definition(f'{{"name": "w", "steps": [{{"id": "a", "action": {{{text}}}}}]}}')
    kind = made.steps[0].kind
    assert isinstance(kind, InsertRows | UpsertRows)
    return kind


INSERT = action('"insert_rows": {"table": "t", "from_step": "s"}')


def upsert(*keys: str) -> InsertRows | UpsertRows:
    names = ", ".join(f'"{key}"' for key in keys)
    return action(f'"upsert_rows": {{"table": "t", "key_columns": [{names}], "from_step": "s"}}')


def test_kinds_are_the_contracts() -> None:
    names = {name.removeprefix("KIND_") for name in table_pb2.Type.Kind.keys()}  # noqa: SIM118  # an enum
    assert set(K) == names - {"UNSPECIFIED"}


def test_rows_that_fit_have_nothing_against_them() -> None:
    assert check_rows(INSERT, PATH, TABLE, FITTING) == []
    assert check_rows(upsert("month", "carrier"), PATH, TABLE, FITTING) == []


def test_a_column_with_a_default_may_be_left_out() -> None:
    needed = Column(name="number", kind=K.INT64, not_null=True)
    given = replace(needed, default=True)
    for extra, missing in ((needed, 1), (given, 0)):
        table = replace(TABLE, columns=(*TABLE.columns, extra))
        assert len(check_rows(INSERT, PATH, table, FITTING)) == missing


def test_a_column_that_the_table_has_not_is_named_with_what_is_near() -> None:
    [found] = check_rows(INSERT, PATH, TABLE, (*FITTING, column("delays", K.DOUBLE)))
    assert (found.field, found.reason) == ("definition.here.from_step", "COLUMN_NOT_FOUND")
    assert found.description == (
        "step 's' makes a column 'delays': table 't' has no column 'delays'; did you mean 'delay'?"
    )


def test_columns_are_told_apart_by_case_as_the_store_does() -> None:
    found = check_rows(INSERT, PATH, TABLE, (*FITTING, column("Note", K.STRING)))
    assert told(found) == [("here.from_step", "COLUMN_NOT_FOUND")]


def test_a_column_that_may_not_be_null_must_be_given() -> None:
    found = check_rows(INSERT, PATH, TABLE, FITTING[1:])
    assert told(found) == [("here.from_step", "COLUMN_MISSING")]


@pytest.mark.parametrize(
    ("target", "given", "fits"),
    [
        (K.INT16, K.INT128, True),
        (K.INT64, K.DOUBLE, False),
        (K.INT64, K.DECIMAL, False),
        (K.DOUBLE, K.INT64, True),
        (K.FLOAT, K.DECIMAL, True),
        (K.DECIMAL, K.DOUBLE, True),
        (K.STRING, K.UUID, True),
        (K.STRING, K.INT64, False),
        (K.INT64, K.STRING, False),
        (K.BOOL, K.INT64, False),
        (K.TIMESTAMP, K.DATE, True),
        (K.DATE, K.TIMESTAMP, False),
        (K.JSON, K.STRUCT, True),
        (K.JSON, K.STRING, False),
        (K.LIST, K.LIST, True),
        (K.UUID, K.STRING, False),
    ],
)
def test_a_dataset_column_is_taken_by_what_holds_it_whole(
    target: ColumnKind, given: ColumnKind, fits: bool
) -> None:
    table = TableShape(name="t", columns=(column("x", target),), unique_keys=())
    found = check_rows(INSERT, PATH, table, (column("x", given, scale=2),))
    assert told(found) == ([] if fits else [("here.from_step", "COLUMN_TYPE_MISMATCH")])


def test_a_decimal_without_digits_after_the_point_is_whole() -> None:
    table = TableShape(name="t", columns=(column("x", K.INT64),), unique_keys=())
    assert check_rows(INSERT, PATH, table, (column("x", K.DECIMAL, scale=0),)) == []


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (("note",), "COLUMN_MISSING"),
        (("carrier",), "KEY_NOT_FOUND"),
        (("carrier", "month", "note"), "KEY_NOT_FOUND"),
        (("nothing",), "KEY_NOT_FOUND"),
    ],
)
def test_a_key_is_one_of_the_tables_and_its_columns_are_given(
    keys: tuple[str, ...], reason: str
) -> None:
    path = "key_columns" if reason == "KEY_NOT_FOUND" else "from_step"
    found = check_rows(upsert(*keys), PATH, TABLE, FITTING)
    assert told(found) == [(f"here.{path}", reason)]


def values(row: str) -> list[tuple[str, str]]:
    insert = action(f'"insert_rows": {{"table": "t", "values": {{"rows": [{{"values": {row}}}]}}}}')
    return told(check_rows(insert, PATH, TABLE, ()))


def test_rows_written_out_are_held_against_the_table_one_by_one() -> None:
    row = "here.values.rows[0].values"
    assert values('{"carrier": "\'UA\'", "month": "1 + 1"}') == []
    assert values('{"carrier": "input.x", "month": "input.x", "delay": "1", "note": "null"}') == []
    assert values('{"carrier": "\'UA\'"}') == [(row, "COLUMN_MISSING")]
    assert values('{"carrier": "1", "month": "1.5", "mnth": "1"}') == [
        (f'{row}["carrier"]', "COLUMN_TYPE_MISMATCH"),
        (f'{row}["mnth"]', "COLUMN_NOT_FOUND"),
        (f'{row}["month"]', "COLUMN_TYPE_MISMATCH"),
    ]
    assert values('{"carrier": "null", "month": "true"}') == [
        (f'{row}["carrier"]', "COLUMN_TYPE_MISMATCH"),
        (f'{row}["month"]', "COLUMN_TYPE_MISMATCH"),
    ]


@pytest.mark.parametrize(
    ("kind", "expression", "fits"),
    [
        (K.DECIMAL, "'12.50'", True),
        (K.DATE, "'2013-01-31'", True),
        (K.INT64, "'9007199254740993'", True),
        (K.BOOL, "'true'", False),
        (K.INT128, "'170141183460469231731687303715884105727'", True),
        (K.DOUBLE, "1", True),
        (K.INT64, "1u", True),
        (K.INT64, "1.0", False),
        (K.TIMESTAMP, "timestamp('2013-01-31T00:00:00Z')", True),
        (K.DATE, "timestamp('2013-01-31T00:00:00Z')", False),
        (K.INTERVAL, "duration('1s')", True),
        (K.BYTES, "b'a'", True),
        (K.STRING, "b'a'", False),
        (K.JSON, "true", True),
        (K.LIST, "[1]", True),
        (K.LIST, "'[1]'", False),
    ],
)
def test_a_value_whose_type_is_known_fits_or_not(
    kind: ColumnKind, expression: str, fits: bool
) -> None:
    table = TableShape(name="t", columns=(column("x", kind),), unique_keys=())
    insert = action(
        f'"insert_rows": {{"table": "t", "values": {{"rows": [{{"values": {{"x": "{expression}"}}}}]}}}}'
    )
    assert bool(check_rows(insert, PATH, table, ())) is not fits


def test_rows_written_out_give_their_keys() -> None:
    kind = action(
        '"upsert_rows": {"table": "t", "key_columns": ["note"], "values":'
        ' {"rows": [{"values": {"carrier": "\'UA\'", "month": "1"}}]}}'
    )
    assert told(check_rows(kind, PATH, TABLE, ())) == [
        ("here.values.rows[0].values", "COLUMN_MISSING")
    ]
