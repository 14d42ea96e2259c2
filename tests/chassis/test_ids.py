"""Ids sort by the time they were made and never repeat."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from chassis.ids import IdMaker
from tests.support.clock import ManualClock


@given(st.lists(st.integers(min_value=-5_000, max_value=5_000), max_size=40))
def test_ids_strictly_increase_whatever_the_clock_does(steps: list[int]) -> None:
    clock = ManualClock()
    ids = IdMaker(clock)
    made = [ids.new_id("run")]
    for milliseconds in steps:
        clock.advance(timedelta(milliseconds=milliseconds))
        made.append(ids.new_id("run"))
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_id_has_its_prefix_and_26_characters() -> None:
    prefix, _, body = IdMaker(ManualClock()).new_id("run").partition("_")
    assert (prefix, len(body)) == ("run", 26)
