"""The strata of a stage of a release, and the treatment's design share in each."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import Release
from tidegate_server.domain.snapshot import openings, present_openings


def stage_shares(policy: Policy, stage: int) -> Mapping[int, float]:
    """Return the treatment's share, 0 to 1, in each stratum that is open in a stage (from 1).

    A stratum has the number of the stage that opened it. Earlier stages stay open, so a
    stage may have several strata.
    """
    return {opening.stage: opening.percentage / 100.0 for opening in openings(policy, stage)}


def present_shares(release: Release) -> Mapping[int, float]:
    """Return the shares at a release's present stage; a closed release has only stratum 0."""
    return {opening.stage: opening.percentage / 100.0 for opening in present_openings(release)}


def compares_arms(release: Release) -> bool:
    """Return whether the present stage of a release has a control group, and is open."""
    return not release.closed and keeps_control(release.policy, release.stage)


def keeps_control(policy: Policy, stage: int) -> bool:
    """Return whether any stratum of a stage has a control group."""
    return any(0.0 < share < 1.0 for share in stage_shares(policy, stage).values())
