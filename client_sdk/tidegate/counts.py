"""Counts of operations and users, the input of the evidence of harm."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of one arm.

    Attributes:
        exposures: operations in which the application asked for the flag.
        outcomes: of those, operations that ended.
        errors: of those, operations that failed.
        failing: users who failed for the first time in this epoch, in either arm.
        microseconds: the sum of the durations of the ended operations.
        overflow: failing users that an SDK instance had no room to name.
        sampled: users of the sample, which their hash decides, who were counted for the first
            time in this stage; the check of the split counts these.
    """

    exposures: int = 0
    outcomes: int = 0
    errors: int = 0
    failing: int = 0
    microseconds: int = 0
    overflow: int = 0
    sampled: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.exposures + other.exposures,
            self.outcomes + other.outcomes,
            self.errors + other.errors,
            self.failing + other.failing,
            self.microseconds + other.microseconds,
            self.overflow + other.overflow,
            self.sampled + other.sampled,
        )

    def since(self, earlier: Counts) -> Counts:
        """Return what was added after ``earlier``; a total that went back adds nothing."""
        return Counts(
            max(0, self.exposures - earlier.exposures),
            max(0, self.outcomes - earlier.outcomes),
            max(0, self.errors - earlier.errors),
            max(0, self.failing - earlier.failing),
            max(0, self.microseconds - earlier.microseconds),
            max(0, self.overflow - earlier.overflow),
            max(0, self.sampled - earlier.sampled),
        )


NOTHING = Counts()


@dataclass(frozen=True, slots=True)
class StratumCounts:
    """What one window added in one stratum.

    ``share`` is the design share of the treatment there, 0 to 1, as the hash sets it.
    A stratum with the share 1 has no control group.
    """

    stratum: int
    share: float
    control: Counts
    treatment: Counts

    @property
    def compared(self) -> bool:
        """Whether the stratum has both arms by design."""
        return 0.0 < self.share < 1.0
