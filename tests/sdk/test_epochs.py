from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.counts import NOTHING, Counts, StratumCounts
from tidegate.epochs import BLOCK, EpochBlocks, next_epoch, update_epoch
from tidegate.harm_evidence import HOLD_AT


def stratum(
    failed: int, first: int, treatment: Counts = NOTHING, share: float = 0.25
) -> StratumCounts:
    return StratumCounts(1, share, Counts(errors=failed, failing=first), treatment)


def windows_of_an_epoch(*control: tuple[int, int], log_evidence: float = 0.0) -> int | None:
    """The number of the window that ends the epoch, from 1; None: none does."""
    blocks = EpochBlocks()
    for number, (failed, first) in enumerate(control, start=1):
        after = update_epoch(blocks, [stratum(failed, first)], log_evidence)
        if after is None:
            return number
        blocks = after
    return None


def test_an_epoch_ends_when_first_failures_are_a_third_of_what_they_were() -> None:
    assert windows_of_an_epoch((50, 50), (50, 40), (50, 13)) == 3
    assert windows_of_an_epoch((50, 50), (50, 40), (50, 14)) is None


def test_suspicious_evidence_may_finish_until_it_is_nearly_blind() -> None:
    suspicious = math.log(HOLD_AT)

    assert windows_of_an_epoch((50, 50), (50, 40), (50, 5), log_evidence=suspicious) is None
    assert windows_of_an_epoch((50, 50), (50, 40), (50, 3), log_evidence=suspicious) == 3


def test_the_first_block_does_not_count_because_those_who_always_fail_are_in_it() -> None:
    chronic = [(50, 50)] + [(50, 10)] * 20

    assert windows_of_an_epoch(*chronic) is None


def test_a_block_may_take_many_windows_and_one_window_may_be_many_blocks() -> None:
    assert windows_of_an_epoch(*[(10, 10)] * 5, *[(10, 8)] * 5, *[(10, 2)] * 5) == 15
    assert windows_of_an_epoch((5_000, 900), (400, 300), (700, 70)) == 3


@given(st.lists(st.builds(Counts, errors=st.integers(0, 500), failing=st.integers(0, 500))))
def test_counts_of_the_treatment_never_end_an_epoch(treatment: list[Counts]) -> None:
    """A bad treatment whose users try again must not discard the evidence against it."""
    blocks = EpochBlocks(blocks=2, usual=1.0)
    for counts in treatment:
        after = update_epoch(blocks, [stratum(0, 0, counts)], 0.0)
        assert after == blocks


@pytest.mark.parametrize("share", [0.0, 0.95, 1.0])
def test_no_epoch_ends_where_control_is_small_or_missing(share: float) -> None:
    blocks = EpochBlocks(blocks=2, usual=1.0)

    assert update_epoch(blocks, [stratum(BLOCK, 0, share=share)], 0.0) == blocks


def test_a_small_control_group_counts_beside_a_larger_one() -> None:
    strata = [stratum(25, 0, share=0.95), stratum(25, 0, share=0.5)]

    assert update_epoch(EpochBlocks(blocks=2, usual=1.0), strata, 0.0) is None


def epochs_in(blocks: int, first: int, log_evidence: float = 0.0) -> int:
    """The number of epochs that end in blocks after one in which everyone fails at once."""
    state, ended = EpochBlocks(), 0
    for _ in range(blocks):
        everyone = state.blocks == 0 and state.failed == 0
        after = update_epoch(state, [stratum(BLOCK, BLOCK if everyone else first)], log_evidence)
        ended += after is None
        state = next_epoch(state) if after is None else after
    return ended


def test_an_outage_that_lets_everyone_fail_at_once_does_not_blind_the_evidence_for_good() -> None:
    blinded = EpochBlocks(blocks=2, usual=0.0)
    assert update_epoch(blinded, [stratum(BLOCK, 0)], 0.0) is None

    healthy = next_epoch(blinded)
    for first in (50, 40, 40, 40):
        after = update_epoch(healthy, [stratum(BLOCK, first)], 0.0)
        assert after is not None
        healthy = after
    assert next_epoch(healthy).blind_epochs == 0


def test_where_only_those_fail_who_always_do_epochs_end_ever_more_rarely() -> None:
    """Every epoch uses a part of alpha: 1,000 blocks may not use up all of them."""
    assert epochs_in(10, first=0) == 2
    assert epochs_in(1_000, first=0) <= 10


def test_while_a_few_still_fail_or_the_evidence_is_suspicious_a_blind_epoch_goes_on() -> None:
    assert epochs_in(1_000, first=1) == 0
    assert epochs_in(1_000, first=0, log_evidence=math.log(HOLD_AT)) == 0
