"""When an epoch ends: when most users have failed once, so that few can still be counted.

A failing user counts once in an epoch. Once nobody new can fail, the evidence of harm is blind;
then the set of failing users is emptied and the evidence starts again. Only control decides
this: a bad treatment whose users fail again and again cannot discard the evidence against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

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
        blind_epochs: epochs in a row before this one in which nobody failed for the first time
            in the second block.
    """

    failed: int = 0
    first: int = 0
    blocks: int = 0
    usual: float = 0.0
    blind_epochs: int = 0


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
        return replace(before, failed=failed, first=first)
    share, blocks = first / failed, before.blocks + 1
    after = replace(before, failed=0, first=0, blocks=blocks)
    if blocks == 2:
        return replace(after, usual=share)
    over = blocks > 2 and _is_used_up(after, share, suspicious=log_evidence >= LOG_HOLD_AT)
    return None if over else after


def _is_used_up(blocks: EpochBlocks, share: float, *, suspicious: bool) -> bool:
    """Return whether a block with this share of first failures ends the epoch."""
    if blocks.usual > 0.0:
        return share < (BLIND if suspicious else SATURATED) * blocks.usual
    # Nobody was left to fail in the second block already: either an outage let everyone fail, or
    # only those fail who always do. An epoch helps in the first case and costs a part of alpha in
    # the second, so each one in a row waits twice as long.
    waited = blocks.blocks - 2 >= 2**blocks.blind_epochs
    return share == 0.0 and waited and not suspicious


def next_epoch(blocks: EpochBlocks) -> EpochBlocks:
    """Return the blocks at the start of the epoch after this one."""
    return EpochBlocks(blind_epochs=0 if blocks.usual > 0.0 else blocks.blind_epochs + 1)
