"""When an epoch ends: when most users have failed once, so that few can still be counted.

A failing user counts once in an epoch. Once nobody new can fail, the evidence of harm is blind;
then the set of failing users is emptied and the evidence starts again. Only control decides
this: a bad treatment whose users fail again and again cannot discard the evidence against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.counts import StratumCounts
from tidegate.harm_evidence import LOG_HOLD_AT

BLOCK = 50
"""Failures of control that make a block."""

SATURATED = 1.0 / 3.0
"""An epoch ends when users fail for the first time at this fraction of the rate at its start..."""

BLIND = 1.0 / 10.0
"""... or, if the evidence of harm is suspicious and should finish, only at this one."""

LARGEST_SHARE = 0.9
"""Control groups of a stratum with a larger share of the treatment are too small to decide."""


@dataclass(frozen=True, slots=True)
class EpochBlocks:
    """How far an epoch has used up the users who can fail, by blocks of control's failures.

    Attributes:
        failed, first: control's failed operations and its users who failed for the first time,
            in the present block.
        blocks: how many blocks are complete.
        usual: the share of first failures in the second block. The first one is left out
            because those who always fail are all in it.
    """

    failed: int = 0
    first: int = 0
    blocks: int = 0
    usual: float = 0.0


def has_enough_control(strata: Iterable[StratumCounts]) -> bool:
    """Return whether a stratum has a control group of at least a tenth, by design."""
    return any(0.0 < counts.share <= LARGEST_SHARE for counts in strata)


def update_epoch(
    before: EpochBlocks, strata: Iterable[StratumCounts], log_evidence: float
) -> EpochBlocks | None:
    """Return the blocks after a window; None: the epoch is over.

    Args:
        before: the blocks before the window.
        strata: the window's counts.
        log_evidence: ln E after the window; the highest, where checks share the failing users.
    """
    compared = [counts for counts in strata if counts.compared]
    if not has_enough_control(compared):
        return before
    failed = before.failed + sum(counts.control.errors for counts in compared)
    first = before.first + sum(counts.control.failing for counts in compared)
    if failed < BLOCK:
        return EpochBlocks(failed, first, before.blocks, before.usual)
    share, blocks = first / failed, before.blocks + 1
    if blocks == 2:
        return EpochBlocks(blocks=blocks, usual=share)
    limit = SATURATED if log_evidence < LOG_HOLD_AT else BLIND
    if blocks > 2 and share < limit * before.usual:
        return None
    return EpochBlocks(blocks=blocks, usual=before.usual)
