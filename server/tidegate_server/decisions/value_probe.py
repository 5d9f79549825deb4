"""The probe of a check of values: where little or no control is left, against a frozen cut.

The cut is the control's quantile as it was in the last window with enough control. The probe
sees roughly a doubling of the values, and asks to go back a stage as the probe of errors does.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.decisions.distributions import count_beyond
from tidegate_server.domain.checks import Check
from tidegate_server.domain.evidence import Histogram, histogram_size
from tidegate_server.domain.last_stage import TIMES_AS_MANY

MIN_VALUES = 50
"""Values of the treatment that a window needs to count."""

FIRES_AT = 5
"""How many more bad windows than good ones make the probe fire."""


@dataclass(frozen=True, slots=True)
class ValueProbe:
    """The probe of one check.

    Attributes:
        cut: the bucket beyond which a value is bad; None: control was never measured.
        bad_windows: bad windows less good ones, at least 0.
    """

    cut: int | None = None
    bad_windows: int = 0

    @property
    def fires(self) -> bool:
        """Whether the values have become too bad."""
        return self.bad_windows >= FIRES_AT


def update_value_probe(
    before: ValueProbe,
    check: Check,
    cut: int | None,
    treated: Histogram,
    *,
    enough_control: bool,
) -> ValueProbe:
    """Return the probe after a window.

    Args:
        before: the probe before the window.
        check: of latency or of a custom value, against control.
        cut: the control's quantile before the window; None: not known.
        treated: the treatment's values in the window.
        enough_control: whether the window has enough control to measure the cut.
    """
    if enough_control:
        return ValueProbe(before.cut if cut is None else cut)
    values = histogram_size(treated)
    if before.cut is None or values < MIN_VALUES:
        return before
    large_is_bad = check.operator.large_is_bad
    beyond = count_beyond(treated, before.cut, large_is_bad=large_is_bad)
    # 1 - 0.95 is a little more than 0.05 in binary.
    bad = beyond >= values * TIMES_AS_MANY * check.share_beyond - 1e-6
    return ValueProbe(before.cut, max(0, before.bad_windows + (1 if bad else -1)))
