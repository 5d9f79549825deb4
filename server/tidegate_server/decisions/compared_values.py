"""What a check compares in a window: failing users, or values beyond control's quantile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tidegate.counts import StratumCounts

from tidegate_server.decisions.distributions import (
    control_quantile_bucket,
    count_bad_operations,
    fade_in,
)
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.progress import CheckProgress
from tidegate_server.domain.checks import Check
from tidegate_server.domain.evidence import total


def compared_counts(
    check: Check, before: CheckProgress, window: Window
) -> tuple[CheckProgress, Sequence[StratumCounts]]:
    """Return a check against control with a window's values, and the counts to compare.

    The cut of a check of values is control's quantile before the window.
    """
    if check.distribution is None:
        return before, window.strata
    values = {(each.measure, each.stratum): each for each in window.distributions}
    strata = count_bad_operations(
        check, control_quantile_bucket(check, before.control), window.strata, values
    )
    control = fade_in(
        before.control,
        (each.control for each in window.distributions if each.measure == check.distribution),
    )
    after = replace(
        before,
        control=control,
        seen_control=before.seen_control + total(each.control for each in strata),
        seen_treatment=before.seen_treatment + total(each.treatment for each in strata),
    )
    return after, strata
