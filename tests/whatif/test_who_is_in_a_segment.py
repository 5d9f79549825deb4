"""Who is in a segment: counted for hashed users, as it would be for the users themselves."""

from __future__ import annotations

from tidegate.model import AnyOf, Comparison, InKeySet, InSegment, NoneOf, Segment
from tidegate.seen_users import user_name
from tidegate_server.domain.seen_users import SeenUser, SeenUserSample
from tidegate_server.whatif.who_is_in_a_segment import SegmentReach, who_is_in_a_segment

KEYS = [f"user-{number}" for number in range(100)]
PRO = Comparison("plan", "equals", "pro")


def name(key: str) -> str:
    return user_name("a secret", key)


def reach(segment: Segment, *others: Segment, lists: bool = True) -> SegmentReach:
    """Look at 100 users: every second one pays, and every fourth was uploaded."""
    users = tuple(
        SeenUser(
            name(key),
            {"plan": ("pro", "free")[number % 2]},
            {"5a": number % 4 == 0} if lists else {},
        )
        for number, key in enumerate(KEYS)
    )
    segments = {each.key: each for each in (segment, *others)}
    return who_is_in_a_segment(
        "production", segments, segment.key, SeenUserSample(users, 0.5), name
    )


def test_conditions_and_listed_keys_are_looked_at_together() -> None:
    found = reach(Segment("beta", PRO, included=("user-1", "user-2"), excluded=("user-0",)))
    assert (found.seen, found.population, found.held) == (100, 200, 50)
    assert "50 of 100 recently seen users (50.0 %)" in found.text
    assert found.caveats == ()


def test_segments_of_segments_are_looked_at() -> None:
    outer = Segment("outer", AnyOf((InSegment("beta"), InSegment("list"))))
    found = reach(outer, Segment("beta", PRO), Segment("list", included=("user-1",)))
    assert found.held == 51


def test_uploaded_keys_count_as_the_sdks_say() -> None:
    uploaded = Segment("crew", InKeySet("3f" * 32, "5a", 9))
    assert reach(uploaded).held == 25
    rest = Segment("rest", NoneOf((InSegment("crew"),)))
    assert reach(rest, uploaded).held == 75


def test_what_no_sdk_says_is_a_caveat() -> None:
    found = reach(Segment("crew", InKeySet("3f" * 32, "5a", 9)), lists=False)
    assert found.held == 0
    [caveat] = found.caveats
    assert "uploaded keys" in caveat


def test_without_seen_users_nothing_is_claimed() -> None:
    found = who_is_in_a_segment(
        "production", {"beta": Segment("beta", PRO)}, "beta", SeenUserSample((), 1.0), name
    )
    assert found.share is None
    assert found.text == "No user was seen in the last hour."
