"""What a release needs to leave its stage.

``stage_exit`` decides by it and says it in words, ``stage_gates`` in numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate_server.decisions.progress import Progress
from tidegate_server.domain.checks import Check
from tidegate_server.domain.release import Release

MIN_WINDOWS = 2
"""Windows that a stage must have had before the release may leave it."""


def needed_ms(release: Release) -> int:
    """Return how long the release must stay in its stage; in the last one it bakes."""
    if release.is_in_last_stage:
        return release.policy.bake_ms
    return release.current_stage.min_duration_ms


def needs_safety(release: Release, *, has_control: bool) -> bool:
    """Return whether the stage needs evidence of safety, and samples of the control.

    Nothing follows the last stage, so it needs only samples of the treatment. In version 1 of
    the statistics it needed both where a holdback left a control group.

    Args:
        release: as it is now.
        has_control: whether the stage has a control group.
    """
    if release.is_in_last_stage and release.statistics != 1:
        return False
    return has_control


def stage_outcomes(progress: Progress, *, needs_safety: bool) -> Mapping[str, int]:
    """Return the outcomes of each arm of which the stage needs enough."""
    if not needs_safety:
        return {"treatment": progress.stage_treatment.outcomes}
    return {
        "treatment": progress.compared_treatment.outcomes,
        "control": progress.compared_control.outcomes,
    }


def harm_counts(release: Release, check: Check, *, has_control: bool) -> bool:
    """Return whether the evidence of harm of a check can keep the release in its stage.

    Version 1 of the statistics looked at it only where it grew. Arguments as ``needs_safety``.
    """
    if release.statistics == 1:
        return check.sequential and has_control
    return check.guarded


def raises_percentage(release: Release) -> bool:
    """Return whether leaving the stage raises a percentage; completing does after a holdback."""
    return not release.is_in_last_stage or release.policy.holdback > 0.0
