from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import redis
from tidegate.model import Serve
from tidegate_server.decisions.decision import Action
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.change import Address, Change, Delete, Put, Refresh
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.domain.release import State
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.errors import LeaseLost, NotKept, StaleRevision
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store
from tidegate_server.store.commit import Committed
from tidegate_server.store.embedded import EmbeddedValkey
from tidegate_server.store.report_acceptance import RECENT_STEPS

from tests.decisions.simulated_release import policy
from tests.policy_job.deployment import ENVIRONMENT, HEALTHY, QUICK, Clock, Deployment


class JobRun:
    """A policy job with a clock that the test moves, and traffic for one release."""

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
        """Report counts (healthy ones by default) and tick an interval later."""
        subject = self.deployment.release(release)
        self.deployment.sdk.report(subject, *(counts or HEALTHY[subject.stage]))
        self.clock.now_ms += after_ms
        return self.job.tick()

    def until(self, state: State, max_windows: int = 80) -> None:
        for _ in range(max_windows):
            if self.deployment.release().state is state:
                return
            self.window()
        raise AssertionError(
            f"not {state} after {max_windows} windows: {self.deployment.release()}"
        )


@pytest.fixture
def run(deployment: Deployment) -> JobRun:
    run = JobRun(deployment)
    deployment.start(now_ms=run.clock())
    return run


class InterruptedStore(Store):
    """A store that calls ``before_commit`` between reading the evidence and committing."""

    before_commit: Callable[[], None] | None = None

    def commit_many(
        self, changes: Sequence[Change], durable: bool = True
    ) -> list[Committed | StaleRevision | LeaseLost | NotKept]:
        interrupt, self.before_commit = self.before_commit, None
        if interrupt is not None:
            interrupt()
        return super().commit_many(changes, durable)


@pytest.fixture
def interrupted(valkey: EmbeddedValkey) -> InterruptedStore:
    store = InterruptedStore.connect(valkey.url)
    assert isinstance(store, InterruptedStore)
    return store


def test_a_harmless_release_opens_stage_by_stage_and_completes(run: JobRun) -> None:
    run.until(State.COMPLETED)
    ledger = run.deployment.ledger()

    assert [entry.decision.window for entry in ledger] == list(range(1, len(ledger) + 1))
    moves = [(entry.before.stage, entry.after.stage) for entry in ledger]
    assert [move for move in moves if move[0] != move[1]] == [(1, 2), (2, 3)]
    assert [str(entry.decision.action) for entry in ledger if entry.decision.action != "hold"] == [
        "advance",
        "advance",
        "complete",
    ]
    assert run.deployment.serves() == "on"
    assert run.window() == 0


def test_a_bad_release_is_rolled_back_and_says_why(run: JobRun) -> None:
    run.window()
    run.window(((900, 2), (100, 25)))
    deployment = run.deployment

    assert deployment.release().state is State.ROLLED_BACK
    assert "treatment: 25 users failed in 200 operations" in deployment.release().reason
    assert deployment.serves() == "off"
    audit, _ = deployment.store.logs.audit(deployment.project)
    assert (audit[0].actor, audit[0].action) == ("policy", "release.rollback")
    last = deployment.ledger()[-1]
    assert last.window.strata[0].treatment.failing == 25
    assert last.decision.action is Action.ROLLBACK
    assert (last.before.state, last.after.state) == (State.RUNNING, State.ROLLED_BACK)


def test_a_release_is_evaluated_only_when_it_is_due(run: JobRun) -> None:
    assert run.window(after_ms=999) == 0
    assert run.window(after_ms=1) == 1
    assert run.window(after_ms=500) == 0


def test_between_two_looks_at_everything_what_is_due_is_evaluated(run: JobRun) -> None:
    run.window()
    run.clock.now_ms += 999
    assert run.job.evaluate_due() == 0
    run.clock.now_ms += 1
    assert run.job.evaluate_due() == 1
    after = machine.roll_back(run.deployment.release(), 1, "no", by=Initiator.PERSON)
    run.deployment.move(after, "release.rollback")
    run.clock.now_ms += 1_000
    assert run.job.evaluate_due() == 0


def test_what_is_due_costs_the_same_among_many_idle_projects(run: JobRun, raw: redis.Redis) -> None:
    # No lease is renewed meanwhile, which would cost commands when the machine is slow.
    run.job = PolicyJob(run.deployment.store, "job-1", run.clock, lease_ms=3_600_000)

    def commands() -> int:
        """Return how many commands an evaluation of the release costs the store."""
        run.job.tick()
        run.clock.now_ms += 1_000
        before = executed()
        assert run.job.evaluate_due() == 1
        return executed() - before

    def executed() -> int:
        found: dict[str, int] = raw.info("stats")
        return found["total_commands_processed"]

    commands()  # the first one loads the scripts
    alone = commands()
    store = run.deployment.store
    for key in ("web", "app", "docs"):
        store.commit(Change("", (Put(Address(Kind.PROJECT, key), Project(key), 0),)))
        place = Address(Kind.ENVIRONMENT, ENVIRONMENT)
        store.commit(Change(key, (Put(place, Environment(ENVIRONMENT), 0),)))
    assert commands() == alone


def test_releases_of_a_deleted_environment_are_forgotten(run: JobRun, raw: redis.Redis) -> None:
    run.window()
    store, project = run.deployment.store, run.deployment.project
    place = Address(Kind.ENVIRONMENT, ENVIRONMENT)
    stored = store.get(project, place)
    assert stored is not None
    store.commit(Change(project, (Delete(place, stored.revision),)))
    run.job.tick()
    run.clock.now_ms += 1_000
    assert (run.job.evaluate_due(), run.job.tick()) == (0, 0)


def test_every_report_is_counted_exactly_once(run: JobRun) -> None:
    for _ in range(6):
        run.window(((900, 9), (100, 1)))
    progress = run.deployment.progress()

    assert progress is not None
    assert (progress.control.outcomes, progress.treatment.outcomes) == (5_400, 600)
    assert (progress.control.failing, progress.treatment.failing) == (54, 6)


def test_a_long_gap_is_one_window_and_advances_at_most_one_stage(run: JobRun) -> None:
    run.window()
    for _ in range(20):
        run.deployment.sdk.report(run.deployment.release(), *HEALTHY[1])
    run.clock.now_ms += 10 * 3_600_000
    assert run.job.tick() == 1
    progress = run.deployment.progress()

    assert progress is not None
    assert progress.windows == 2
    assert run.deployment.release().stage == 2


def test_a_paused_release_keeps_its_stage_and_can_still_be_rolled_back(run: JobRun) -> None:
    run.deployment.pause()
    for _ in range(10):
        assert run.window() == 1
    assert run.deployment.release().stage == 1

    run.window(((900, 2), (100, 25)))
    assert run.deployment.release().state is State.ROLLED_BACK


@pytest.mark.parametrize("same_job", [True, False])
def test_a_bad_release_is_rolled_back_although_the_store_s_clock_has_gone_back(
    run: JobRun, same_job: bool
) -> None:
    run.window()
    run.clock.now_ms -= 10 * 3_600_000
    if not same_job:
        run.job = PolicyJob(run.deployment.store, "job-1", run.clock)
    # Less than an interval later: only what is due by the new clock is evaluated again.
    assert [run.window(after_ms=500), run.window(after_ms=500)] == [1, 0]

    run.window(((900, 2), (100, 25)))
    assert run.deployment.release().state is State.ROLLED_BACK


def test_a_killed_release_is_not_evaluated_until_it_is_restored(run: JobRun) -> None:
    run.deployment.kill()
    assert run.window() == 0
    assert run.window() == 0
    assert run.deployment.release().state is State.KILLED

    run.deployment.restore()
    assert run.window() == 1
    assert run.deployment.release().state is State.PAUSED


def test_a_release_that_starts_while_the_job_runs_is_evaluated(run: JobRun) -> None:
    run.window()
    run.deployment.start(flag="search", now_ms=run.clock())
    run.window()

    assert run.deployment.progress("rel_search") is not None


def test_missing_data_holds_a_release_until_data_arrives(deployment: Deployment) -> None:
    run = JobRun(deployment)
    quiet = replace(QUICK, no_data=replace(QUICK.no_data, after_ms=3_000))
    deployment.start(quiet, now_ms=run.clock())
    run.window()
    for _ in range(4):
        run.window(((0, 0), (0, 0)))
    assert deployment.release().state is State.HOLDING
    assert "no exposures for 3 s; 1 instance reports" in deployment.release().reason
    held = deployment.stored().revision

    run.window(((0, 0), (0, 0)))
    assert deployment.stored().revision == held

    run.window()
    assert deployment.release().state is State.RUNNING


def test_a_new_epoch_counts_failing_users_anew(deployment: Deployment) -> None:
    run = JobRun(deployment)
    deployment.start(policy(10, 100, min_samples=10**9), now_ms=run.clock())
    for failing, failed_again in ((60, 0), (50, 10), (5, 55)):
        subject = deployment.release()
        deployment.sdk.report(subject, (900, failing), (100, 5), failed_again)
        run.clock.now_ms += 30_000
        run.job.tick()

    assert deployment.store.evidence.totals("shop", ENVIRONMENT, "rel_checkout").generation == 2
    progress = deployment.progress()
    assert progress is not None
    assert (progress.generation, progress.checks[0].epoch) == (2, 2)
    assert progress.checks[0].harm.bets == ()


def test_a_changed_treatment_starts_a_new_generation_of_failing_users(run: JobRun) -> None:
    run.window()
    changed = machine.restart_evidence(run.deployment.release(), run.clock(), "new value")
    run.deployment.move(changed, "flag.edit")
    run.window()

    assert run.deployment.store.evidence.totals("shop", ENVIRONMENT, "rel_checkout").generation == 2


class TestMemory:
    EVIDENCE = ("evidence", "failing", "failing-filter", "values")

    def kept(self, raw: redis.Redis) -> list[str]:
        return [kind for kind in self.EVIDENCE if raw.keys(f"*:{kind}:*")]

    def test_is_freed_when_a_release_completes(self, run: JobRun, raw: redis.Redis) -> None:
        run.window()
        assert self.kept(raw) == ["evidence", "failing"]
        run.until(State.COMPLETED)
        assert self.kept(raw) == []
        progress = run.deployment.progress()
        assert progress is not None
        assert progress.treatment.outcomes > 100
        # What is reported later is not kept, and the instance forgets it.
        run.deployment.sdk.report(run.deployment.release(), *HEALTHY[3])
        assert self.kept(raw) == []
        (instance,) = raw.keys("*:instance:*")
        assert not [field for field in raw.hgetall(instance) if b"rel_checkout" in field]

    def test_of_releases_that_ended_under_an_earlier_server_is_freed_at_the_start(
        self, run: JobRun, raw: redis.Redis
    ) -> None:
        run.until(State.COMPLETED)
        raw.hset(f"tg:{{shop}}:evidence:{ENVIRONMENT}:rel_checkout", "1|1|control|exposures", 1)
        PolicyJob(run.deployment.store, "job-1", run.clock).tick()
        assert self.kept(raw) == []

    def test_is_freed_when_a_person_rolls_back(self, run: JobRun, raw: redis.Redis) -> None:
        run.window(((900, 2), (100, 1)))
        after = machine.roll_back(run.deployment.release(), 1, "no", by=Initiator.PERSON)
        run.deployment.move(after, "release.rollback")
        assert self.kept(raw) == []

    def test_of_steps_that_are_long_over_is_freed_once_their_counts_are_in_the_progress(
        self, run: JobRun, raw: redis.Redis
    ) -> None:
        totals = []
        for _ in range(RECENT_STEPS + 2):
            run.window()
            changed = machine.restart_evidence(run.deployment.release(), run.clock(), "new value")
            run.deployment.move(changed, "flag.edit")
        for _ in range(2):
            run.window()
            progress = run.deployment.progress()
            assert progress is not None
            totals.append(progress.control.outcomes)
        assert totals == [900 * (RECENT_STEPS + 3), 900 * (RECENT_STEPS + 4)]
        fields = raw.hkeys(f"tg:{{shop}}:evidence:{ENVIRONMENT}:rel_checkout")
        steps = {int(field.split(b"|")[0]) for field in fields if b"|" in field}  # type: ignore[arg-type]
        present = run.deployment.release().step
        assert steps == set(range(present - RECENT_STEPS, present + 1))


class TestRaces:
    @pytest.fixture
    def run(self, deployment: Deployment, interrupted: InterruptedStore) -> JobRun:
        run = JobRun(deployment, interrupted)
        deployment.start(now_ms=run.clock())
        return run

    def test_a_person_s_pause_between_reading_and_committing_wins(
        self, run: JobRun, interrupted: InterruptedStore
    ) -> None:
        run.window()
        interrupted.before_commit = run.deployment.pause
        before = run.deployment.progress()

        assert run.window() == 0
        assert run.deployment.release().state is State.PAUSED
        assert run.deployment.progress() == before
        assert len(run.deployment.ledger()) == 1

        # Nothing is lost: the next tick reads again and counts everything since then.
        assert run.window() == 1
        progress = run.deployment.progress()
        assert progress is not None
        assert progress.control.outcomes == 2_700

    def test_a_person_s_rollback_between_reading_and_committing_wins(
        self, run: JobRun, interrupted: InterruptedStore
    ) -> None:
        def roll_back() -> None:
            deployment = run.deployment
            after = machine.roll_back(deployment.release(), 1, "no", by=Initiator.PERSON)
            deployment.move(after, "release.rollback")

        interrupted.before_commit = roll_back
        assert run.window() == 0
        assert run.deployment.release().reason == "no"

    def test_a_deposed_leader_writes_nothing(
        self, run: JobRun, interrupted: InterruptedStore
    ) -> None:
        run.window()
        before = run.deployment.progress()

        def depose() -> None:
            store = run.deployment.store
            fence = store.leases.acquire("shop", "job-1", 5_000)
            assert fence is not None
            store.leases.release("shop", fence)
            assert store.leases.acquire("shop", "job-2", 60_000) is not None

        interrupted.before_commit = depose
        assert run.window() == 0
        assert run.deployment.progress() == before
        assert run.window() == 0
        assert len(run.deployment.ledger()) == 1


def test_two_jobs_never_evaluate_the_same_window(deployment: Deployment) -> None:
    run = JobRun(deployment)
    other = PolicyJob(deployment.store, "job-2", run.clock)
    deployment.start(now_ms=run.clock())
    for _ in range(5):
        assert run.window() + other.tick() == 1
    assert [entry.decision.window for entry in deployment.ledger()] == [1, 2, 3, 4, 5]


def test_a_release_that_cannot_be_read_does_not_stop_the_others(
    run: JobRun, valkey: EmbeddedValkey
) -> None:
    run.deployment.start(flag="search", now_ms=run.clock())
    client = redis.Redis.from_url(valkey.url)
    run.window()
    names = client.keys("*progress*")
    assert isinstance(names, list)
    client.hset(names[0], "rel_search", "1 1 {}")
    run.window()
    run.window()
    client.close()

    assert len(run.deployment.ledger("rel_search")) == 1
    assert len(run.deployment.ledger()) == 3


def test_a_release_that_fails_in_a_batch_does_not_stop_the_others(run: JobRun) -> None:
    deployment = run.deployment
    deployment.start(flag="search", now_ms=run.clock())
    broken = Address(Kind.RELEASE, "rel_broken", ENVIRONMENT)
    unreadable = replace(deployment.release(), id="rel_broken", flag="gone", stage=99)
    targeting = Targeting("gone", True, "off", Serve("off"), release="rel_broken")
    named = Put(Address(Kind.TARGETING, "gone", ENVIRONMENT), targeting, 0)
    refreshes = (Refresh(ENVIRONMENT),)
    deployment.store.commit(Change("shop", (Put(broken, unreadable, 0), named), refreshes))
    deployment.sdk.report(deployment.release("rel_search"), (90, 0), (10, 0))
    run.clock.now_ms += 1_000
    run.job.tick()

    assert len(deployment.ledger("rel_search")) == 1
    assert len(deployment.ledger("rel_checkout")) == 1
    assert deployment.ledger("rel_broken") == []
