"""Which silence a release is in: nobody asks for the flag, or what is asked for never ends.

Too few operations are no silence. ``verdict`` decides what a silence does; this tells pages apart
what it says in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidegate_server.decisions.exposure_groups import compares_arms
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain.release import Release, State


class SilenceKind(StrEnum):
    """What is missing.

    ``NO_EXPOSURES``: nobody asked for the flag, as far as reports say; ``NO_OUTCOMES``: it was
    asked for, and no operation ended; ``ONE_ARM``: operations ended in the other arm only.
    """

    NO_EXPOSURES = "no_exposures"
    NO_OUTCOMES = "no_outcomes"
    ONE_ARM = "one_arm"


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence, and since when; ``arm`` is that of ``ONE_ARM``, else None."""

    kind: SilenceKind
    since_ms: int
    arm: str | None = None


EVALUATED = (State.RUNNING, State.HOLDING, State.AWAITING_APPROVAL, State.BAKING)


def present_silence(release: Release, progress: Progress) -> Silence | None:
    """Return the silence at the last evaluation; None: operations end, or none is expected."""
    if release.closed or release.stopped or release.state not in EVALUATED:
        return None
    after_ms, now_ms = release.policy.no_data.after_ms, progress.evaluated_ms
    since_ms = max(progress.control_ms, progress.treatment_ms)
    if now_ms - since_ms >= after_ms:
        asked = progress.silent_exposures > 0
        return Silence(SilenceKind.NO_OUTCOMES if asked else SilenceKind.NO_EXPOSURES, since_ms)
    if now_ms - progress.treatment_ms >= after_ms:
        return Silence(SilenceKind.ONE_ARM, progress.treatment_ms, "treatment")
    if compares_arms(release) and now_ms - progress.control_ms >= after_ms:
        return Silence(SilenceKind.ONE_ARM, progress.control_ms, "control")
    return None
