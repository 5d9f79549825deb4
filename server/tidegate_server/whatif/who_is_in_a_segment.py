"""Who is in a segment: how many of the recently seen users it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tidegate.evaluation.conditions import ConditionCompiler, reachable, segments_in
from tidegate.model import InSegment, Segment

from tidegate_server.domain.seen_users import (
    SeenUserSample,
    segment_for_seen_users,
)
from tidegate_server.whatif import confidence_intervals
from tidegate_server.whatif.confidence_intervals import Estimate, share_texts
from tidegate_server.whatif.who_changes_sides import caveats_of, few_users, seen_users_text


@dataclass(frozen=True, slots=True)
class SegmentReach:
    """How many of the recently seen users of an environment a segment holds.

    Attributes:
        environment: its key.
        seen: how many users were looked at.
        population: about how many users there were in the last hour.
        held: how many of ``seen`` the segment holds.
        share: of all users; None: nobody was seen.
        caveats: what the sample cannot tell, in words.
    """

    environment: str
    seen: int
    population: int
    held: int
    share: Estimate | None
    caveats: tuple[str, ...]

    @property
    def text(self) -> str:
        """The result in words, with how sure it is."""
        if self.share is None:
            return "No user was seen in the last hour."
        users = seen_users_text(self.seen)
        value, bounds = share_texts(self.share)
        return f"{self.held:,} of {users} ({value}); {bounds}.{few_users(self.seen)}"


def who_is_in_a_segment(
    environment: str,
    segments: Mapping[str, Segment],
    key: str,
    sample: SeenUserSample,
    name: Callable[[str], str],
) -> SegmentReach:
    """Return how many of the recently seen users of an environment a segment holds.

    Args:
        environment: its key.
        segments: those of the project, by key.
        key: the segment.
        sample: the recently seen users of the environment.
        name: returns the name of the user with a targeting key.
    """
    needed = [key, *reachable(key, lambda each: segments_in(segments[each].when))]
    used = {each: segments[each] for each in needed if each in segments}
    compiler = ConditionCompiler(
        {each: segment_for_seen_users(segment, name) for each, segment in used.items()}
    )
    is_member = compiler.test(InSegment(key))
    held = sum(is_member(user.context) for user in sample.users)
    seen = len(sample.users)
    return SegmentReach(
        environment,
        seen,
        sample.population,
        held,
        confidence_intervals.share(held, seen),
        caveats_of([each.when for each in used.values()], sample),
    )
