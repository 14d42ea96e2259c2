"""Plain rows: the short way into a table gives the same rows as the long one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.faults import AlreadyExists, InvalidArgument
from chassis.values import to_value
from flux.table.v1 import rows_pb2
from table_service import codec
from table_service.plain_rows import PLAIN_ROWS_MAX, PlainReader, PlainRows, merged
from table_service.store import Store
from table_service.store.write_queue import Insert
from table_service.types import Column, Default, Kind, Type
from tests.table_service.stores import ITEMS, create, opened

PLAIN = replace(
    ITEMS,
    id="tbl_plain",
    name="plain",
    storage="tbl_plain",
    unique_keys=(),
    columns=(
        Column(name="number", type=Type(kind=Kind.INT64), not_null=True),
        Column(name="small", type=Type(kind=Kind.INT16)),
        Column(name="text", type=Type(kind=Kind.STRING)),
        Column(name="double", type=Type(kind=Kind.DOUBLE)),
        Column(name="flag", type=Type(kind=Kind.BOOL)),
        Column(name="content", type=Type(kind=Kind.BYTES)),
    ),
)
NAMES = tuple(column.name for column in PLAIN.columns)
Cells = tuple[object, ...]
ROWS: list[Cells] = [
    (2**63 - 1, 32767, "", 0.0, True, b""),
    (-(2**63), -32768, "a\0b", -0.0, False, b"\0\\x00\xff'"),
    (0, 0, "'; DROP TABLE x; -- \" \\", math.inf, None, b"$1"),
    (1, None, "\u202e\U0001f600\ud7ff é", 5e-324, True, None),
    (2, 1, None, 1.7976931348623157e308, False, b"x" * 5000),
    (3, 1, "NULL", None, True, b"NULL"),
]


def rows_of(
    rows: Sequence[Cells], names: Sequence[str] = NAMES, table_names: Sequence[str] = NAMES
) -> rows_pb2.Rows:
    at = [list(table_names).index(name) for name in names]
    typed = rows_pb2.TypedRows(
        columns=names,
        rows=[rows_pb2.TypedRow(values=[to_value(row[place]) for place in at]) for row in rows],
    )
    return rows_pb2.Rows(typed=typed)


def plain(rows: Sequence[Cells], names: Sequence[str] = NAMES) -> PlainRows:
    found = PlainReader().read(rows_of(rows, names), PLAIN)
    assert found is not None
    return found


def write(rows: PlainRows) -> Insert:
    return Insert(table=PLAIN, rows=rows, answer=lambda ids: repr(list(ids)).encode())


def stored(store: Store) -> list[Cells]:
    cursor = store.database.cursor()
    names = ", ".join(NAMES)
    found = cursor.execute(f"SELECT {names} FROM main.tbl_plain ORDER BY _row_id").fetchall()
    cursor.close()
    return found


def same(left: Sequence[Cells], right: Sequence[Cells]) -> bool:
    return repr(list(left)) == repr(list(right))


async def test_rows_go_in_as_they_are_alone_and_merged(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        create(store, PLAIN)
        for row in ROWS:
            await store.writer.submit(write(plain([row])))
        assert await store.writer.submit(write(plain(ROWS))) == b"[7, 8, 9, 10, 11, 12]"
        await asyncio.gather(*(store.writer.submit(write(plain([row]))) for row in ROWS))
        assert same(stored(store), [*ROWS, *ROWS, *ROWS])


cells = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.integers(-(2**15), 2**15 - 1),
    st.none() | st.text(max_size=5),
    st.none() | st.floats(allow_nan=False),
    st.none() | st.booleans(),
    st.none() | st.binary(max_size=5),
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(cells, min_size=1, max_size=5),
    names=st.permutations(NAMES),
    left_out=st.integers(0, 3),
)
def test_plain_rows_are_what_the_codec_makes_of_them(
    rows: list[Cells], names: list[str], left_out: int
) -> None:
    given_ = [name for name in names if name == "number" or name not in names[:left_out]]
    found = plain(rows, given_)
    assert found.carriers().equals(codec.decode(rows_of(rows, given_), PLAIN.columns).rows)
    both = merged([found, found])
    assert both.count == 2 * len(rows)
    assert both.carriers().equals(codec.decode(rows_of(rows * 2, given_), PLAIN.columns).rows)


@pytest.mark.parametrize(
    "rows",
    [
        rows_of([]),
        rows_of([ROWS[0]] * (PLAIN_ROWS_MAX + 1)),
        rows_of([(None, *ROWS[0][1:])]),
        rows_of([(1, 2**15, *ROWS[0][2:])]),
        rows_of([("1", *ROWS[0][1:])]),
        rows_of([(1, 1, 1, *ROWS[0][3:])]),
        rows_of([ROWS[0]], NAMES[1:]),
        rows_of([(*ROWS[0], 1)], [*NAMES, "unknown"], [*NAMES, "unknown"]),
        rows_of([ROWS[0]], [*NAMES, "number"]),
        rows_pb2.Rows(
            typed=rows_pb2.TypedRows(columns=NAMES, rows=[rows_pb2.TypedRow(values=[to_value(1)])])
        ),
        rows_pb2.Rows(json=rows_pb2.JsonRows()),
        rows_pb2.Rows(arrow_ipc=b"x"),
    ],
)
def test_what_is_not_plain_is_left_to_the_codec(rows: rows_pb2.Rows) -> None:
    assert PlainReader().read(rows, PLAIN) is None


def test_columns_of_other_types_and_defaults_are_left_to_the_codec() -> None:
    reader, row = PlainReader(), rows_of([ROWS[1]], ["number"])
    day = Column(name="day", type=Type(kind=Kind.DATE))
    made = Column(name="made", type=Type(kind=Kind.INT64), default=Default(literal=7))
    assert reader.read(row, PLAIN) is not None
    with_day = replace(PLAIN, columns=(*PLAIN.columns, day), revision=2)
    assert reader.read(row, with_day) is not None
    assert reader.read(rows_of([(1, None)], ["number", "day"], ["number", "day"]), with_day) is None
    assert reader.read(row, replace(PLAIN, columns=(*PLAIN.columns, made), revision=3)) is None


async def test_a_plain_row_that_a_key_refuses_says_which(tmp_path: Path) -> None:
    reader, names = PlainReader(), ("key", "size")

    def item(*rows: Cells) -> Insert:
        found = reader.read(rows_of(rows, names, names), ITEMS)
        assert found is not None
        return Insert(table=ITEMS, rows=found, answer=lambda ids: b"%d" % len(ids))

    with opened(tmp_path) as store:
        create(store, ITEMS)
        assert await store.writer.submit(item(("a", 1), ("b", 2))) == b"2"
        for rows in ([("a", 1)], [("c", 1), ("b", 2)], [("d", 1), ("d", 2)]):
            with pytest.raises((AlreadyExists, InvalidArgument)) as raised:
                await store.writer.submit(item(*rows))
            assert raised.value.reason == "DUPLICATE_KEY"
