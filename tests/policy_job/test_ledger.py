"""The ledger of the policy job is enough to repeat every decision."""

from __future__ import annotations

from tidegate_server.admin.ledgers.explanation import explain_release
from tidegate_server.admin.ledgers.replays import ReplayResult, replay
from tidegate_server.domain.evidence import Trips
from tidegate_server.domain.release import State
from tidegate_server.ledger.explain import Explanation
from tidegate_server.policy_job import PolicyJob

from tests.policy_job.deployment import ENVIRONMENT, HEALTHY, Clock, Deployment


class JobRun:
    """A release whose clock the test moves; moves by people use the store's clock."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.clock = Clock(deployment.store.now_ms() - 30_000)
        self.job = PolicyJob(deployment.store, "job-1", self.clock)
        deployment.start(now_ms=self.clock())

    def windows(self, number: int, failing: int = 0) -> None:
        for _ in range(number):
            subject = self.deployment.release()
            control, treatment = HEALTHY[subject.stage]
            self.deployment.sdk.report(subject, control, (treatment[0], treatment[1] + failing))
            self.clock.now_ms += 1_000
            self.job.tick()

    def replay(self) -> ReplayResult:
        return replay(
            self.deployment.store, self.deployment.project, ENVIRONMENT, "rel_checkout", None, 10**6
        )

    def explain(self) -> Explanation:
        return explain_release(
            self.deployment.store, self.deployment.project, ENVIRONMENT, "rel_checkout"
        )


def test_trips_of_local_breakers_are_in_the_explain_release(
    deployment: Deployment,
) -> None:
    run = JobRun(deployment)
    run.windows(2)
    deployment.sdk.trips = (("rel_checkout", Trips(2, 90_000)),)
    run.windows(3)
    replayed, story = run.replay(), run.explain()
    sentence = (
        "Local breakers closed the release 2 times, for 90 s in total: their SDK instances could "
        "not reach the server, and the treatment failed there."
    )

    assert [entry.window.trips.count for entry in deployment.ledger()] == [0, 0, 2, 0, 0]
    assert replayed.differences == ()
    assert [each.text for chapter in story.chapters for each in chapter.happenings].count(
        sentence
    ) == 1
    assert story.ending.endswith(sentence)


def test_a_release_that_people_moved_is_replayed_exactly(deployment: Deployment) -> None:
    run = JobRun(deployment)
    run.windows(5)
    deployment.pause()
    run.windows(4)
    deployment.resume()
    run.windows(3)
    deployment.kill()
    run.windows(3)
    deployment.restore()
    run.windows(2)
    deployment.resume()
    run.windows(60)
    replayed = run.replay()

    assert deployment.release().state is State.COMPLETED
    assert replayed.differences == ()
    assert replayed.replay.decisions == replayed.ledger == len(deployment.ledger())
    assert replayed.replay.moves == 4


def test_a_release_that_was_rolled_back_is_replayed(deployment: Deployment) -> None:
    run = JobRun(deployment)
    run.windows(3)
    run.windows(4, failing=12)

    assert deployment.release().state is State.ROLLED_BACK
    assert run.replay().agrees


def test_the_explanation_has_the_decisions_of_the_policy_and_the_moves_of_people(
    deployment: Deployment,
) -> None:
    run = JobRun(deployment)
    run.windows(2)
    deployment.pause()
    deployment.resume()
    run.windows(3)
    deployment.kill()
    deployment.restore()
    deployment.resume()
    run.windows(60)
    story = run.explain()
    happened = [
        (each.actor, each.action) for chapter in story.chapters for each in chapter.happenings
    ]

    assert deployment.release().state is State.COMPLETED
    assert [each for each in happened if each[0] == "policy"] == [
        ("policy", "advance"),
        ("policy", "advance"),
        ("policy", "complete"),
    ]
    assert [each for each in happened if each[0] == "dana"] == [
        ("dana", "pause"),
        ("dana", "resume"),
        ("dana", "kill"),
        ("dana", "restore"),
        ("dana", "resume"),
    ]
    assert story.cleanup[0].text == "In production checkout serves on now."


def test_the_report_of_a_release_says_whom_it_harmed_and_spared(deployment: Deployment) -> None:
    run = JobRun(deployment)
    run.windows(3)
    run.windows(20, failing=8)
    story, progress = run.explain(), deployment.progress()

    assert deployment.release().state is State.ROLLED_BACK
    assert progress is not None
    assert story.users is not None
    assert story.users.failed == progress.treatment.failing
    # Control had two failing users of 900 in each window, which is less than one of 100.
    assert story.users.expected < 4
    assert story.users.harmed.estimate > 5
    assert story.users.harmed.low > 0
    assert story.users.spared.estimate > 8 * story.users.harmed.estimate
    assert f"Harmed: about {round(story.users.harmed.estimate)} users" in story.ending
    assert " who had the control." in story.ending
