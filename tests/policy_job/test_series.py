"""The policy job leaves a reading of each evaluation in the series of a release."""

from __future__ import annotations

from dataclasses import replace

import redis
from tidegate_server.domain.release import Release, State
from tidegate_server.ledger.series import Reading, points
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store.keys import ledger as ledger_key
from tidegate_server.store.keys import series as series_key

from tests.policy_job.deployment import ENVIRONMENT, HEALTHY, Clock, Deployment
from tests.policy_job.test_ledger import JobRun


def readings(deployment: Deployment, release: str = "rel_checkout") -> list[Reading]:
    stored = deployment.store.series.readings(deployment.project, ENVIRONMENT, release)
    by_window = {each.window: each for each in stored}
    return [by_window[window] for window in sorted(by_window)]


def test_an_ended_release_has_a_series_that_agrees_with_its_ledger(
    deployment: Deployment, raw: redis.Redis
) -> None:
    run = JobRun(deployment)
    run.windows(60)
    assert deployment.release().state is State.COMPLETED
    ledger, series = deployment.ledger(), readings(deployment)
    progress = deployment.progress()
    assert progress is not None

    assert [each.at_ms for each in series] == [each.at_ms for each in ledger]
    assert [each.stage for each in series] == [each.before.stage for each in ledger]
    assert [each.action for each in series] == [each.decision.action for each in ledger]
    for each, entry in zip(series, ledger, strict=True):
        (numbers,), (check,) = each.checks, entry.decision.checks
        assert numbers.log_evidence == round(check.log_evidence, 6)
        compared = each.stage < 3
        assert numbers.log_advance == (round(check.log_advance, 6) if compared else None)
        assert (numbers.advance_at is not None) == compared
        assert numbers.rollback_at == check.rollback_at
    found = points(series, 10, deployment.release().started_ms)
    for arm, total in (("control", progress.control), ("treatment", progress.treatment)):
        counts = [getattr(each, arm) for each in found]
        assert sum(each.outcomes for each in counts) == total.outcomes
        assert sum(each.failing for each in counts) == total.failing

    # The series does not need the ledger, whose old entries are trimmed.
    raw.delete(ledger_key(deployment.project, ENVIRONMENT, "rel_checkout"))
    assert readings(deployment) == series


def test_a_draft_has_no_readings(deployment: Deployment) -> None:
    clock = Clock(deployment.store.now_ms() - 30_000)
    deployment.start(now_ms=clock())
    stored = deployment.stored()
    draft: Release = replace(stored.document, state=State.DRAFT, closed=True)
    deployment.move(draft, "release.draft")
    job = PolicyJob(deployment.store, "job-1", clock)
    for _ in range(3):
        deployment.sdk.report(deployment.release(), *HEALTHY[1])
        clock.now_ms += 1_000
        job.tick()
    assert len(deployment.ledger()) == 3
    assert readings(deployment) == []


def test_a_series_is_small(deployment: Deployment, raw: redis.Redis) -> None:
    run = JobRun(deployment)
    run.windows(10)
    key = series_key(deployment.project, ENVIRONMENT, "rel_checkout")
    stored = raw.hvals(key)
    assert isinstance(stored, list)
    assert max(map(len, stored)) < 700


def test_a_release_that_is_rolled_back_has_its_whole_band_above_what_is_tolerated(
    deployment: Deployment,
) -> None:
    run = JobRun(deployment)
    run.windows(3)
    run.windows(20, failing=8)
    assert deployment.release().state is State.ROLLED_BACK
    tolerated = 1.0 + deployment.release().policy.checks[0].tolerance.relative
    *earlier, last = (each.checks[0] for each in readings(deployment))
    assert last.low is not None
    assert last.low >= tolerated
    assert all(each.low is None or each.low < tolerated for each in earlier)
    assert last.seen is not None
    assert last.seen > tolerated
    assert run.replay().differences == ()


def test_a_healthy_release_has_the_tolerated_ratio_in_its_band(deployment: Deployment) -> None:
    run = JobRun(deployment)
    run.windows(60)
    assert deployment.release().state is State.COMPLETED
    lows = [each.checks[0].low or 0.0 for each in readings(deployment)]
    highs = [each.checks[0].high or 1e9 for each in readings(deployment)]
    assert lows == sorted(lows)
    assert highs == sorted(highs, reverse=True)
    assert lows[-1] < 1.0 < highs[-1] < 1e9


def test_a_release_under_the_first_version_has_no_band(deployment: Deployment) -> None:
    clock = Clock(deployment.store.now_ms() - 30_000)
    deployment.start(now_ms=clock())
    old: Release = replace(deployment.release(), statistics=1)
    deployment.move(old, "release.test")
    job = PolicyJob(deployment.store, "job-1", clock)
    for _ in range(3):
        deployment.sdk.report(deployment.release(), *HEALTHY[1])
        clock.now_ms += 1_000
        job.tick()
    numbers = [each.checks[0] for each in readings(deployment)]
    assert len(numbers) == 3
    assert {(each.seen, each.low, each.high) for each in numbers} == {(None, None, None)}
