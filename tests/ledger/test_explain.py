from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.progress import initial_progress
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.checks import Check, OnFailure
from tidegate_server.domain.policy import NoData, Policy
from tidegate_server.domain.release import Release, State
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.ledger.entry import Entry, ledger_entry
from tidegate_server.ledger.explain import AuditedAction, Chapter, Explanation, FlagUse, explain

from tests.decisions.ramp import policy, release, window_of

HEALTHY = {1: ((900, 2), (100, 0)), 2: ((500, 2), (500, 1)), 3: ((0, 0), (1_000, 2))}
RAMP = policy(10, 50, 100, bake_ms=120_000)


class Told:
    """A release that is evaluated, moved by people, and told."""

    def __init__(self, by: Policy = RAMP) -> None:
        self.release = release(by)
        self.progress = initial_progress(self.release)
        self.ledger: list[Entry] = []
        self.acts = [AuditedAction(1, "dana", "release.start", "SHOP-1234")]

    @property
    def now(self) -> int:
        return self.progress.evaluated_ms

    def window(self, *counts: tuple[int, int]) -> Release:
        now = self.now + 30_000
        given = counts or HEALTHY[self.release.stage]
        window = window_of(
            self.release,
            *given,
            opened_ms=self.now,
            closed_ms=now,
            generation=self.progress.generation,
        )
        after, decision = decide(self.release, self.progress, window, now)
        moved = apply_decision(self.release, decision)
        self.ledger.append(ledger_entry(self.release, moved, self.progress, window, decision))
        self.release, self.progress = moved, after
        return moved

    def until(self, state: State) -> None:
        for _ in range(200):
            if self.window().state is state:
                return
        raise AssertionError(f"not {state}")

    def person(self, action: str, moved: Release, reason: str = "") -> None:
        self.release = moved
        self.acts.append(AuditedAction(moved.updated_ms + 3, "ann (tok_1)", action, reason))

    def story(self, elsewhere: FlagUse = FlagUse()) -> Explanation:  # noqa: B008 - frozen
        return explain(
            self.release, "production", self.ledger, self.acts, elsewhere, self.now + 60_000
        )


def texts(chapter: Chapter) -> list[str]:
    return [each.text for each in chapter.happenings]


def test_a_harmless_release_is_told_stage_by_stage() -> None:
    told = Told()
    told.until(State.COMPLETED)
    story = told.story()

    assert story.headline.startswith("checkout in production, off to on: completed after ")
    assert story.beginning == (
        "Started 1970-01-01 00:00:00 UTC by dana, under policy ramp, revision 1: SHOP-1234"
    )
    assert [each.title for each in story.chapters] == [
        "Stage 1 of 3, stage-1: 10 % of everyone",
        "Stage 2 of 3, stage-2: 50 % of everyone",
        "Stage 3 of 3, stage-3: 100 % of everyone",
    ]
    assert [each.happenings[-1].action for each in story.chapters] == [
        "advance",
        "advance",
        "complete",
    ]
    assert "evidence of safety" in texts(story.chapters[0])[-1]
    assert story.ending.startswith("Completed 1970-01-01 00:")
    assert story.limits == ()


def test_a_chapter_has_its_dates_and_counts_and_the_numbers_of_its_decisions() -> None:
    told = Told()
    told.until(State.COMPLETED)
    story = told.story()
    first = story.chapters[0]

    assert first.from_ms == 0
    assert first.to_ms == story.chapters[1].from_ms == 30_000 * first.evaluations
    assert first.control.outcomes == 900 * first.evaluations
    assert f"Treatment: {100 * first.evaluations} operations, 0 errors (0 %)" in first.text
    decision = first.happenings[-1].decision
    assert decision is not None
    assert decision.advance >= decision.advance_at
    assert sum(each.evaluations for each in story.chapters) == len(told.ledger)


def test_a_rollback_says_its_evidence_and_what_is_left_in_the_code() -> None:
    told = Told()
    told.window()
    told.window((900, 2), (100, 25))
    story = told.story(FlagUse((("production", "off"), ("staging", "on")), ("staging",)))

    assert "rolled back after 1 min, at stage 1 of 3" in story.headline
    assert "25 treated users failed in 200 operations" in story.ending
    assert "treatment 200 operations, 25 errors (12.5 %)" in story.ending
    where, both, code = story.cleanup
    assert where == "In production checkout serves off now."
    assert "staging can serve on; staging has an active release" in both
    assert code.startswith("In the code: fix what on does and start another release")


def test_a_completed_release_leaves_the_control_s_path_to_be_removed() -> None:
    told = Told()
    told.until(State.COMPLETED)
    _, code = told.story(FlagUse((("production", "on"),))).cleanup

    assert code == (
        "In the code: keep what on does, remove what off did together with the call that "
        "evaluates checkout, and then delete the flag."
    )


def test_what_people_did_is_told_where_it_happened() -> None:
    told = Told()
    told.window()
    told.person(
        "release.pause",
        machine.pause(told.release, told.now + 5_000, "lunch", by=Initiator.PERSON),
        "lunch",
    )
    told.window()
    told.person(
        "release.resume",
        machine.resume(told.release, told.now + 5_000, "back"),
        "back",
    )
    told.window()
    told.person(
        "release.advance",
        machine.advance(told.release, told.now + 5_000, "sure", by=Initiator.PERSON),
        "sure",
    )
    told.acts.append(AuditedAction(told.now + 6_000, "ann (tok_1)", "flag.kill", "it hurts"))
    told.window()
    story = told.story()

    assert texts(story.chapters[0]) == [
        "ann (tok_1) paused it: lunch",
        "ann (tok_1) resumed it: back",
        "ann (tok_1) advanced it by hand: sure",
    ]
    assert texts(story.chapters[1]) == [
        "ann (tok_1) killed the flag: everyone gets its kill variant: it hurts"
    ]


def test_a_release_under_way_says_where_it_stands() -> None:
    told = Told()
    told.window()
    story = told.story()

    assert story.headline.endswith("running at stage 1 of 3, 90 s after its start.")
    assert story.ending.startswith("It is running since")
    assert story.chapters[-1].to_ms is None
    assert story.cleanup == ()


def test_a_release_that_was_never_evaluated_has_a_story_too() -> None:
    told = Told()
    story = told.story()

    assert [each.text for each in story.chapters] == ["The ledger has no evaluation of this stage."]
    assert story.limits == ("The policy job has not decided anything yet, or the ledger is gone.",)


def test_a_stage_that_nobody_evaluated_has_a_chapter() -> None:
    told = Told()
    told.window()
    told.person(
        "release.advance",
        machine.advance(told.release, told.now, "sure", by=Initiator.PERSON),
    )

    assert [each.evaluations for each in told.story().chapters] == [1, 0]


def test_a_ledger_that_was_cut_off_is_completed_from_the_audit_log() -> None:
    told = Told()
    told.until(State.COMPLETED)
    policy_s = [
        AuditedAction(
            entry.at_ms, "policy", f"release.{entry.decision.action}", entry.decision.reason
        )
        for entry in told.ledger
        if entry.decision.action != "hold"
    ]
    first = next(number for number, entry in enumerate(told.ledger) if entry.before.stage == 2)
    told.acts += policy_s
    whole = told.story()
    told.ledger = told.ledger[first + 1 :]
    cut = told.story()

    assert [len(each.happenings) for each in whole.chapters] == [1, 1, 1]
    assert "The policy advanced it by hand" not in str(cut)
    assert texts(cut.chapters[0])[0].startswith("The policy advanced to the next stage: evidence")
    assert f"no longer has its first {first + 1} decisions" in cut.limits[0]
    assert "As far as the ledger goes back" in cut.ending


def test_warnings_are_told_when_they_begin() -> None:
    told = Told(replace(RAMP, checks=(Check(on_failure=OnFailure.WARN),)))
    told.window()
    for _ in range(3):
        told.window((900, 2), (100, 25))
    [warned] = told.story().chapters[0].happenings

    assert warned.action == "warn"
    assert warned.text.startswith("The policy warns: waiting: warning: evidence")


def test_evidence_that_begins_anew_is_told() -> None:
    told = Told()
    told.window()
    told.release = machine.restart_evidence(told.release, told.now, "on means something else.")
    told.window()
    story = told.story()

    assert [each.title for each in story.chapters] == [
        "Stage 1 of 3, stage-1: 10 % of everyone",
        "Stage 1 of 3, stage-1: 10 % of everyone, attempt 2",
    ]
    assert texts(story.chapters[1]) == [
        "The evidence restarts (attempt 2): on means something else."
    ]


@pytest.mark.parametrize("holds", [3, 30])
def test_holds_that_come_and_go_do_not_drown_the_story(holds: int) -> None:
    told = Told(replace(RAMP, no_data=NoData(after_ms=60_000)))
    for _ in range(holds):
        for counts in ((0, 0), (0, 0), (90, 0)):
            told.window(counts, (counts[0] // 9, 0))
    happenings = told.story().chapters[0].happenings

    assert [each.action for each in happenings[:2]] == ["hold", "go on"]
    if holds == 3:
        assert len(happenings) == 6
    else:
        assert len(happenings) == 5
        assert happenings[2].text.startswith("It was held and continued 28 more times until")
