"""What counts of a report, and what is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tidegate_server.domain.checks import Check, Metric
from tidegate_server.domain.evidence import GroupValues, Trips
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.store.report_acceptance import (
    RECENT_STEPS,
    accept_report,
    groups_that_count,
    what_counts,
)
from tidegate_server.store.reports import Report

from tests.decisions.simulated_release import policy, release
from tests.store.reporting import failing, group, totals

EMPTY = Report("a" * 32, 1, False, 1, 1.0)


def accepted(releases: Mapping[str, Release], **parts: Any) -> Report:
    """Return what counts of a report with these parts."""
    report = replace(EMPTY, **parts)
    known = {id: what_counts(each) for id, each in releases.items()}
    result = accept_report(report, {id: each for id, each in known.items() if each is not None})
    sent, kept = (
        sum(map(len, (each.counts, each.failing, each.values, each.trips)))
        for each in (report, result.report)
    )
    assert result.ignored == sent - kept
    return result.report


class TestCounts:
    BY = policy(10, 50, 100)

    @pytest.mark.parametrize(
        ("step", "stratum", "kept"),
        [
            (9, 2, True),
            (9, 1, False),  # half of everyone contains a tenth of them
            (9, 3, False),  # not open yet
            (9, 0, False),
            (10, 2, False),  # a step that never was
            (9 - RECENT_STEPS, 0, True),
            (9 - RECENT_STEPS, 3, True),
            (9 - RECENT_STEPS, 4, False),  # there is no such stage
            (9 - RECENT_STEPS - 1, 2, False),
            (0, 2, False),
        ],
    )
    def test_belong_to_a_group_that_the_release_has_or_had_lately(
        self, step: int, stratum: int, kept: bool
    ) -> None:
        releases = {"rel_1": release(self.BY, stage=2, step=9)}
        counts = (group(totals(1), totals(1), step=step, stratum=stratum),)
        failed = (("rel_1", replace(failing(1)[1], step=step, stratum=stratum)),)
        found = accepted(releases, counts=counts, failing=failed)
        assert (found.counts, found.failing) == ((counts, failed) if kept else ((), ()))

    @pytest.mark.parametrize("state", State)
    def test_belong_to_a_live_release(self, state: State) -> None:
        releases = {"rel_1": release(self.BY, state=state)}
        parts = {
            "counts": (group(totals(1), totals(1)),),
            "failing": (failing(1),),
            "trips": (("rel_1", Trips(1, 10)),),
        }
        found = accepted(releases, **parts)
        counted = {name: getattr(found, name) for name in parts}
        assert counted == (parts if state in LIVE_STATES else dict.fromkeys(parts, ()))

    def test_of_a_release_that_does_not_exist_are_ignored(self) -> None:
        assert accepted({}, counts=(group(totals(1), totals(1)),)).counts == ()

    @pytest.mark.parametrize("stages", [1, 3, 50])
    def test_have_few_groups_whatever_the_step(self, stages: int) -> None:
        by: Policy = policy(*(number * 100 / stages for number in range(1, stages + 1)))
        for step in (1, 2, 1_000_000):
            groups = groups_that_count(release(by, stage=stages, step=step))
            assert len(groups) <= (RECENT_STEPS + 1) * (stages + 1)


class TestValues:
    BY = replace(
        policy(10, 50, 100),
        checks=(Check(metric=Metric.LATENCY), Check(metric=Metric.CUSTOM, measure="basket")),
    )
    GROUP = GroupValues(4, 2, "latency", ((90, 3),), ())

    @pytest.mark.parametrize(
        ("changes", "kept"),
        [
            ({}, True),
            ({"measure": "basket"}, True),
            ({"measure": "size"}, False),
            ({"step": 3}, False),
            ({"step": 5}, False),
            ({"stratum": 1}, False),  # half of everyone contains a tenth of them
            ({"stratum": 3}, False),
            ({"release": "rel_2"}, False),
        ],
    )
    def test_count_if_a_check_uses_them(self, changes: dict[str, Any], kept: bool) -> None:
        releases = {"rel_1": release(self.BY, stage=2, step=4)}
        changed = dict(changes)
        reported = (changed.pop("release", "rel_1"), replace(self.GROUP, **changed))
        used = accepted(releases, values=(reported,)).values
        assert used == ((reported,) if kept else ())

    def test_of_a_draft_count_for_the_control(self) -> None:
        draft = {"rel_1": release(self.BY, state=State.DRAFT, closed=True)}
        groups = [("rel_1", replace(self.GROUP, step=1, stratum=stratum)) for stratum in (0, 1)]
        assert accepted(draft, values=tuple(groups)).values == (groups[0],)
