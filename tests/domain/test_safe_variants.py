"""What a kill, a disabled flag and a failed prerequisite serve stays safe."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate.model import Prerequisite, Variant
from tidegate_server.domain import flag_edits
from tidegate_server.domain.change import Change
from tidegate_server.domain.flags import FlagDefinition
from tidegate_server.errors import Invalid, StaleRevision

from tests.domain.builders import (
    OFF,
    ON,
    InMemoryStore,
    checkout,
    pointers,
    problems,
    serving,
    store_with_checkout,
)

SAME = Variant("same", True)
"""Another variant with the treatment's value."""

SAFE = Variant("safe", False)


@pytest.fixture
def store() -> InMemoryStore:
    store = store_with_checkout()
    edit(store, variants=(ON, OFF, SAME, SAFE))
    return store


def edit(store: InMemoryStore, flag: str = "checkout", **to: object) -> Change:
    after = replace(store.documents.flag(flag).document, **to)
    return store.commit(flag_edits.edit_flag(store.documents, after, actor="ana", now_ms=500))


def with_value(store: InMemoryStore, key: str, value: object) -> tuple[Variant, ...]:
    """Return the variants of checkout, one of them with another value."""
    variants = store.documents.flag("checkout").document.variants
    return tuple(replace(each, value=value) if each.key == key else each for each in variants)


# Releases ------------------------------------------------------------------------------


@pytest.mark.parametrize("treatment", ["on", "same"])
@pytest.mark.parametrize("field", ["kill_variant", "off_variant"])
def test_a_release_cannot_open_what_a_kill_or_the_disabled_flag_serves(
    store: InMemoryStore, field: str, treatment: str
) -> None:
    store.edit_targeting(**{field: "on"})
    with pytest.raises(Invalid) as caught:
        store.start(treatment=treatment)
    (detail,) = problems(caught.value).values()
    assert pointers(caught.value) == ["/treatment"]
    assert f"Set {field} to a variant with another value" in detail


def test_a_release_towards_off_needs_a_kill_variant_and_an_off_variant_of_its_own(
    store: InMemoryStore,
) -> None:
    store.edit_targeting(default=serving("on"))
    with pytest.raises(Invalid):
        store.start(treatment="off")
    store.edit_targeting(kill_variant="on")
    with pytest.raises(Invalid, match="The disabled flag serves 'off'"):
        store.start(treatment="off")
    store.edit_targeting(off_variant="on")
    store.start(treatment="off")
    store.kill()
    assert store.flags["production"]["checkout"].killed == "on"


@pytest.mark.parametrize("variant", ["on", "same"])
@pytest.mark.parametrize("field", ["kill_variant", "off_variant"])
def test_during_a_release_the_kill_and_off_variants_cannot_become_what_it_opens(
    store: InMemoryStore, field: str, variant: str
) -> None:
    store.start()
    with pytest.raises(Invalid) as caught:
        store.edit_targeting(**{field: variant})
    assert pointers(caught.value) == [f"/{field}"]
    store.edit_targeting(**{field: "safe"})


def test_values_are_compared_as_json() -> None:
    one, two = Variant("one", {"a": 1, "b": [1.0]}), Variant("two", {"b": [1], "a": 1.0})
    store = store_with_checkout()
    flag = FlagDefinition("limits", "object", (one, two, Variant("none", {})), salt="")
    store.add_flag(flag)
    store.edit_targeting(flag="limits", default=serving("none"))
    with pytest.raises(Invalid, match="has the value of 'two'"):
        store.start(flag="limits", treatment="two")


@pytest.mark.parametrize(
    ("variant", "value", "pointer"),
    [("off", True, "/variants/1/value"), ("on", False, "/variants/0/value")],
)
def test_during_a_release_no_value_makes_a_kill_open_it(
    store: InMemoryStore, variant: str, value: bool, pointer: str
) -> None:
    store.start()
    with pytest.raises(Invalid) as caught:
        edit(store, variants=with_value(store, variant, value))
    assert pointers(caught.value) == [pointer]


def test_during_a_release_the_values_of_its_arms_cannot_be_swapped(store: InMemoryStore) -> None:
    store.start()
    with pytest.raises(Invalid) as caught:
        edit(store, variants=(replace(ON, value=False), replace(OFF, value=True), SAME, SAFE))
    assert pointers(caught.value) == ["/variants/1/value"]


def test_an_a_a_test_is_possible(store: InMemoryStore) -> None:
    store.edit_targeting(default=serving("on"))
    store.start(treatment="same", control="on")
    assert store.release().treatment == "same"


# Kills ---------------------------------------------------------------------------------


def test_what_a_kill_serves_cannot_change_while_the_flag_is_killed(store: InMemoryStore) -> None:
    store.kill()
    for field in ("off_variant", "kill_variant"):
        with pytest.raises(Invalid, match="until a person restores it") as caught:
            store.edit_targeting(**{field: "safe"})
        assert pointers(caught.value) == [f"/{field}"]
    store.edit_targeting(kill_variant="off", off_variant="safe")
    assert store.flags["production"]["checkout"].killed == "off"


def test_the_value_that_a_kill_serves_cannot_change_while_the_flag_is_killed(
    store: InMemoryStore,
) -> None:
    store.kill()
    with pytest.raises(Invalid, match="killed in production") as caught:
        edit(store, variants=with_value(store, "off", True))
    assert pointers(caught.value) == ["/variants/1/value"]
    edit(store, variants=with_value(store, "safe", True))


def test_a_killed_flag_can_be_given_another_kill_variant_without_opening_it(
    store: InMemoryStore,
) -> None:
    store.edit_targeting(default=serving("on"))
    store.kill()
    store.edit_targeting(enabled=False)
    store.restore()
    store.edit_targeting(kill_variant="safe")
    store.kill()
    store.edit_targeting(enabled=True)
    assert store.flags["production"]["checkout"].killed == "safe"


def test_a_kill_is_never_refused_whatever_older_documents_say(store: InMemoryStore) -> None:
    """Documents of earlier versions are not checked again."""
    store.start()
    address = next(each for each in store.stored if each.kind == "targeting" and each.environment)
    stored = store.stored[address]
    document = replace(stored.document, kill_variant="on")
    store.stored[address] = replace(stored, document=document)
    store.kill()
    assert store.flags["production"]["checkout"].killed == "on"


# Prerequisites -------------------------------------------------------------------------


def test_the_kill_of_a_flag_cannot_turn_on_a_flag_that_requires_it(store: InMemoryStore) -> None:
    store.add_flag(checkout(key="legacy"))
    with pytest.raises(Invalid, match="A kill of checkout serves 'off'") as caught:
        store.edit_targeting(
            flag="legacy", prerequisites=(Prerequisite("checkout", ("on", "off")),)
        )
    assert pointers(caught.value) == ["/prerequisites/0/variants/1"]
    store.edit_targeting(kill_variant="safe")
    store.edit_targeting(flag="legacy", prerequisites=(Prerequisite("checkout", ("off",)),))


def test_a_prerequisite_that_accepts_every_variant_is_always_met(store: InMemoryStore) -> None:
    store.add_flag(checkout(key="legacy"))
    every = Prerequisite("checkout", ("on", "off", "same", "safe"))
    store.edit_targeting(flag="legacy", prerequisites=(every,))
    store.edit_targeting(kill_variant="safe")


@pytest.mark.parametrize("field", ["kill_variant", "off_variant"])
def test_a_flag_cannot_get_a_kill_variant_that_turns_on_what_requires_it(
    store: InMemoryStore, field: str
) -> None:
    store.add_flag(checkout(key="payment"))
    store.edit_targeting(flag="payment", prerequisites=(Prerequisite("checkout", ("on",)),))
    with pytest.raises(Invalid, match="turns on what requires it: payment") as caught:
        store.edit_targeting(**{field: "on"})
    assert pointers(caught.value) == [f"/{field}"]


@pytest.fixture
def chain(store: InMemoryStore) -> InMemoryStore:
    """A store where checkout has a kill variant of its own, and could require base."""
    store.add_flag(checkout(key="base"))
    store.add_flag(checkout(key="legacy"))
    store.edit_targeting(kill_variant="safe")
    return store


REQUIRES_BASE = (Prerequisite("base", ("on",)),)
REQUIRES_OFF = (Prerequisite("checkout", ("off",)),)


def test_the_kill_of_a_prerequisite_cannot_turn_on_a_flag_further_down(
    chain: InMemoryStore,
) -> None:
    chain.edit_targeting(prerequisites=REQUIRES_BASE)
    with pytest.raises(Invalid, match="A kill of what checkout requires serves 'off'") as caught:
        chain.edit_targeting(flag="legacy", prerequisites=REQUIRES_OFF)
    assert pointers(caught.value) == ["/prerequisites/0/variants/0"]


def test_a_flag_whose_off_variant_is_required_cannot_get_a_prerequisite(
    chain: InMemoryStore,
) -> None:
    chain.edit_targeting(flag="legacy", prerequisites=REQUIRES_OFF)
    with pytest.raises(Invalid, match="turns on what requires it: legacy") as caught:
        chain.edit_targeting(prerequisites=REQUIRES_BASE)
    assert pointers(caught.value) == ["/off_variant"]
    chain.edit_targeting(prerequisites=REQUIRES_BASE, off_variant="safe")


def test_a_new_prerequisite_and_one_on_its_off_variant_at_once_make_one_of_them_stale(
    chain: InMemoryStore,
) -> None:
    present = chain.documents.targeting("production", "checkout").document
    after = replace(present, prerequisites=REQUIRES_BASE)
    late = flag_edits.edit_targeting(chain.documents, "production", after, actor="ana", now_ms=1)
    chain.edit_targeting(flag="legacy", prerequisites=REQUIRES_OFF)
    with pytest.raises(StaleRevision):
        chain.commit(late)


def test_a_new_kill_variant_and_a_prerequisite_on_it_at_once_make_one_of_them_stale(
    store: InMemoryStore,
) -> None:
    store.add_flag(checkout(key="payment"))
    present = store.documents.targeting("production", "checkout").document
    late = flag_edits.edit_targeting(
        store.documents, "production", replace(present, kill_variant="safe"), actor="ana", now_ms=1
    )
    store.edit_targeting(flag="payment", prerequisites=(Prerequisite("checkout", ("safe",)),))
    with pytest.raises(StaleRevision):
        store.commit(late)
