from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tidegate.model import Serve
from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.present_progress import last_decision
from tidegate_server.decisions.progress import initial_progress
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.checks import Check, OnFailure
from tidegate_server.domain.flags import Disabled, Kill, Targeting
from tidegate_server.domain.ladder import ladder, serve_text
from tidegate_server.domain.policy import NoData, Policy, Undecided
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.ledger.cleanup import CleanupStep, FlagUse
from tidegate_server.ledger.entry import Entry, ledger_entry
from tidegate_server.ledger.explain import AuditedAction, Chapter, Explanation, explain

from tests.decisions.simulated_release import policy, release, window_of

HEALTHY = {1: ((900, 2), (100, 0)), 2: ((500, 2), (500, 1)), 3: ((0, 0), (1_000, 2))}
RAMP = policy(10, 50, 100, bake_ms=120_000)


class ExplainedRelease:
    """A release that is evaluated, changed by people, and explained."""

    def __init__(self, by: Policy = RAMP) -> None:
        self.release = release(by)
        self.progress = initial_progress(self.release)
        self.ledger: list[Entry] = []
        self.actions = [AuditedAction(1, "dana", "release.start", "SHOP-1234")]

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

    def until_stage(self, stage: int) -> None:
        for _ in range(200):
            if self.window().stage == stage:
                return
        raise AssertionError(f"not at stage {stage}")

    def person(self, action: str, moved: Release, reason: str = "") -> None:
        self.release = moved
        self.actions.append(AuditedAction(moved.updated_ms + 3, "ann (tok_1)", action, reason))

    def explanation(
        self,
        flag_use: FlagUse = FlagUse(),  # noqa: B008 - frozen
        **targeting: Any,
    ) -> Explanation:
        """Explain the release, whose flag has the targeting that its end left behind."""
        active = self.release.state in LIVE_STATES
        won = "on" if self.release.state is State.COMPLETED else "off"
        present = replace(
            Targeting("checkout", True, "off", Serve(won), release="rel_1" if active else None),
            **targeting,
        )
        rungs = ladder(
            present,
            self.release if active else None,
            last_decision(self.progress),
            self.now + 60_000,
        )
        use = replace(flag_use, ladder=rungs, serves=serve_text(present.default))
        return explain(
            self.release, "production", self.ledger, self.actions, use, self.now + 60_000
        )


def texts(chapter: Chapter) -> list[str]:
    return [each.text for each in chapter.happenings]


def test_an_advance_on_time_is_explained_as_one() -> None:
    first = replace(
        RAMP.stages[0], max_duration_ms=60_000, min_samples=10**6, undecided=Undecided.ADVANCE
    )
    explained = ExplainedRelease(replace(RAMP, stages=(first, *RAMP.stages[1:])))
    explained.until_stage(2)
    [text] = texts(explained.explanation().chapters[0])

    assert text.startswith("The policy advances to stage 2 on time after 1 min, not on evidence: ")
    assert "missing: too few samples" in text
    assert explained.ledger[-1].after.stage_basis == "time"


def test_a_harmless_release_is_explained_stage_by_stage() -> None:
    explained = ExplainedRelease()
    explained.until(State.COMPLETED)
    explanation = explained.explanation()

    assert explanation.headline.startswith("checkout in production, off to on: completed after ")
    assert explanation.beginning == (
        "Started 1970-01-01 00:00:00 UTC by dana, under policy ramp, revision 1: SHOP-1234"
    )
    assert [each.title for each in explanation.chapters] == [
        "Stage 1 of 3, stage-1: 10 % of everyone",
        "Stage 2 of 3, stage-2: 50 % of everyone",
        "Stage 3 of 3, stage-3: 100 % of everyone",
    ]
    assert [each.happenings[-1].action for each in explanation.chapters] == [
        "advance",
        "advance",
        "complete",
    ]
    assert "evidence of safety" in texts(explanation.chapters[0])[-1]
    assert explanation.ending.startswith("Completed 1970-01-01 00:")
    assert explanation.limits == ()


def test_a_chapter_has_its_dates_and_counts_and_the_numbers_of_its_decisions() -> None:
    explained = ExplainedRelease()
    explained.until(State.COMPLETED)
    explanation = explained.explanation()
    first = explanation.chapters[0]

    assert first.from_ms == 0
    assert first.to_ms == explanation.chapters[1].from_ms == 30_000 * first.evaluations
    assert first.control.outcomes == 900 * first.evaluations
    assert f"Treatment: {100 * first.evaluations} operations, 0 errors (0 %)" in first.text
    decision = first.happenings[-1].decision
    assert decision is not None
    assert decision.advance >= decision.advance_at
    assert sum(each.evaluations for each in explanation.chapters) == len(explained.ledger)


def test_a_rollback_has_its_evidence_and_what_is_left_to_do_in_the_code() -> None:
    explained = ExplainedRelease()
    explained.window()
    explained.window((900, 2), (100, 25))
    explanation = explained.explanation(
        FlagUse((("production", "off"), ("staging", "on")), ("staging",))
    )

    assert "rolled back after 1 min, at stage 1 of 3" in explanation.headline
    assert "treatment: 25 users failed in 200 operations" in explanation.ending
    assert "treatment 200 operations, 25 errors (12.5 %)" in explanation.ending
    where, both, code = explanation.cleanup
    assert where == CleanupStep("In production checkout serves off now.", done=True)
    assert not both.done
    assert not code.done
    assert "staging can serve on; staging has an active release" in both.text
    assert code.text.startswith("In the code: fix what on does and start another release")


def test_after_a_completed_release_the_code_of_the_control_can_be_removed() -> None:
    explained = ExplainedRelease()
    explained.until(State.COMPLETED)
    _, code = explained.explanation(FlagUse((("production", "on"),))).cleanup

    assert not code.done
    assert code.text == (
        "In the code: keep what on does, remove what off did together with the call that "
        "evaluates checkout, and then delete the flag."
    )


def test_actions_of_people_are_in_the_chapter_in_which_they_happened() -> None:
    explained = ExplainedRelease()
    explained.window()
    explained.person(
        "release.pause",
        machine.pause(explained.release, explained.now + 5_000, "lunch", by=Initiator.PERSON),
        "lunch",
    )
    explained.window()
    explained.person(
        "release.resume",
        machine.resume(explained.release, explained.now + 5_000, "back"),
        "back",
    )
    explained.window()
    explained.person(
        "release.advance",
        machine.advance(explained.release, explained.now + 5_000, "sure", by=Initiator.PERSON),
        "sure",
    )
    explained.actions.append(
        AuditedAction(explained.now + 6_000, "ann (tok_1)", "flag.kill", "customers cannot pay")
    )
    explained.window()
    explanation = explained.explanation()

    assert texts(explanation.chapters[0]) == [
        "ann (tok_1) paused it: lunch",
        "ann (tok_1) resumed it: back",
        "ann (tok_1) advanced it by hand: sure",
    ]
    assert texts(explanation.chapters[1]) == [
        "ann (tok_1) killed the flag: everyone gets its kill variant: customers cannot pay"
    ]


def test_an_active_release_has_its_present_state() -> None:
    explained = ExplainedRelease()
    explained.window()
    explanation = explained.explanation()

    assert explanation.headline.endswith("running at stage 1 of 3, 90 s after its start.")
    assert explanation.ending.startswith("Now: running since 1970-01-01 00:00:00 UTC: waiting: ")
    assert explanation.chapters[-1].to_ms is None
    assert explanation.cleanup == ()


BURNS = Kill("ann (tok_1)", "it burns", 3_000)


def test_a_killed_flag_says_so_and_what_is_behind_it() -> None:
    explained = ExplainedRelease()
    explained.window()
    explained.release = machine.kill(explained.release, explained.now, "it burns")
    explanation = explained.explanation(kill=BURNS)

    assert ": killed at stage 1 of 3, " in explanation.headline
    assert explanation.ending.startswith(
        "Now: killed by ann (tok_1) since 1970-01-01 00:00:03 UTC: it burns. Behind it: running. "
    )


def test_a_disabled_flag_is_not_explained_as_running() -> None:
    explained = ExplainedRelease()
    explained.window()
    explanation = explained.explanation(enabled=False, disabled=Disabled("ann (tok_1)", "", 3_000))

    assert ": disabled (running) at stage 1 of 3, " in explanation.headline
    assert explanation.ending.startswith(
        "Now: disabled by ann (tok_1) since 1970-01-01 00:00:03 UTC. Behind it: running since "
    )


def test_a_flag_that_was_edited_after_the_release_is_described_as_it_is_now() -> None:
    explained = ExplainedRelease()
    explained.window()
    explained.window((900, 2), (100, 25))
    explanation = explained.explanation(
        FlagUse((("production", "on"),)), default=Serve("on"), kill=BURNS
    )

    assert explanation.cleanup == tuple(
        CleanupStep(text)
        for text in (
            "When the release ended, checkout served off in production; somebody has changed it "
            "since: it serves on now.",
            "Everyone gets off at present: the flag is killed by ann (tok_1) since 1970-01-01 "
            "00:00:03 UTC: it burns.",
            "The code still needs both variants: production can serve on. Change these first.",
        )
    )


def test_a_killed_or_disabled_flag_does_not_serve_what_won() -> None:
    explained = ExplainedRelease()
    explained.until(State.COMPLETED)
    killed = explained.explanation(default=Serve("on"), kill=BURNS).cleanup
    assert killed[0] == CleanupStep("In production checkout serves on once the flag is restored.")
    assert killed[1].text.startswith("Everyone gets off at present: the flag is killed")
    disabled = explained.explanation(
        default=Serve("on"), enabled=False, disabled=Disabled("ann (tok_1)", "", 3_000)
    ).cleanup
    assert disabled[0] == CleanupStep(
        "In production checkout serves on once the flag is switched on."
    )


def test_a_flag_or_a_rule_that_is_gone_serves_nothing_now() -> None:
    explained = ExplainedRelease()
    explained.until(State.COMPLETED)
    gone = explain(explained.release, "production", explained.ledger, [], FlagUse(), 10**9)
    nothing = "Flag checkout does not exist any more in production."
    assert gone.cleanup == (CleanupStep(nothing, done=True),)
    rungs = ladder(Targeting("checkout", True, "off", Serve("off")), None, None, 10**9)
    in_rule = replace(explained.release, rule="staff")
    use = FlagUse(ladder=rungs)
    [line] = explain(in_rule, "production", explained.ledger, [], use, 10**9).cleanup
    assert line == CleanupStep(
        "When the release ended, rule staff of checkout served on in production; somebody has "
        "removed this rule since."
    )


def test_a_release_that_was_never_evaluated_can_be_explained() -> None:
    explained = ExplainedRelease()
    explanation = explained.explanation()

    assert [each.text for each in explanation.chapters] == [
        "The ledger has no evaluation of this stage."
    ]
    assert explanation.limits == (
        "The policy job has not decided anything yet, or the ledger is gone.",
    )


def test_a_stage_without_evaluations_has_a_chapter() -> None:
    explained = ExplainedRelease()
    explained.window()
    explained.person(
        "release.advance",
        machine.advance(explained.release, explained.now, "sure", by=Initiator.PERSON),
    )

    assert [each.evaluations for each in explained.explanation().chapters] == [1, 0]


def test_a_trimmed_ledger_is_completed_from_the_audit_log() -> None:
    explained = ExplainedRelease()
    explained.until(State.COMPLETED)
    policy_s = [
        AuditedAction(
            entry.at_ms, "policy", f"release.{entry.decision.action}", entry.decision.reason
        )
        for entry in explained.ledger
        if entry.decision.action != "hold"
    ]
    first = next(number for number, entry in enumerate(explained.ledger) if entry.before.stage == 2)
    explained.actions += policy_s
    whole = explained.explanation()
    explained.ledger = explained.ledger[first + 1 :]
    cut = explained.explanation()

    assert [len(each.happenings) for each in whole.chapters] == [1, 1, 1]
    assert "The policy advanced it by hand" not in str(cut)
    assert texts(cut.chapters[0])[0].startswith(
        "The policy advanced to the next stage on evidence: "
    )
    assert f"no longer has its first {first + 1} decisions" in cut.limits[0]
    assert "As far as the ledger goes back" in cut.ending


def test_a_warning_is_an_event_when_it_begins() -> None:
    explained = ExplainedRelease(replace(RAMP, checks=(Check(on_failure=OnFailure.WARN),)))
    explained.window()
    for _ in range(3):
        explained.window((900, 2), (100, 25))
    [warned] = explained.explanation().chapters[0].happenings

    assert warned.action == "warn"
    assert warned.text.startswith("The policy warns: error rate against control failed; ")


def test_a_restart_of_the_evidence_is_an_event() -> None:
    explained = ExplainedRelease()
    explained.window()
    explained.release = machine.restart_evidence(
        explained.release, explained.now, "on means something else."
    )
    explained.window()
    explanation = explained.explanation()

    assert [each.title for each in explanation.chapters] == [
        "Stage 1 of 3, stage-1: 10 % of everyone",
        "Stage 1 of 3, stage-1: 10 % of everyone, attempt 2",
    ]
    assert texts(explanation.chapters[1]) == [
        "The evidence restarts (attempt 2): on means something else."
    ]


@pytest.mark.parametrize("holds", [3, 30])
def test_many_holds_in_a_row_are_shortened(holds: int) -> None:
    explained = ExplainedRelease(replace(RAMP, no_data=NoData(after_ms=60_000)))
    for _ in range(holds):
        for counts in ((0, 0), (0, 0), (90, 0)):
            explained.window(counts, (counts[0] // 9, 0))
    happenings = explained.explanation().chapters[0].happenings

    assert [each.action for each in happenings[:2]] == ["hold", "go on"]
    if holds == 3:
        assert len(happenings) == 6
    else:
        assert len(happenings) == 5
        assert happenings[2].text.startswith("It was held and continued 28 more times until")
