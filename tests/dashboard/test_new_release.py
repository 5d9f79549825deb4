"""The form of a new release: what it will do, at once, later, or as a proposal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.admin.guarded import protect
from tests.dashboard.test_kills import submit
from tests.dashboard.test_pages import PLACE, check
from tests.dashboard.test_release_states import text_of
from tests.http_calls import PRODUCTION, PROJECT, Caller

NEW = f"{PLACE}/releases/new?flag=checkout"
FORM = {"flag": "checkout", "treatment": "on", "policy": "careful"}


def releases(caller: Caller) -> list[str]:
    found = caller.get(f"{PRODUCTION}/releases").json
    assert found is not None
    return [each["flag"] for each in found["items"]]


def test_the_form_shows_what_the_policy_will_do(checkout: Caller) -> None:
    page = check(checkout.get(NEW))
    assert "What the policy will do" in page
    assert "5 % of everyone" in text_of(page)
    ahead = submit(checkout, NEW, do="preview", part="sides", **FORM)
    assert "Nobody was seen in the last hour" in ahead
    assert "Start a release" not in ahead
    assert releases(checkout) == []


def test_a_release_starts_at_once(checkout: Caller) -> None:
    page = submit(checkout, NEW, reason="one-step payment", **FORM)
    assert page.startswith(f"{PLACE}/releases/rel_")
    assert releases(checkout) == ["checkout"]
    again = text_of(check(checkout.get(NEW)))
    assert "has a release already" in again


def test_what_a_page_says_does_not_depend_on_how_an_environment_is_called(
    checkout: Caller,
) -> None:
    checkout.post_ok(f"{PROJECT}/environments", {"key": "change-requests"})
    place = "/p/default/e/change-requests"
    page = submit(checkout, f"{place}/releases/new?flag=checkout", **FORM)
    assert page.startswith(f"{place}/releases/rel_")
    assert "The release of checkout began." in text_of(check(checkout.get(page)))


def test_where_others_approve_the_form_offers_to_propose_instead_of_to_start(
    checkout: Caller,
) -> None:
    protect(checkout)
    page = text_of(check(checkout.get(NEW)))
    assert "Propose it Schedule it" in page
    assert "Start Schedule it" not in page
    proposed = submit(checkout, NEW, propose="yes", reason="one-step payment", **FORM)
    assert proposed.startswith("/p/default/change-requests/cr_")


def test_a_release_starts_later(checkout: Caller) -> None:
    later = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%dT09:00")
    when = {"schedule": "yes", "at": later, "timezone": "Europe/Berlin", "reason": "spring"}
    page = submit(checkout, NEW, **when, **FORM)
    assert page.startswith("/p/default/schedules/"), page
    assert releases(checkout) == []
    [planned] = checkout.get(f"{PROJECT}/scheduled-changes").json["items"]  # type: ignore[index]
    assert planned["actions"][0]["action"] == "release.start"


def test_in_a_protected_environment_it_is_proposed(checkout: Caller) -> None:
    protect(checkout)
    assert "is protected" in text_of(check(checkout.get(NEW)))
    refused = submit(checkout, NEW, reason="one-step payment", **FORM)
    assert "Propose it" in refused
    page = submit(checkout, NEW, propose="yes", why="one-step payment", **FORM)
    assert "/change-requests/" in page
    assert releases(checkout) == []


def test_what_is_wrong_stands_at_its_field(checkout: Caller) -> None:
    assert "There is no flag nothing." in text_of(
        check(checkout.get(f"{PLACE}/releases/new?flag=nothing"))
    )
    refused = submit(checkout, NEW, **{**FORM, "policy": "gone"}, reason="kept as it was typed")
    assert "There is no policy 'gone'" in refused.replace("&#39;", "'")


def test_who_may_not_release_is_not_asked_to_fill_a_form(checkout: Caller) -> None:
    viewer = checkout.token_for("viewer", "default", "production")
    assert viewer.get(NEW).status_code == 403
