"""What reports may occupy in the store, add to it, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.user_sample import MAX_BITS

VALUES_SECONDS = 7 * 24 * 60 * 60
"""How long the values of a step are kept after the last report of them.

They are deleted earlier when the release leaves the step.
"""

SAMPLES_SECONDS = 30 * 24 * 60 * 60
"""How long the samples of a step are kept after the last report that has users for them.

They are deleted earlier when the release leaves the step. Kept too short, users who come back
would count again.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What reports may occupy and add.

    Attributes:
        total: the largest value of a counter; a counter that reaches it stays there.
        per_second: the most operations that one instance adds to a group per second.
        grace_seconds: added to the time between two reports, because clocks and reports jitter.
        users: how many failing users of a release are remembered exactly.
        bits: the size of the filter for further failing users, 1 MiB. At 400,000 further users
            it takes under 1 % of new users for known ones. Such an error is not counted, in
            either arm alike.
        sampled: a sample that reaches this many users takes one more bit.
        sample_bits: how many bits a sample has at most. Only 4,096 hashes end in 20 zero bits.
        buckets: how many buckets the values of one step of a release may have.
        instances: how many instances of an environment are remembered.
        fields: how many totals of all these instances are remembered.
        receipts: to how many versions one report is a receipt.
        notices: how many notices of instances an environment keeps.
        new_per_minute: how many new instance ids an environment takes per minute. It is half
            of ``instances``, so that made-up ids cannot push out instances that report.
        evaluated: how many variants of flags the evaluations of one instance may have.
        series: how many variants of flags the evaluations in one step of time may have.
        askers: how many pairs of a flag and an application are remembered.
        unknown: how many flags that do not exist are remembered.
    """

    total: int = 2**53
    per_second: int = 1_000_000
    grace_seconds: int = 60
    users: int = 50_000
    bits: int = 1 << 23
    sampled: int = 4_096
    sample_bits: int = MAX_BITS
    buckets: int = 50_000
    instances: int = 50_000
    fields: int = 5_000_000
    new_per_minute: int = 25_000
    receipts: int = 20
    notices: int = 500
    evaluated: int = 20_000
    series: int = 50_000
    askers: int = 100_000
    unknown: int = 1_000


LIMITS = Limits()
