"""The page of a release in every state says what is, why, and what comes first."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.dashboard.release_states import States, release_states
from tests.dashboard.test_pages import check
from tests.policy_job.deployment import Sdk


@pytest.fixture(scope="module")
def states() -> Iterator[States]:
    with release_states() as made:
        yield made


def text_of(html: str) -> str:
    """Return what a reader sees."""
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def says(states: States, name: str) -> str:
    return text_of(check(states.admin.get(states.page(name))))


SENTENCES = {
    "draft": "Measures, nobody is open:",
    "running": "Open to 25 % of everyone, and nothing speaks against it. It still needs",
    "too-few": "Open to 25 % of everyone, and too few have come:",
    "nobody-asks": "Holding at 25 % of everyone: no process has reported for",
    "awaiting": "has passed everything and waits for 1 of 1 approvals",
    "cooling": "Cooling down, open to nobody, tries again at about",
    "paused": "Paused at 25 % of everyone by",
    "stopped": "not even a rollback happens.",
    "baking": "Everyone has it, healthy for",
    "retreated": "Went back from 100 % to 50 % of everyone, to have a control group again.",
    "killed": "Killed while open to 25 % of everyone",
    "rolled-back": "Rolled back by the policy at",
    "completed": "Completed at",
}

BARS = {
    "draft": "nobody gets on everyone keeps off",
    "running": "25 % of everyone get on the rest keeps off",
    "baking": "everyone gets on",
    "killed": "everyone gets the kill variant",
}


@pytest.mark.parametrize("name", list(BARS))
def test_the_bar_says_who_gets_what(states: States, name: str) -> None:
    assert BARS[name] in says(states, name)


FIRST = {
    "draft": "Begin…",
    "running": "Pause",
    "awaiting": "Approve…",
    "cooling": "Try again…",
    "paused": "Resume…",
    "stopped": "Resume…",
    "killed": "Restore…",
    "rolled-back": "Start again…",
    "completed": "Start again…",
}


@pytest.mark.parametrize("name", list(SENTENCES))
def test_the_sentence_says_the_state(states: States, name: str) -> None:
    assert SENTENCES[name] in says(states, name)


@pytest.mark.parametrize("name", list(FIRST))
def test_the_button_of_the_state_is_there(states: States, name: str) -> None:
    assert FIRST[name] in says(states, name)


def test_who_may_only_read_is_offered_nothing(states: States) -> None:
    viewer = states.admin.token_for("viewer", "default", "production")
    for name in ("draft", "running", "awaiting", "completed"):
        page = text_of(check(viewer.get(states.page(name))))
        assert not re.search("Pause|Begin…|Approve…|Roll back…|Start again…|Share…", page)


def test_a_silence_says_which_one_it_is(states: States) -> None:
    assert "no process has reported" in says(states, "nobody-asks")
    assert "Look at the processes" in says(states, "nobody-asks")
    assert "no process" not in says(states, "too-few")
    idle = Sdk(states.store, "default", "b" * 32, interval=600.0)
    idle.report(states.release("running"), (0, 0), (0, 0))
    try:
        assert "Processes report, so the traffic is missing" in says(states, "nobody-asks")
    finally:
        idle.leave()


def test_the_ledger_tells_also_what_was_not_done(states: States) -> None:
    page = says(states, "running")
    assert re.search(r"Held \d+ times", page)
    assert "started the release of running." in page
    people = text_of(states.admin.get(f"{states.page('paused')}?show=people").text)
    assert "paused the release of paused." in people
    assert "Held" not in people
    moves = text_of(states.admin.get(f"{states.page('rolled-back')}?show=moves").text)
    assert "The policy rolled it back: everyone gets off." in moves
    assert "started the release" not in moves
    warnings = text_of(states.admin.get(f"{states.page('nobody-asks')}?show=warnings").text)
    assert "Held" in warnings


def test_a_report_says_what_is_left_to_do(states: States) -> None:
    assert "In production rolled-back serves off now." in says(states, "rolled-back")
    assert "In production completed serves on now." in says(states, "completed")


def test_a_report_speaks_of_what_is_over(states: States) -> None:
    rolled_back = text_of(states.admin.get(states.page("rolled-back")).text)
    assert "to notice a difference" not in rolled_back, "the harm was noticed"
    assert "noticed by now" not in rolled_back
    completed = text_of(states.admin.get(states.page("completed")).text)
    assert ": everyone got on." in completed
    assert "noticed by now" not in completed
    assert "yet to notice" not in completed
    assert "everyone everyone" not in " ".join(completed.split())


def test_the_list_shows_every_state_and_filters(states: States) -> None:
    listed = text_of(check(states.admin.get("/p/default/e/production/releases")))
    for word in ("Draft", "Holding", "Awaiting approval", "Cooling down", "Full stop", "Killed"):
        assert word in listed
    only = check(states.admin.get("/p/default/e/production/releases?state=draft"))
    assert only.count("/releases/rel_") == 1
    everywhere = check(states.admin.get("/p/default/e/production/releases?all=yes"))
    assert states.ids["running"] in everywhere


@pytest.mark.parametrize(
    ("name", "action", "effect"),
    [
        ("draft", "begin", "It opens to 25 % of everyone at once."),
        ("running", "advance", "It opens to everyone at once,"),
        ("running", "advance", "It does not wait for"),
        ("running", "rollback", "Everyone gets off."),
        ("running", "stop", "Nothing automatic happens, not even a rollback,"),
        ("awaiting", "approve", "It may open to everyone"),
        ("cooling", "retry", "the same people as before."),
        ("paused", "resume", "The policy goes on from here"),
        ("baking", "complete", "Everyone gets on at once."),
    ],
)
def test_an_action_says_first_what_will_happen(
    states: States, name: str, action: str, effect: str
) -> None:
    assert effect in text_of(check(states.admin.get(f"{states.page(name)}/{action}")))
