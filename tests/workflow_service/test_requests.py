from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chassis.faults import AlreadyExists
from workflow_service import requests
from workflow_service.requests import LIFETIME, StartRequests

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_same_request_is_answered_for_a_day() -> None:
    known = StartRequests()
    known.add("ada", "r1", "digest", NOW, ["run_1", "run_2"])
    assert known.find("ada", "r1", "digest", NOW + LIFETIME) == ["run_1", "run_2"]
    assert known.find("ada", "r1", "digest", NOW + LIFETIME + timedelta(seconds=1)) == []
    assert known.find("bob", "r1", "other", NOW) == []


def test_the_same_id_with_other_content_is_refused() -> None:
    known = StartRequests()
    known.add("ada", "r1", "digest", NOW, ["run_1"])
    with pytest.raises(AlreadyExists) as refused:
        known.find("ada", "r1", "other", NOW)
    assert refused.value.reason == "REQUEST_ID_REUSED"


def test_runs_read_back_in_any_order_are_in_the_order_of_the_request() -> None:
    known = StartRequests()
    for index in (2, 0, 1):
        known.restore("ada", "r1", "digest", NOW, index, f"run_{index}")
    assert known.find("ada", "r1", "digest", NOW) == ["run_0", "run_1", "run_2"]


def test_the_oldest_are_forgotten_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "REQUESTS_MAX", 2)
    known = StartRequests()
    for name in ("r1", "r2", "r3"):
        known.add("ada", name, "digest", NOW, ["run"])
    assert known.find("ada", "r1", "digest", NOW) == []
    assert known.find("ada", "r3", "digest", NOW) == ["run"]


def test_a_request_that_came_to_nothing_may_come_again() -> None:
    known = StartRequests()
    known.add("ada", "r1", "digest", NOW, ["run"])
    known.discard("ada", "r1")
    assert known.find("ada", "r1", "digest", NOW) == []
