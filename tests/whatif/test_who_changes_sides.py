"""Who changes sides: counted for hashed users, as it would be for the users themselves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.context import Context
from tidegate.evaluation.compiled_snapshot import compile_snapshot
from tidegate.model import (
    All,
    AnyOf,
    Comparison,
    Flag,
    InKeySet,
    InSegment,
    Prerequisite,
    Rule,
    Segment,
    Serve,
    Snapshot,
    Variant,
    WeightedVariant,
)
from tidegate.seen_users import user_name
from tidegate_server.domain.change import Refresh
from tidegate_server.domain.seen_users import SeenUser, SeenUserSample
from tidegate_server.whatif import confidence_intervals
from tidegate_server.whatif import who_changes_sides as module
from tidegate_server.whatif.who_changes_sides import Move, VariantUsers, who_changes_sides

USERS = 1_000


def name(key: str) -> str:
    return user_name("a secret", key)


def flag(key: str, default: Serve, *rules: Rule, **more: object) -> Flag:
    variants = (Variant("on", True), Variant("off", False))
    return Flag(key, "boolean", 1, key, variants, True, "off", default, rules, **more)  # type: ignore[arg-type]


def split(on: float) -> Serve:
    return Serve(split=(WeightedVariant("on", on), WeightedVariant("off", 100 - on)))


def plan(value: str) -> Comparison:
    return Comparison("plan", "equals", value)


ON, OFF = Serve("on"), Serve("off")
KEYS = [f"user-{number}" for number in range(USERS)]
PLANS = {key: ("pro", "free")[number % 2] for number, key in enumerate(KEYS)}
SAMPLE = SeenUserSample(tuple(SeenUser(name(key), {"plan": PLANS[key]}) for key in KEYS), share=0.5)


def snapshot(*flags: Flag, segments: tuple[Segment, ...] = ()) -> Snapshot:
    return Snapshot(
        *("shop", "production", 1),
        {each.key: each for each in flags},
        {each.key: each for each in segments},
    )


def changed_users(before: Snapshot, after: Snapshot, key: str) -> int:
    """Return how many of the real users get another variant."""
    old, new = compile_snapshot(before), compile_snapshot(after)
    contexts = [Context(user, plan=PLANS[user]) for user in KEYS]
    return sum(
        old.evaluate(key, each).variant != new.evaluate(key, each).variant for each in contexts
    )


def test_a_change_of_a_rule_moves_those_who_meet_it() -> None:
    before = snapshot(flag("checkout", OFF))
    after = flag("checkout", OFF, Rule("paying", plan("pro"), ON))
    found = who_changes_sides(before, Refresh("production", {"checkout": after}), SAMPLE, name)
    assert found.moves == (Move("checkout", "off", "on", 500),)
    assert found.variants == (
        VariantUsers("checkout", "off", USERS, 500),
        VariantUsers("checkout", "on", 0, 500),
    )
    assert (found.seen, found.changed, found.population) == (USERS, 500, 2_000)
    assert "500 of 1,000 recently seen users (50.0 %)" in found.text


@pytest.mark.parametrize(("was", "becomes"), [(10, 30), (0, 5), (50, 50), (100, 0)])
def test_a_split_moves_about_as_many_hashed_users_as_real_ones(was: float, becomes: float) -> None:
    before = snapshot(flag("checkout", split(was)))
    after = flag("checkout", split(becomes))
    found = who_changes_sides(before, Refresh("production", {"checkout": after}), SAMPLE, name)
    real = changed_users(before, snapshot(after), "checkout")
    share = abs(becomes - was) / 100
    deviation = math.sqrt(USERS * share * (1 - share))
    assert abs(found.changed - USERS * share) <= 4 * deviation
    assert abs(real - USERS * share) <= 4 * deviation
    # A larger percentage moves nobody back.
    assert len(found.moves) <= 1


def test_listed_keys_are_recognized_by_their_hashes() -> None:
    segment = Segment("staff", None, tuple(KEYS[:7]), ())
    wider = Segment("staff", plan("nobody"), tuple(KEYS[:10]), tuple(KEYS[:1]))
    checkout = flag("checkout", OFF, Rule("staff", InSegment("staff"), ON))
    found = who_changes_sides(
        snapshot(checkout, segments=(segment,)),
        Refresh("production", segments={"staff": wider}),
        SAMPLE,
        name,
    )
    assert set(found.moves) == {
        Move("checkout", "off", "on", 3),
        Move("checkout", "on", "off", 1),
    }
    keys = Comparison("targetingKey", "in", tuple(KEYS[:20]))
    after = flag("checkout", OFF, Rule("some", All((keys, plan("pro"))), ON))
    found = who_changes_sides(
        snapshot(flag("checkout", OFF)), Refresh("production", {"checkout": after}), SAMPLE, name
    )
    assert found.changed == 10
    assert found.caveats == ()


def test_flags_that_use_what_changes_are_compared_too() -> None:
    segments = (Segment("a", plan("pro")), Segment("b", InSegment("a")))
    direct = flag("direct", OFF, Rule("r", InSegment("b"), ON))
    needs = flag("needs", ON, prerequisites=(Prerequisite("direct", ("on",)),))
    other = flag("other", OFF)
    found = who_changes_sides(
        snapshot(direct, needs, other, segments=segments),
        Refresh("production", segments={"a": Segment("a", plan("free"))}),
        SAMPLE,
        name,
    )
    assert found.flags == ("direct", "needs")
    assert found.changed == USERS
    assert {each.flag for each in found.moves} == {"direct", "needs"}


def test_a_removed_flag_serves_no_variant() -> None:
    found = who_changes_sides(
        snapshot(flag("checkout", ON)), Refresh("production", {"checkout": None}), SAMPLE, name
    )
    assert found.moves == (Move("checkout", "on", None, USERS),)


def test_a_change_that_no_snapshot_shows_moves_nobody() -> None:
    found = who_changes_sides(snapshot(flag("checkout", ON)), None, SAMPLE, name)
    assert (found.seen, found.changed, found.moves) == (USERS, 0, ())


def test_without_seen_users_nothing_is_claimed() -> None:
    empty = SeenUserSample((), 1.0)
    refresh = Refresh("production", {"checkout": flag("checkout", OFF)})
    found = who_changes_sides(snapshot(flag("checkout", ON)), refresh, empty, name)
    assert (found.seen, found.share) == (0, None)
    assert "nobody knows" in found.text


def test_a_small_sample_says_that_it_is_small() -> None:
    few = SeenUserSample(SAMPLE.users[:5], 1.0)
    refresh = Refresh("production", {"checkout": flag("checkout", OFF)})
    found = who_changes_sides(snapshot(flag("checkout", OFF)), refresh, few, name)
    assert "0 of 5 recently seen users" in found.text
    assert "says little" in found.text
    assert found.share is not None
    assert found.share.high > 0.4


def test_what_hashes_do_not_tell_is_said() -> None:
    rule = Rule("r", Comparison("targetingKey", "starts_with", "user-"), ON)
    refresh = Refresh("production", {"checkout": flag("checkout", OFF, rule)})
    found = who_changes_sides(snapshot(flag("checkout", OFF)), refresh, SAMPLE, name)
    assert found.changed == 0
    [caveat] = found.caveats
    assert "starts_with" in caveat


def test_an_attribute_that_no_application_reports_yet_is_said() -> None:
    rule = Rule("r", Comparison("country", "equals", "DE"), ON)
    refresh = Refresh("production", {"checkout": flag("checkout", OFF, rule)})
    found = who_changes_sides(snapshot(flag("checkout", OFF)), refresh, SAMPLE, name)
    assert found.changed == 0
    [caveat] = found.caveats
    assert caveat.startswith("No seen user has the attribute country")


def test_of_uploaded_keys_a_preview_says_that_it_cannot_tell() -> None:
    uploaded = Segment("beta", AnyOf((InKeySet("3f" * 32, "salt", 9), plan("pro"))))
    after = flag("checkout", OFF, Rule("r", InSegment("beta"), ON))
    refresh = Refresh("production", {"checkout": after})
    before = snapshot(flag("checkout", OFF), segments=(uploaded,))
    found = who_changes_sides(before, refresh, SAMPLE, name)
    assert found.moves == (Move("checkout", "off", "on", 500),)
    [caveat] = found.caveats
    assert "uploaded keys" in caveat


def test_uploaded_keys_count_where_the_sdks_say_who_has_them() -> None:
    uploaded = Segment("beta", InKeySet("3f" * 32, "5a", 9))
    after = flag("checkout", OFF, Rule("r", InSegment("beta"), ON))
    refresh = Refresh("production", {"checkout": after})
    before = snapshot(flag("checkout", OFF), segments=(uploaded,))
    users = tuple(
        SeenUser(name(key), {}, {"5a": number % 4 == 0}) for number, key in enumerate(KEYS)
    )
    found = who_changes_sides(before, refresh, SeenUserSample(users, 1.0), name)
    assert found.moves == (Move("checkout", "off", "on", 250),)
    assert found.caveats == ()


def test_a_segment_of_very_many_flags_is_compared_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FLAGS", 3)
    flags = [flag(f"f{number}", OFF, Rule("r", InSegment("a"), ON)) for number in range(5)]
    found = who_changes_sides(
        snapshot(*flags, segments=(Segment("a", plan("pro")),)),
        Refresh("production", segments={"a": Segment("a", plan("free"))}),
        SAMPLE,
        name,
    )
    assert len(found.flags) == 3
    assert "Only 3 of 5 flags" in found.caveats[0]


def bounds(count: int, of: int) -> tuple[float, float]:
    found = confidence_intervals.share(count, of)
    assert found is not None
    return found.low, found.high


@given(st.integers(1, 500).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_bounds_contain_the_share_and_mirror_each_other(case: tuple[int, int]) -> None:
    count, of = case
    low, high = bounds(count, of)
    assert 0 <= low <= count / of <= high <= 1
    mirrored = bounds(of - count, of)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(("of", "share"), [(30, 0.1), (100, 0.02), (1_000, 0.5)])
def test_the_bounds_cover_the_true_share_about_95_times_of_100(of: int, share: float) -> None:
    covered = 0.0
    for count in range(of + 1):
        low, high = bounds(count, of)
        if low <= share <= high:
            covered += math.comb(of, count) * share**count * (1 - share) ** (of - count)
    assert 0.92 <= covered <= 0.99
