"""The sample of users by which the server checks how users are split between the arms.

A user belongs to the sample if the hash that decides the user's arm ends in ``bits`` zero bits. The
arm depends on the first bits of the hash and the sample on the last ones, so the sample is split as
all users are. A group begins with 0 bits, which is everyone, and takes one more each time its
sample is full.

Both arms of a group have the same bits. If each arm had its own, the smaller one would have fewer,
and more of its users would count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from tidegate.evaluation.results import Arm
    from tidegate.reporting import Group

MAX_GROUP_USERS = 1_000
"""A sample of a group that reaches this many users takes one more bit."""

MAX_USERS = 10_000
"""How many users the samples of all groups have; at the limit the largest takes one more bit."""

MAX_BITS = 20
"""A sample of this many bits cannot be full: only 4,096 hashes belong to it."""


class SampledUsers(msgspec.Struct):
    """The hashes of the users of a group's sample, by arm, that no report has named."""

    bits: int
    control: list[int]
    treatment: list[int]


class GroupSample(msgspec.Struct):
    """The sample of one group.

    Attributes:
        bits: how many of the last bits of a user's hash must be zero.
        mask: these bits.
        users: the hashes.
        unreported: the arms of those users whom no acknowledged report has named.
    """

    bits: int = 0
    mask: int = 0
    users: set[int] = msgspec.field(default_factory=set)
    unreported: dict[int, Arm] = msgspec.field(default_factory=dict)


class UserSamples:
    """The samples of all groups of one instance. Not safe for threads: the owner has a lock."""

    def __init__(self) -> None:
        self._groups: dict[Group, GroupSample] = {}
        self._count = 0

    def of_group(self, group: Group) -> GroupSample:
        """Return a group's sample."""
        sample = self._groups.get(group)
        if sample is None:
            sample = self._groups[group] = GroupSample()
        return sample

    def add(self, sample: GroupSample, user: int, arm: Arm) -> None:
        """Add a user who was served an arm because of a hash, if it belongs to the sample.

        Args:
            sample: of the group where the user counts.
            user: the hash that decided, as ``bucketing`` defines it.
            arm: what the user was served.
        """
        if user & sample.mask or user in sample.users:
            return
        sample.users.add(user)
        sample.unreported[user] = arm
        self._count += 1
        if len(sample.users) >= MAX_GROUP_USERS:
            self._thin(sample)
        if self._count > MAX_USERS:
            self._thin(max(self._groups.values(), key=lambda each: len(each.users)))

    def unreported(self) -> dict[Group, SampledUsers]:
        """Return the users whom the next report names."""
        return {
            group: SampledUsers(
                sample.bits,
                [user for user, arm in sample.unreported.items() if arm == "control"],
                [user for user, arm in sample.unreported.items() if arm == "treatment"],
            )
            for group, sample in self._groups.items()
            if sample.unreported
        }

    def acknowledge(self, named: dict[Group, SampledUsers]) -> None:
        """Note that the server has the users whom a report named."""
        for group, users in named.items():
            sample = self._groups.get(group)
            if sample is not None:
                for user in (*users.control, *users.treatment):
                    sample.unreported.pop(user, None)

    def has_unreported(self, group: Group) -> bool:
        """Return whether a group has users whom no acknowledged report has named."""
        sample = self._groups.get(group)
        return sample is not None and bool(sample.unreported)

    def forget(self, group: Group) -> None:
        """Forget a group's sample."""
        sample = self._groups.pop(group, None)
        if sample is not None:
            self._count -= len(sample.users)

    def _thin(self, sample: GroupSample) -> None:
        """Take one more bit, and drop the users who do not belong to the sample any more."""
        if sample.bits == MAX_BITS:
            return
        sample.bits += 1
        mask = sample.mask = (1 << sample.bits) - 1
        before = len(sample.users)
        sample.users = {user for user in sample.users if not user & mask}
        sample.unreported = {
            user: arm for user, arm in sample.unreported.items() if not user & mask
        }
        self._count -= before - len(sample.users)
