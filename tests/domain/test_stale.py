"""Which flags are stale, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.model import Prerequisite, Serve, Variant, WeightedVariant
from tidegate_server.domain.calendar import DAY_MS
from tidegate_server.domain.code_references import FlagInCode
from tidegate_server.domain.flags import Archived, FlagDefinition, Kill, Targeting
from tidegate_server.domain.stale import (
    NO_OTHERS,
    FlagPlace,
    OtherFlags,
    Stale,
    StaleReason,
    flags_around,
    only_variant,
    stale,
)

NOW = int(datetime(2026, 11, 29, tzinfo=UTC).timestamp() * 1000)
DAYS = 30
FLAG = FlagDefinition("checkout", "boolean", (Variant("on", True), Variant("off", False)), "salt")
TEMPORARY = replace(FLAG, temporary=True)
ON = Targeting("checkout", True, "off", Serve(variant="on"))
SPLIT = replace(
    ON, default=Serve(split=(WeightedVariant("on", 50.0), WeightedVariant("off", 50.0)))
)


def ago(days: float) -> int:
    return NOW - int(days * DAY_MS)


def place(
    targeting: Targeting = ON,
    changed: float = 100,
    counted: float | None = 90,
    asked: float | None = 1,
    environment: str = "production",
) -> FlagPlace:
    return FlagPlace(
        environment,
        targeting,
        ago(changed),
        None if counted is None else ago(counted),
        None if asked is None else ago(asked),
    )


def verdict(
    flag: FlagDefinition,
    *places: FlagPlace,
    defined: float = 100,
    others: OtherFlags = NO_OTHERS,
    code: FlagInCode | None = None,
) -> Stale | None:
    return stale(flag, ago(defined), places, now_ms=NOW, after_days=DAYS, others=others, code=code)


def reason(*arguments: object, **named: object) -> str | None:
    found = verdict(*arguments, **named)  # type: ignore[arg-type]
    return None if found is None else found.reason.value


def test_a_temporary_flag_that_serves_one_variant_to_everyone_is_done() -> None:
    found = verdict(TEMPORARY, place(changed=40))
    assert found is not None
    assert (found.reason, found.since_ms) == (StaleReason.RELEASED, ago(40))
    assert "on" in found.fix
    assert reason(TEMPORARY, place(changed=29)) is None


def test_a_permanent_flag_may_serve_one_variant_for_ever() -> None:
    assert reason(FLAG, place()) is None


def test_a_flag_is_not_released_while_an_environment_that_uses_it_serves_something_else() -> None:
    off = place(replace(ON, default=Serve(variant="off")), environment="staging")
    assert reason(TEMPORARY, place(), off) is None
    assert reason(TEMPORARY, place(), replace(off, asked_ms=None)) == "released"


@pytest.mark.parametrize("flag", [FLAG, TEMPORARY])
def test_a_flag_that_nobody_asks_for_any_more(flag: FlagDefinition) -> None:
    found = verdict(flag, place(asked=31))
    assert found is not None
    assert (found.reason, found.since_ms) == (StaleReason.NOT_ASKED, ago(31))
    assert reason(flag, place(asked=31), place(asked=2, environment="staging")) != "not_asked"


@pytest.mark.parametrize("flag", [FLAG, TEMPORARY])
def test_a_flag_that_nobody_ever_asked_for(flag: FlagDefinition) -> None:
    assert reason(flag, place(asked=None)) == "never_asked"
    assert reason(flag, place(asked=None, changed=1), defined=10) is None


def test_without_reports_nobody_knows_who_asks() -> None:
    assert reason(FLAG, place(asked=None, counted=None)) is None
    assert reason(FLAG, place(asked=None, counted=10)) is None


def test_a_flag_that_others_need_is_asked_for_by_them() -> None:
    others = OtherFlags(required=frozenset({"checkout"}))
    assert reason(FLAG, place(asked=None), others=others) is None


@pytest.mark.parametrize("flag", [FLAG, TEMPORARY])
def test_a_flag_whose_last_use_has_left_the_code(flag: FlagDefinition) -> None:
    gone = FlagInCode(gone_ms=ago(3))
    found = verdict(flag, place(SPLIT, asked=2), code=gone)
    assert found is not None
    assert (found.reason, found.since_ms) == (StaleReason.NOT_IN_CODE, ago(3))
    assert reason(flag, place(SPLIT, asked=0.5), code=gone) is None
    others = OtherFlags(required=frozenset({"checkout"}))
    assert reason(flag, place(SPLIT, asked=2), code=gone, others=others) is None


def test_a_flag_that_no_code_ever_used_gets_time_for_its_code() -> None:
    unused = FlagInCode(tests=2)
    assert reason(FLAG, place(SPLIT, asked=None, counted=None), code=unused) == "not_in_code"
    assert reason(FLAG, place(SPLIT, asked=None), defined=10, code=unused) is None
    # Another repository, whose code is not known, may ask for it.
    assert reason(FLAG, place(SPLIT, asked=2), code=unused) is None


def test_what_the_code_still_uses_is_said_with_the_command_that_removes_it() -> None:
    used = FlagInCode(uses=3, repositories=("acme/shop", "acme/app"))
    found = verdict(TEMPORARY, place(), code=used)
    assert found is not None
    assert found.reason is StaleReason.RELEASED
    assert "the code still uses it in 3 places of acme/shop, acme/app." in found.text
    assert "tidegate code-refs remove checkout" in found.fix
    past = verdict(
        replace(TEMPORARY, expected_end=date(2026, 11, 1)), place(SPLIT), code=FlagInCode(1)
    )
    assert past is not None
    assert "the code still uses it in 1 place" in past.text


def test_a_flag_that_is_past_its_end() -> None:
    flag = replace(TEMPORARY, expected_end=date(2026, 11, 28))
    found = verdict(flag, place(SPLIT))
    assert found is not None
    assert (found.reason, found.since_ms) == (StaleReason.PAST_END, NOW)
    assert reason(replace(flag, expected_end=date(2026, 11, 29)), place(SPLIT)) is None


@pytest.mark.parametrize("flag", [FLAG, TEMPORARY])
def test_an_archived_prerequisite_is_never_met(flag: FlagDefinition) -> None:
    needs = replace(SPLIT, prerequisites=(Prerequisite("base", ("on",)),))
    others = OtherFlags(archived=frozenset({"base"}))
    assert reason(flag, place(needs), others=others) == "archived_prerequisite"
    assert reason(flag, place(needs)) is None


def test_a_flag_with_one_variant_decides_nothing() -> None:
    assert reason(replace(FLAG, variants=FLAG.variants[:1]), place()) == "one_variant"


def test_the_flags_around_say_what_is_archived_and_needed() -> None:
    archived = replace(FLAG, key="old", archived=Archived("ann", "", 0))
    needs = replace(ON, flag="checkout", prerequisites=(Prerequisite("base", ("on",)),))
    of_old = replace(ON, flag="old", prerequisites=(Prerequisite("other", ("on",)),))
    found = flags_around({"checkout": FLAG, "old": archived}, [needs, of_old])
    assert found == OtherFlags(frozenset({"old"}), frozenset({"base"}))


flags = st.builds(
    replace,
    st.just(FLAG),
    temporary=st.booleans(),
    expected_end=st.none() | st.dates(date(2026, 1, 1), date(2027, 12, 31)),
    variants=st.sampled_from([FLAG.variants, FLAG.variants[:1]]),
    archived=st.sampled_from([None, Archived("ann", "", 0)]),
)
days = st.integers(0, 400)
targetings = st.sampled_from(
    [ON, SPLIT, replace(ON, kill=Kill("ann", "", 0)), replace(ON, enabled=False)]
)
places = st.lists(
    st.builds(place, targetings, days, st.none() | days, st.none() | days), min_size=1, max_size=3
)


@given(flags, places, days)
def test_what_is_stale_has_been_so_for_its_time_and_stays_so(
    flag: FlagDefinition, where: list[FlagPlace], defined: int
) -> None:
    found = verdict(flag, *where, defined=defined)
    later = stale(flag, ago(defined), where, now_ms=NOW + 3 * DAY_MS, after_days=DAYS)
    if found is None:
        return
    assert flag.archived is None
    assert found.text
    assert found.fix
    assert later is not None
    if found.reason is StaleReason.PAST_END:
        assert found.since_ms <= NOW
        assert flag.temporary
    else:
        assert found.since_ms <= NOW - DAYS * DAY_MS
    if found.reason is StaleReason.RELEASED:
        assert flag.temporary
        assert all(only_variant(each.targeting) for each in where if each.asked_ms is not None)


@given(flags, places, days)
def test_to_ask_for_a_flag_ends_that_nobody_asks(
    flag: FlagDefinition, where: list[FlagPlace], defined: int
) -> None:
    asked = [replace(where[0], asked_ms=NOW), *where[1:]]
    found = verdict(flag, *asked, defined=defined)
    assert found is None or found.reason not in (StaleReason.NEVER_ASKED, StaleReason.NOT_ASKED)


@given(flags, places, days)
def test_a_change_of_everything_ends_most_reasons(
    flag: FlagDefinition, where: list[FlagPlace], defined: int
) -> None:
    fresh = [replace(each, changed_ms=NOW, asked_ms=NOW) for each in where]
    found = verdict(flag, *fresh, defined=0)
    assert found is None or found.reason is StaleReason.PAST_END
    end = flag.expected_end
    past = end is not None and end + timedelta(days=1) <= date(2026, 11, 29)
    assert (found is not None) == (flag.temporary and past and flag.archived is None)
