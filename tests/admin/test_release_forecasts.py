"""The forecast of a release over HTTP, and what its progress says for pictures."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from tidegate_server.admin.series import forecasts
from tidegate_server.domain.change import Address, Change, Put
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import progress_address
from tidegate_server.domain.release import Release
from tidegate_server.store import Store
from tidegate_server.whatif.release_forecast import FIRST_LOOK_MS, HORIZON_MS, ReleaseForecast

from tests.http_calls import Caller, slug
from tests.waiting import until
from tests.whatif.test_release_forecast import ObservedRelease


def evaluate(store: Store, release: str, windows: int, seed: int = 1) -> ObservedRelease:
    """Store the progress of a release after windows with healthy traffic."""
    id = release.rpartition("/")[2]
    stored = store.get("default", Address(Kind.RELEASE, id, "production"))
    assert stored is not None
    subject: Release = stored.document
    run = ObservedRelease(subject.policy)
    run.release = subject
    start = run.progress
    run.progress = replace(
        start,
        release=id,
        evaluated_ms=subject.started_ms,
        control_ms=subject.started_ms,
        treatment_ms=subject.started_ms,
    )
    dice = random.Random(seed)
    for _ in range(windows):
        run.random_window(dice, 1_000)
    address = progress_address("production", id)
    before = store.get("default", address)
    put = Put(address, run.progress, before.revision if before else 0)
    store.commit(Change("default", (put,)), durable=False)
    return run


def get(checkout: Caller, path: str) -> Any:
    response = checkout.get(path)
    assert response.status_code == 200, response.text
    return response.json


def test_a_release_that_was_not_evaluated_has_no_forecast(checkout: Caller, release: str) -> None:
    answer = get(checkout, f"{release}/forecast")
    assert answer["reason"] == "the release has not been evaluated yet"
    assert (answer["rehearsals"], answer["next_stage"], answer["full"]) == (0, None, None)


def test_a_running_release_has_a_forecast(checkout: Caller, release: str, store: Store) -> None:
    run = evaluate(store, release, 4)
    answer = get(checkout, f"{release}/forecast")
    assert (answer["reason"], answer["rehearsals"]) == ("", 60)
    # On a busy machine it does not look far ahead.
    assert answer["made_at"] < answer["looked_until"]
    assert 0 <= answer["next_stage"]["reached"] <= 1
    interval_ms = run.release.policy.interval_ms
    assert answer["operations_per_minute"] == pytest.approx(60_000_000 / interval_ms, rel=0.1)


def test_a_forecast_stays_the_same_for_a_while_and_then_follows_the_evaluations(
    checkout: Caller, release: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(store, release, 4)
    first = checkout.get(f"{release}/forecast")
    again = checkout.get(f"{release}/forecast", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    evaluate(store, release, 6)
    assert get(checkout, f"{release}/forecast") == first.json
    # In this process, where what is kept for a while is not kept for most of a minute.
    monkeypatch.setattr(forecasts, "KEPT_TIMES", 1)
    id = release.rpartition("/")[2]

    def made_ms() -> int:
        return forecasts.forecast(store, "default", "production", id).made_ms

    made = made_ms()
    evaluate(store, release, 8)
    until(lambda: made_ms() > made, "a new forecast")


@pytest.mark.parametrize("limit", ["CPU_LIMIT_SECONDS", "TIME_LIMIT_SECONDS"])
def test_a_forecast_that_was_cut_short_looks_farther_when_it_is_asked_for_again(
    release: str, store: Store, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    evaluate(store, release, 4)
    id = release.rpartition("/")[2]

    def made() -> ReleaseForecast:
        return forecasts.forecast(store, "default", "production", id)

    monkeypatch.setattr(forecasts, "KEPT_TIMES", 0)
    monkeypatch.setattr(forecasts, "CPU_LIMIT_SECONDS", 60.0)
    monkeypatch.setattr(forecasts, "TIME_LIMIT_SECONDS", 60.0)
    monkeypatch.setattr(forecasts, limit, 0.0)
    short = made()
    assert (short.reason, short.rehearsals) == ("", 60)
    assert short.until_ms == short.made_ms + FIRST_LOOK_MS
    monkeypatch.setattr(forecasts, limit, 60.0)
    whole = made()
    assert whole.until_ms == whole.made_ms + HORIZON_MS
    assert whole.next_stage is not None
    assert whole.next_stage.median_ms is not None
    assert whole.made_ms < whole.next_stage.median_ms <= whole.until_ms
    # This one serves until the next evaluation.
    monkeypatch.setattr(forecasts, limit, 0.0)
    assert made() == whole


def test_a_forecast_of_an_unknown_release_is_not_found(checkout: Caller, release: str) -> None:
    response = checkout.get(f"{release.rpartition('/')[0]}/rel_none/forecast")
    assert (response.status_code, slug(response)) == (404, "not-found")


def test_progress_has_gates_and_affected_users(
    checkout: Caller, release: str, store: Store
) -> None:
    run = evaluate(store, release, 4)
    progress = get(checkout, release)["progress"]
    gates = {(each["kind"], each["arm"]): each for each in progress["gates"]}
    time = gates["time", None]
    assert time["have"] == 4 * run.release.policy.interval_ms / 1_000
    assert time["since"] == get(checkout, release)["stage_entered_at"]
    samples = gates["samples", "treatment"]
    assert samples["have"] == progress["stage_treatment"]["outcomes"]
    assert samples["need"] == run.release.current_stage.min_samples
    assert samples["met"] == (samples["have"] >= samples["need"])
    users = progress["users"]
    assert users["failed"] == progress["treatment"]["failing"]
    assert users["harmed"]["low"] <= users["harmed"]["estimate"] <= users["harmed"]["high"]
    assert users["spared"]["low"] <= users["spared"]["estimate"] <= users["spared"]["high"]
