from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import redis
from tidegate.harm_evidence import EPOCH_WINDOWS
from tidegate_server.decisions.decision import Action
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.change import Address, Change, Kind, Put
from tidegate_server.domain.evidence import Evidence
from tidegate_server.domain.release import State
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

from tests.decisions.ramp import policy
from tests.policy_job.deployment import ENVIRONMENT, HEALTHY, QUICK, Clock, Deployment


class Shift:
    """A policy job on a clock of its own, and traffic for one release."""

    def __init__(self, deployment: Deployment, store: Store | None = None) -> None:
        self.deployment = deployment
        self.clock = Clock(deployment.store.now_ms())
        self.job = PolicyJob(store or deployment.store, "job-1", self.clock)

    def window(
        self,
        counts: tuple[tuple[int, int], tuple[int, int]] | None = None,
        after_ms: int = 1_000,
        release: str = "rel_checkout",
    ) -> int:
        """Report (healthy counts of the stage unless given) and tick an interval later."""
        subject = self.deployment.release(release)
        self.deployment.sdk.report(subject, *(counts or HEALTHY[subject.stage]))
        self.clock.now_ms += after_ms
        return self.job.tick()

    def until(self, state: State, most: int = 80) -> None:
        for _ in range(most):
            if self.deployment.release().state is state:
                return
            self.window()
        raise AssertionError(f"not {state} after {most} windows: {self.deployment.release()}")


@pytest.fixture
def shift(deployment: Deployment) -> Shift:
    shift = Shift(deployment)
    deployment.start(now_ms=shift.clock())
    return shift


class Interrupted(Store):
    """A store in which something happens between reading the evidence and committing."""

    meanwhile: Callable[[], None] | None = None

    def evidence_many(
        self, project: str, environment: str, releases: Sequence[str]
    ) -> list[Evidence]:
        found = super().evidence_many(project, environment, releases)
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
        return found


@pytest.fixture
def interrupted(valkey: EmbeddedValkey) -> Interrupted:
    store = Interrupted.connect(valkey.url)
    assert isinstance(store, Interrupted)
    return store


def test_a_harmless_release_opens_stage_by_stage_and_completes(shift: Shift) -> None:
    shift.until(State.COMPLETED)
    ledger = shift.deployment.ledger()

    assert [entry.decision.window for entry in ledger] == list(range(1, len(ledger) + 1))
    moves = [(entry.before.stage, entry.after.stage) for entry in ledger]
    assert [move for move in moves if move[0] != move[1]] == [(1, 2), (2, 3)]
    assert [str(entry.decision.action) for entry in ledger if entry.decision.action != "hold"] == [
        "advance",
        "advance",
        "complete",
    ]
    assert shift.deployment.serves() == "on"
    assert shift.window() == 0


def test_a_bad_release_is_rolled_back_and_says_why(shift: Shift) -> None:
    shift.window()
    shift.window(((900, 2), (100, 25)))
    deployment = shift.deployment

    assert deployment.release().state is State.ROLLED_BACK
    assert "25 treated users failed in 200 operations" in deployment.release().reason
    assert deployment.serves() == "off"
    audit, _ = deployment.store.audit(deployment.project)
    assert (audit[0].actor, audit[0].action) == ("policy", "release.rollback")
    last = deployment.ledger()[-1]
    assert last.window.strata[0].treatment.failing == 25
    assert last.decision.action is Action.ROLLBACK
    assert (last.before.state, last.after.state) == (State.RUNNING, State.ROLLED_BACK)


def test_a_release_is_only_evaluated_when_it_is_due(shift: Shift) -> None:
    assert shift.window(after_ms=999) == 0
    assert shift.window(after_ms=1) == 1
    assert shift.window(after_ms=500) == 0


def test_nothing_that_was_reported_is_counted_twice_or_lost(shift: Shift) -> None:
    for _ in range(6):
        shift.window(((900, 9), (100, 1)))
    progress = shift.deployment.progress()

    assert progress is not None
    assert (progress.control.outcomes, progress.treatment.outcomes) == (5_400, 600)
    assert (progress.control.failing, progress.treatment.failing) == (54, 6)


def test_a_long_gap_is_one_window_and_at_most_one_stage(shift: Shift) -> None:
    shift.window()
    for _ in range(20):
        shift.deployment.sdk.report(shift.deployment.release(), *HEALTHY[1])
    shift.clock.now_ms += 10 * 3_600_000
    assert shift.job.tick() == 1
    progress = shift.deployment.progress()

    assert progress is not None
    assert progress.windows == 2
    assert shift.deployment.release().stage == 2


def test_a_paused_release_stays_where_it_is_and_is_still_watched(shift: Shift) -> None:
    shift.deployment.pause()
    for _ in range(10):
        assert shift.window() == 1
    assert shift.deployment.release().stage == 1

    shift.window(((900, 2), (100, 25)))
    assert shift.deployment.release().state is State.ROLLED_BACK


def test_a_killed_release_is_left_alone_until_it_is_restored(shift: Shift) -> None:
    shift.deployment.kill()
    assert shift.window() == 0
    assert shift.window() == 0
    assert shift.deployment.release().state is State.KILLED

    shift.deployment.restore()
    assert shift.window() == 1
    assert shift.deployment.release().state is State.PAUSED


def test_a_release_that_begins_while_the_job_runs_is_found(shift: Shift) -> None:
    shift.window()
    shift.deployment.start(flag="search", now_ms=shift.clock())
    shift.window()

    assert shift.deployment.progress("rel_search") is not None


def test_silence_holds_the_release_and_data_let_it_go_on(deployment: Deployment) -> None:
    shift = Shift(deployment)
    quiet = replace(QUICK, no_data=replace(QUICK.no_data, after_ms=3_000))
    deployment.start(quiet, now_ms=shift.clock())
    shift.window()
    for _ in range(4):
        shift.window(((0, 0), (0, 0)))
    assert deployment.release().state is State.HOLDING
    assert "no exposures for 3 s; 1 instance reports" in deployment.release().reason
    held = deployment.stored().revision

    shift.window(((0, 0), (0, 0)))
    assert deployment.stored().revision == held

    shift.window()
    assert deployment.release().state is State.RUNNING


def test_a_new_epoch_lets_users_fail_for_the_first_time_again(deployment: Deployment) -> None:
    shift = Shift(deployment)
    deployment.start(policy(10, 100, min_samples=10**9), now_ms=shift.clock())
    for _ in range(EPOCH_WINDOWS):
        shift.window(after_ms=30_000)

    assert deployment.store.evidence("shop", ENVIRONMENT, "rel_checkout").generation == 2
    progress = deployment.progress()
    assert progress is not None
    assert (progress.generation, progress.spending, progress.epoch_windows) == (2, 2, 0)


def test_a_changed_treatment_begins_a_new_generation_of_failing_users(shift: Shift) -> None:
    shift.window()
    changed = machine.restart_evidence(shift.deployment.release(), shift.clock(), "new value")
    shift.deployment.move(changed, "flag.edit")
    shift.window()

    assert shift.deployment.store.evidence("shop", ENVIRONMENT, "rel_checkout").generation == 2


class TestRaces:
    @pytest.fixture
    def shift(self, deployment: Deployment, interrupted: Interrupted) -> Shift:
        shift = Shift(deployment, interrupted)
        deployment.start(now_ms=shift.clock())
        return shift

    def test_a_person_s_pause_between_reading_and_committing_wins(
        self, shift: Shift, interrupted: Interrupted
    ) -> None:
        shift.window()
        interrupted.meanwhile = shift.deployment.pause
        before = shift.deployment.progress()

        assert shift.window() == 0
        assert shift.deployment.release().state is State.PAUSED
        assert shift.deployment.progress() == before
        assert len(shift.deployment.ledger()) == 1

        # Nothing is lost: the next tick reads again, and counts everything since.
        assert shift.window() == 1
        progress = shift.deployment.progress()
        assert progress is not None
        assert progress.control.outcomes == 2_700

    def test_a_person_s_rollback_between_reading_and_committing_wins(
        self, shift: Shift, interrupted: Interrupted
    ) -> None:
        def roll_back() -> None:
            deployment = shift.deployment
            after = machine.roll_back(deployment.release(), 1, "no", by=Initiator.PERSON)
            deployment.move(after, "release.rollback")

        interrupted.meanwhile = roll_back
        assert shift.window() == 0
        assert shift.deployment.release().reason == "no"

    def test_a_deposed_leader_writes_nothing(self, shift: Shift, interrupted: Interrupted) -> None:
        shift.window()
        before = shift.deployment.progress()

        def depose() -> None:
            store = shift.deployment.store
            fence = store.acquire_lease("shop", "job-1", 5_000)
            assert fence is not None
            store.release_lease("shop", fence)
            assert store.acquire_lease("shop", "job-2", 60_000) is not None

        interrupted.meanwhile = depose
        assert shift.window() == 0
        assert shift.deployment.progress() == before
        assert shift.window() == 0
        assert len(shift.deployment.ledger()) == 1


def test_two_jobs_share_the_work_without_doing_any_of_it_twice(deployment: Deployment) -> None:
    shift = Shift(deployment)
    other = PolicyJob(deployment.store, "job-2", shift.clock)
    deployment.start(now_ms=shift.clock())
    for _ in range(5):
        assert shift.window() + other.tick() == 1
    assert [entry.decision.window for entry in deployment.ledger()] == [1, 2, 3, 4, 5]


def test_a_release_that_cannot_be_read_does_not_stop_the_others(
    shift: Shift, valkey: EmbeddedValkey
) -> None:
    shift.deployment.start(flag="search", now_ms=shift.clock())
    client = redis.Redis.from_url(valkey.url)
    shift.window()
    names = client.keys("*progress*")
    assert isinstance(names, list)
    client.hset(names[0], "rel_search", "1 1 {}")
    shift.window()
    shift.window()
    client.close()

    assert len(shift.deployment.ledger("rel_search")) == 1
    assert len(shift.deployment.ledger()) == 3


def test_many_releases_are_evaluated_at_once_and_each_by_itself(shift: Shift) -> None:
    """One that cannot be read keeps nobody from being evaluated, and one that changed meanwhile
    is left for the next tick."""
    deployment = shift.deployment
    deployment.start(flag="search", now_ms=shift.clock())
    broken = Address(Kind.RELEASE, "rel_broken", ENVIRONMENT)
    unreadable = replace(deployment.release(), id="rel_broken", flag="gone", stage=99)
    deployment.store.commit(Change("shop", (Put(broken, unreadable, 0),)))
    deployment.sdk.report(deployment.release("rel_search"), (90, 0), (10, 0))
    shift.clock.now_ms += 1_000
    shift.job.tick()

    assert len(deployment.ledger("rel_search")) == 1
    assert len(deployment.ledger("rel_checkout")) == 1
    assert deployment.ledger("rel_broken") == []
