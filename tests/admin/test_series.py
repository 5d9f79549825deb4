"""The series of a release over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.domain.change import Change, SeriesReading
from tidegate_server.ledger.series import ArmCounts, CheckNumbers, Reading, slots
from tidegate_server.store import Store

from tests.http_calls import Caller, pointers, slug
from tests.ledger.test_series import reading

INTERVAL_MS = 30_000


def write_series(store: Store, release: str, readings: list[Reading]) -> None:
    """Store readings as the policy job does."""
    id = release.rpartition("/")[2]
    kept = [
        SeriesReading("production", id, slots(each.window, each.step), each) for each in readings
    ]
    for start in range(0, len(kept), 100):
        store.commit(Change("default", (), series=tuple(kept[start : start + 100])), durable=False)


def get(checkout: Caller, release: str, query: str = "") -> Any:
    response = checkout.get(f"{release}/series{query}")
    assert response.status_code == 200, response.text
    return response.json


def test_a_release_without_an_evaluation_has_no_points(checkout: Caller, release: str) -> None:
    answer = get(checkout, release)
    assert (answer["points"], answer["kept"]) == ([], 0)
    assert answer["checks"][0] == {
        "number": 0,
        "label": "error rate against control",
        "compared_by": "ratio",
        "quantile": None,
    }


def test_points_have_what_happened_since_the_point_before(
    checkout: Caller, release: str, store: Store
) -> None:
    write_series(store, release, [reading(window) for window in range(1, 5)])
    points = get(checkout, release, "?points=2")["points"]
    assert [each["window"] for each in points] == [3, 4]
    assert points[0]["control"] == {"outcomes": 300, "errors": 9, "failing": 6}
    assert points[1]["treatment"] == {"outcomes": 10, "errors": 1, "failing": 1}
    assert points[0]["at"] == points[1]["since"] == "1970-01-01T00:01:30.000Z"
    assert (points[1]["action"], points[1]["state"]) == ("hold", "running")


def test_a_long_series_is_bounded(checkout: Caller, release: str, store: Store) -> None:
    write_series(store, release, [reading(window) for window in range(1, 2_001)])
    answer = get(checkout, release)
    assert 60 <= len(answer["points"]) <= 120
    assert 120 <= answer["kept"] < 1_000
    assert sum(each["control"]["errors"] for each in answer["points"]) == 6_000
    assert len(get(checkout, release, "?points=500")["points"]) > 250


def test_a_point_has_the_numbers_of_its_checks(
    checkout: Caller, release: str, store: Store
) -> None:
    numbers = CheckNumbers(
        log_evidence=0.0,
        rollback_at=111.0,
        log_advance=1_000.0,
        advance_at=10.0,
        seen=1.2,
        low=0.8,
        high=1.9,
    )
    first = reading(1)
    write_series(
        store,
        release,
        [Reading(1, INTERVAL_MS, 1, 1, 1, first.action, first.state, ArmCounts(), ArmCounts(),
                 (numbers,))],
    )  # fmt: skip
    (check,) = get(checkout, release)["points"][0]["checks"]
    ratio = check.pop("ratio")
    assert (ratio["seen"], ratio["low"], ratio["high"]) == (1.2, 0.8, 1.9)
    assert ratio["tolerated"] > 1.0
    assert check.pop("advance") > 1e300  # JSON has no infinity
    assert check == {
        "number": 0,
        "evidence": 1.0,
        "rollback_at": 111.0,
        "advance_at": 10.0,
        "quantiles": None,
        "value": None,
        "limit": None,
    }


@pytest.mark.parametrize("points", ["1", "501", "many", "-3"])
def test_an_impossible_number_of_points_is_refused(
    checkout: Caller, release: str, points: str
) -> None:
    response = checkout.get(f"{release}/series?points={points}")
    assert response.status_code == 422
    assert pointers(response) == ["/points"]


def test_a_series_of_an_unknown_release_is_not_found(checkout: Caller, release: str) -> None:
    response = checkout.get(f"{release.rpartition('/')[0]}/rel_none/series")
    assert (response.status_code, slug(response)) == (404, "not-found")


def test_a_series_has_an_etag(checkout: Caller, release: str, store: Store) -> None:
    write_series(store, release, [reading(1)])
    etag = checkout.get(f"{release}/series").headers["ETag"]
    again = checkout.get(f"{release}/series", headers={"If-None-Match": etag})
    assert again.status_code == 304
