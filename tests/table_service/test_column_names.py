"""Names of columns as files have them, made into names that a table can have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from table_service.column_names import NAME_CHARACTERS_MAX, legal_names
from table_service.column_rules import name_violations


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["month", "carrier"], ["month", "carrier"]),
        ([" unit price ", "unit price"], ["unit price_2", "unit price"]),
        (["_row_id", "row_id"], ["row_id_2", "row_id"]),
        (["a", "A", "a"], ["a", "A_2", "a_3"]),
        (["", "__", "x\ny"], ["column_1", "column_2", "x y"]),
        (["a_2", "a", "a"], ["a_2", "a", "a_3"]),
        (["x" * 200, "x" * 201], ["x" * 128, "x" * 126 + "_2"]),
    ],
)
def test_names_become_legal_and_unique(written: list[str], expected: list[str]) -> None:
    assert list(legal_names(written)) == expected


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=140), max_size=12))
def test_every_list_of_names_becomes_one_that_a_table_can_have(written: list[str]) -> None:
    names = legal_names(written)
    assert len(names) == len(written)
    assert len({name.lower() for name in names}) == len(names)
    assert not any(name_violations(name, "") for name in names)
    assert all(len(name) <= NAME_CHARACTERS_MAX for name in names)


@given(st.lists(st.text("abAB_ ", max_size=4), max_size=8))
def test_legal_names_stay_as_they_are(written: list[str]) -> None:
    names = legal_names(written)
    assert legal_names(names) == names
