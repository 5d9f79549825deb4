"""What the job writes down is enough to decide everything again."""

from __future__ import annotations

from tidegate_server.admin.ledgers.explanation import explanation
from tidegate_server.admin.ledgers.replays import Replayed, replay
from tidegate_server.domain.evidence import Trips
from tidegate_server.domain.release import State
from tidegate_server.ledger.explain import Explanation
from tidegate_server.policy_job import PolicyJob

from tests.policy_job.deployment import ENVIRONMENT, HEALTHY, Clock, Deployment


class Life:
    """A release on a clock of its own; what people do is dated by the store's."""

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

    def replayed(self) -> Replayed:
        return replay(
            self.deployment.store, self.deployment.project, ENVIRONMENT, "rel_checkout", None, 10**6
        )

    def told(self) -> Explanation:
        return explanation(
            self.deployment.store, self.deployment.project, ENVIRONMENT, "rel_checkout"
        )


def test_instances_that_closed_it_for_themselves_are_in_the_story_and_told_of(
    deployment: Deployment,
) -> None:
    life = Life(deployment)
    life.windows(2)
    deployment.sdk.trips = (("rel_checkout", Trips(2, 90_000)),)
    life.windows(3)
    again, story = life.replayed(), life.told()
    told = (
        "Local breakers closed the release 2 times, for 90 s in total: their SDK instances could "
        "not reach the server, and the treatment failed there."
    )

    assert [entry.window.trips.count for entry in deployment.ledger()] == [0, 0, 2, 0, 0]
    assert again.differences == ()
    assert [each.text for chapter in story.chapters for each in chapter.happenings].count(told) == 1
    assert story.ending.endswith(told)


def test_a_release_with_people_in_it_is_replayed_to_the_last_digit(deployment: Deployment) -> None:
    life = Life(deployment)
    life.windows(5)
    deployment.pause()
    life.windows(4)
    deployment.resume()
    life.windows(3)
    deployment.kill()
    life.windows(3)
    deployment.restore()
    life.windows(2)
    deployment.resume()
    life.windows(60)
    again = life.replayed()

    assert deployment.release().state is State.COMPLETED
    assert again.differences == ()
    assert again.replay.decisions == again.ledger == len(deployment.ledger())
    assert again.replay.moves == 4


def test_a_release_that_was_rolled_back_is_replayed_too(deployment: Deployment) -> None:
    life = Life(deployment)
    life.windows(3)
    life.windows(4, failing=12)

    assert deployment.release().state is State.ROLLED_BACK
    assert life.replayed().agrees


def test_its_story_has_the_policy_s_decisions_and_people_s_acts(deployment: Deployment) -> None:
    life = Life(deployment)
    life.windows(2)
    deployment.pause()
    deployment.resume()
    life.windows(3)
    deployment.kill()
    deployment.restore()
    deployment.resume()
    life.windows(60)
    story = life.told()
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
    assert story.cleanup[0] == "In production checkout serves on now."
