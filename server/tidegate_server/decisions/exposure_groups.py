"""Which strata a stage of a release has, and the treatment's design share in each."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import Release
from tidegate_server.domain.snapshot import openings, present_openings


def shares(policy: Policy, stage: int) -> Mapping[int, float]:
    """Stratum (the number of the stage that opened it) -> share of the treatment, 0 to 1.

    Earlier stages stay open, so a stage (from 1) may have several strata.
    """
    return {opening.stage: opening.percentage / 100.0 for opening in openings(policy, stage)}


def present_shares(release: Release) -> Mapping[int, float]:
    """The shares of a release as it stands; a closed one has the stratum 0 alone."""
    return {opening.stage: opening.percentage / 100.0 for opening in present_openings(release)}


def keeps_control(policy: Policy, stage: int) -> bool:
    """Whether any stratum of a stage has a control group."""
    return any(0.0 < share < 1.0 for share in shares(policy, stage).values())
