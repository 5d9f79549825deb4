"""Random releases, through the server's rule and through a rule that was written separately."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tidegate.counts import Counts, StratumCounts
from tidegate.model import Tolerance
from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.exposure_groups import present_shares
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.progress import Progress, initial_progress
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.checks import Check, ClientEvidence
from tidegate_server.domain.policy import NoData, Policy, Stage, Undecided
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.release_gates import Rollback, RollbackTo
from tidegate_server.domain.release_state_machine import Initiator

from tests.decisions.reference_rule import (
    Cell,
    ReferenceHarm,
    ReferenceProbe,
    ReferenceSafety,
    ReferenceSplit,
)
from tests.decisions.simulated_release import SEGMENT, release
from tests.decisions.test_vectors import VECTORS, six_digits

MINUTE = 60_000


@dataclass
class ReferenceRelease:
    """One release by the reference: its statistics, and the order of what may happen."""

    policy: Policy
    harms: list[ReferenceHarm] = field(default_factory=list)
    safeties: list[ReferenceSafety] = field(default_factory=list)
    probe: ReferenceProbe = field(default_factory=ReferenceProbe)
    split: ReferenceSplit = field(default_factory=lambda: ReferenceSplit(visit=0))
    attempt: int = 0
    step: int = 0
    retreats: int = 0
    new_stage: bool = True
    data_windows: int = 0
    compared: list[float] = field(default_factory=lambda: [0, 0])
    treated: float = 0
    closes: int = 0

    def window(self, subject: Release, cells: list[Cell], now: int) -> Action:
        """Add a window; return what happens to the release."""
        if subject.attempt != self.attempt:
            self.attempt = subject.attempt
            each = [
                ReferenceHarm(
                    check.false_alarm / len(self.policy.checks),
                    1 + check.tolerance.relative,
                    check.tolerance.absolute,
                )
                for check in self.policy.checks
            ]
            self.harms, self.safeties = each, [ReferenceSafety() for _ in each]
            self.retreats, self.probe.c = 0, 0.0
        if subject.step != self.step:
            self.step = subject.step
            self.new_stage = True
            self.data_windows = 0
            self.compared, self.treated = [0, 0], 0
            for safety in self.safeties:
                safety.restart()
        if not subject.closed:
            self._add(subject, cells)
        action = self._action(subject, cells, now)
        if action is Action.RETREAT:
            self.retreats += 1
            self.probe.c = 0.0
        if action not in (Action.ROLLBACK, Action.COMPLETE) and not subject.closed:
            suspicious = max(harm.log_evidence for harm in self.harms)
            closed = [harm.perhaps_close(cells, suspicious) for harm in self.harms]
            assert len(set(closed)) == 1
            self.closes += closed[0]
        return action

    def _add(self, subject: Release, cells: list[Cell]) -> None:
        shares = [
            self.policy.opened(stage) / 100 for stage in range(1, len(self.policy.stages) + 1)
        ]
        excess = min(0.1, self.policy.harm_budget / shares[min(subject.stage, len(shares) - 1)])
        for harm in self.harms:
            harm.add(cells, self.new_stage, self.step)
        for safety in self.safeties:
            safety.add(cells, excess)
        self.probe.add(cells)
        if self.new_stage:
            self.split = ReferenceSplit(visit=self.split.visit + 1)
        self.split.add(cells)
        self.new_stage = False
        self.data_windows += any(cell.n_c + cell.n_t > 0 for cell in cells)
        for cell in cells:
            self.treated += cell.n_t
            if cell.compared:
                self.compared[0] += cell.n_c
                self.compared[1] += cell.n_t

    def _action(self, subject: Release, cells: list[Cell], now: int) -> Action:
        policy, stages = self.policy, self.policy.stages
        if subject.state is State.KILLED or subject.stopped:
            return Action.HOLD
        retries_left = subject.retries < policy.rollback.max_retries
        back = Action.COOL_DOWN if retries_left else Action.ROLLBACK
        if not subject.closed and any(harm.must_roll_back for harm in self.harms):
            return back
        fires = self.probe.fires
        if fires and State.COOLDOWN in (subject.state, subject.resumes_to):
            return back
        if fires and self.retreats < 3 and subject.stage > 1:
            return Action.RETREAT
        if subject.state is State.PAUSED:
            return Action.HOLD
        if subject.state is State.COOLDOWN:
            assert subject.cooldown_until_ms is not None
            return Action.HOLD if now < subject.cooldown_until_ms else Action.RETRY
        has_control = any(cell.compared for cell in cells)
        last = subject.stage == len(stages)
        if (has_control and self.split.wrong) or fires:
            return Action.HOLD
        if self.retreats >= 3 and not last and policy.opened(subject.stage + 1) == 100:
            return Action.HOLD
        stage = stages[subject.stage - 1]
        elapsed = now - subject.stage_entered_ms
        data = any(cell.n_c + cell.n_t > 0 for cell in cells)
        ready = (
            elapsed >= (policy.bake_ms if last else stage.min_duration_ms)
            and self.data_windows >= 2
            and all(harm.log_evidence < math.log(5) for harm in self.harms)
        )
        if last or not has_control:
            shown = self.treated >= stage.min_samples
        else:
            shown = min(self.compared) >= stage.min_samples and all(
                safety.log_evidence >= math.log(10) for safety in self.safeties
            )
        over = stage.max_duration_ms is not None and elapsed >= stage.max_duration_ms
        if over and stage.undecided is Undecided.ROLLBACK and not (ready and shown):
            return back
        if subject.state is State.HOLDING or not ready or not data:
            return Action.HOLD
        if shown or (over and stage.undecided is Undecided.ADVANCE):
            return Action.COMPLETE if last else Action.ADVANCE
        return Action.HOLD


def random_policy(dice: random.Random) -> Policy:
    """Return a policy of one to five stages, some of them for a segment only."""
    number = dice.randint(1, 5)
    shares = sorted(
        dice.choice([0.1, 0.5, 1, 5, 10, 25, 50, 75, 90, 95, 99]) for _ in range(number)
    )
    if dice.random() < 0.7:
        shares.append(100)
    stages = []
    for place, share in enumerate(shares, start=1):
        inside = place < len(shares) and dice.random() < 0.3
        stages.append(
            Stage(
                f"stage-{place}",
                dice.choice([share, 100, 50]) if inside else share,
                (SEGMENT,) if inside else (),
                dice.choice([0, 5 * MINUTE]),
                dice.choice([0, 100, 1000]),
                dice.choice([None, 40 * MINUTE]),
                undecided=dice.choice(list(Undecided)),
            )
        )
    decides = dice.choice([ClientEvidence.HOLD, ClientEvidence.DECIDE])
    checks = [
        Check(
            Tolerance(*dice.choice([(0.05, 0.0), (0.0, 0.0), (0.1, 0.0005), (0.0, 0.01)])),
            dice.choice([0.01, 0.001]),
            client_evidence=decides,
        )
        for _ in range(dice.choice([1, 1, 2]))
    ]
    return Policy(
        "random",
        tuple(stages),
        tuple(checks),
        no_data=NoData(10**12),
        bake_ms=dice.choice([10, 200]) * MINUTE,
        holdback=dice.choice([0.0, 0.0, 1.0, 5.0]) if stages[-1].percentage == 100 else 0.0,
        rollback=Rollback(dice.choice(list(RollbackTo)), 2 * MINUTE, dice.choice([0, 0, 2])),
    )


@dataclass
class World:
    """What the traffic of a release is like."""

    dice: random.Random
    traffic: int
    base: float
    times: float
    retries: float
    clients: bool
    split_is_wrong: bool

    def window(self, subject: Release, number: int) -> tuple[StratumCounts, ...]:
        """Return the counts of one window."""
        dice = self.dice
        amount = dice.choice([0, self.traffic, self.traffic, self.traffic])
        if dice.random() < 0.02:
            amount = min(10**9, amount * 1000)
        outage = 0.5 if number % 90 > 85 else 0.0
        used_up = dice.choice([1.0, 0.8]) if number % 60 < 20 else self.retries
        strata = []
        for stratum, share in present_shares(subject).items():
            arms = []
            for part, times in ((1 - share, 1.0), (share, self.times)):
                operations = _about(dice, amount * part)
                errors = min(
                    operations, _about(dice, operations * min(1, self.base * times + outage))
                )
                failing = round(errors * used_up)
                if dice.random() < 0.01:  # failures may be reported before their operations
                    operations = 0
                arms.append(
                    Counts(
                        operations,
                        operations,
                        errors,
                        failing,
                        overflow=dice.choice([0] * 30 + [3]),
                        sampled=_about(
                            dice, operations / (dice.choice([2, 50]) if self.split_is_wrong else 5)
                        ),
                    )
                )
            strata.append(StratumCounts(stratum, share, *arms))
        return tuple(strata)


def _about(dice: random.Random, mean: float) -> int:
    """Return a count that is about Poisson."""
    if mean <= 0:
        return 0
    if mean < 30:
        count, chance = 0, dice.random()
        term = math.exp(-mean)
        while chance > term and count < 1000:
            chance -= term
            count += 1
            term *= mean / count
        return count
    return max(0, round(dice.gauss(mean, math.sqrt(mean))))


def cells_of(window: Window, decides: bool) -> list[Cell]:
    """Return the reference's counts of a window."""
    sources = [("server", window)]
    if decides and window.client is not None:
        sources.append(("client", window.client))
    return [
        Cell(
            f"{source} {each.stratum}",
            each.share,
            each.control.outcomes,
            each.control.failing,
            each.control.errors,
            each.treatment.outcomes,
            each.treatment.failing,
            each.treatment.errors,
            each.treatment.overflow,
            each.control.sampled,
            each.treatment.sampled,
        )
        for source, counted in sources
        for each in counted.strata
    ]


def by_a_person(subject: Release, dice: random.Random, now: int) -> Release:
    """Return the release after what a person did between two windows: mostly nothing."""
    chance, person = dice.random(), Initiator.PERSON
    if subject.state is State.KILLED:
        return machine.restore(subject, now, "better") if chance < 0.3 else subject
    if subject.state is State.PAUSED:
        return machine.resume(subject, now, "go") if chance < 0.3 else subject
    if chance < 0.01:
        return machine.pause(subject, now, "wait", stop=dice.random() < 0.5, by=person)
    if chance < 0.015:
        return machine.kill(subject, now, "stop")
    if chance < 0.02:
        return machine.restart_evidence(subject, now, "another treatment")
    moves = subject.state is State.RUNNING and subject.stage < len(subject.policy.stages)
    if chance < 0.03 and moves:
        return machine.advance(subject, now, "skip", by=person)
    return subject


def equal(expected: float) -> object:
    """Return what a number must be equal to, given the reference's."""
    return pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_the_rule_is_that_of_its_description(seed: int) -> None:
    run_both_rules(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1_000, 1_400))
def test_the_rule_is_that_of_its_description_for_hundreds_of_releases(seed: int) -> None:
    run_both_rules(seed)


def run_both_rules(seed: int) -> None:
    """Run a random release through both rules, and compare them after every window."""
    dice = random.Random(seed)
    policy = random_policy(dice)
    world = World(
        dice,
        traffic=dice.choice([3, 50, 2_000, 100_000]),
        base=dice.choice([0.0005, 0.01, 0.2]),
        times=dice.choice([1.0, 1.0, 1.0, 1.3, 2.0, 10.0]),
        retries=dice.choice([1.0, 0.3, 0.05, 0.0]),
        clients=dice.random() < 0.5,
        split_is_wrong=dice.random() < 0.1,
    )
    subject = release(policy)
    progress = initial_progress(subject)
    reference = ReferenceRelease(policy)
    for number in range(300):
        now = progress.evaluated_ms + dice.choice([30_000, 31_000, 200_000])
        subject = by_a_person(subject, dice, now)
        window = Window(
            progress.evaluated_ms,
            now,
            subject.step,
            world.window(subject, number),
            generation=progress.generation,
        )
        if world.clients and policy.clients_decide:
            window = replace(window, client=replace(window, strata=world.window(subject, number)))
        progress, decision = decide(subject, progress, window, now)
        cells = cells_of(window, policy.clients_decide)
        expected = reference.window(subject, cells, now)

        what = f"seed {seed}, window {number}, {subject.state}: {decision.reason}"
        assert decision.action is expected, what
        compare(progress, reference, what)
        if number % 25 == 24:
            compare_detectable_ratios(decision, reference, what)
        subject = apply_decision(subject, decision)
        if subject.state not in LIVE_STATES:
            break


def compare(progress: Progress, reference: ReferenceRelease, what: str) -> None:
    """Compare every number of the two rules."""
    if progress.attempt != reference.attempt:
        return
    for mine, harm, safety in zip(
        progress.checks, reference.harms, reference.safeties, strict=True
    ):
        assert mine.harm.log_value == equal(harm.log_evidence), what
        assert mine.harm.unbet == equal(harm.log_rem), what
        assert mine.harm.guard.variance == equal(harm.tau2), what
        assert mine.harm.guard.excess == equal(harm.t1), what
        assert mine.harm.guard.information == equal(harm.t2), what
        assert mine.harm.guard.largest == equal(harm.top), what
        assert mine.epoch == harm.epoch, what
        assert mine.safety.log_value == equal(safety.log_evidence), what
        assert mine.safety.operations == equal(safety.n), what
        assert mine.safety.failures == equal(safety.er), what
    assert progress.probe.operations == equal(reference.probe.n), what
    assert progress.probe.errors == equal(reference.probe.er), what
    assert progress.probe.excess == equal(reference.probe.c), what
    assert progress.probe.retreats == reference.retreats, what
    assert progress.split.log_evidence == equal(reference.split.log_evidence), what
    assert progress.blocks.failed == reference.harms[0].block_f, what
    assert progress.blocks.blocks == reference.harms[0].blocks, what


def compare_detectable_ratios(decision: Decision, reference: ReferenceRelease, what: str) -> None:
    """Compare what each check would have noticed, except where its epoch has just ended."""
    for result, harm in zip(decision.checks, reference.harms, strict=True):
        if result.epoch != harm.epoch:
            continue
        expected = harm.detectable_ratio()
        if expected is None:
            assert result.detectable_ratio is None, what
        else:
            assert result.detectable_ratio == pytest.approx(expected, rel=1e-7), what


def test_the_reference_has_the_published_numbers() -> None:
    for row in VECTORS["harm_first_window"]:
        harm = ReferenceHarm(0.01, row["ratio"], row["absolute"])
        harm.add([cell_of(row)], True)
        assert harm.log_evidence == six_digits(row["log_evidence"])

    vector = VECTORS["harm_three_stages"]
    harm = ReferenceHarm(vector["false_alarm"], vector["ratio"])
    for row in vector["windows"]:
        harm.add([cell_of(row)], row["new_stage"])
        assert math.exp(harm.log_evidence) == six_digits(row["evidence"])
        assert harm.tau2 == six_digits(row["variance"])
        assert harm.must_roll_back == row["rollback"]

    vector = VECTORS["harm_two_strata"]
    harm = ReferenceHarm(0.01, vector["ratio"])
    for row in vector["windows"]:
        cells = [cell_of(each, str(place)) for place, each in enumerate(row["strata"])]
        harm.add(cells, row["new_stage"])
        assert math.exp(harm.log_evidence) == six_digits(row["evidence"])

    vector = VECTORS["epochs"]
    harm = ReferenceHarm(vector["false_alarm"], vector["ratio"])
    for number, row in enumerate(vector["windows"]):
        cells = [cell_of({**vector, **row})]
        harm.add(cells, number == 0)
        harm.perhaps_close(cells, harm.log_evidence)
        assert math.exp(harm.log_evidence) == six_digits(row["evidence"])
        assert (harm.epoch, harm.u1) == (row["epoch"], six_digits(row["usual"] or 0.0))
        assert math.exp(harm.limit) == six_digits(row["limit"])

    vector = VECTORS["safety"]["one_stage"]
    safety = ReferenceSafety()
    for row in vector["windows"]:
        safety.add([cell_of({**vector, **row})], row["excess"])
        assert math.exp(safety.log_evidence) == six_digits(row["evidence"])

    probe = ReferenceProbe()
    for row in VECTORS["probe"]:
        probe.add([cell_of({**row, "share": 1 - row["share_of_control"]})])
        assert probe.fires == row["retreat"]
        assert row["retreat"] or probe.c == six_digits(row["excess"])

    vector = VECTORS["sample_ratio"]
    split = ReferenceSplit(vector["visit"])
    for row in vector["windows"]:
        arms = {"sampled_c": row["control"], "sampled_t": row["treatment"]}
        split.add([Cell("1", vector["share"], **arms)])
        assert split.log_evidence == six_digits(row["log_evidence"])
        assert (split.limit, split.wrong) == (six_digits(row["log_limit"]), row["hold"])

    for row in VECTORS["detectable_ratio"]:
        harm = ReferenceHarm(0.01, row["ratio"], epoch=row["epoch"])
        for place, each in enumerate(row["control"]):
            harm.pairs[place, ""] = [each["share"], each["failures"], 0]
        expected = row["detectable_ratio"]
        found = harm.detectable_ratio()
        assert found is None if expected is None else found == six_digits(expected)


def cell_of(row: dict[str, Any], key: str = "1") -> Cell:
    """Return the counts of a row of the published numbers."""
    return Cell(
        key,
        row["share"],
        row["n_c"],
        row["e_c"],
        row.get("f_c", row["e_c"]),
        row["n_t"],
        row["e_t"],
    )
