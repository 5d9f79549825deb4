"""Any form that changes what users get can be carried out later, as it was filled in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import expect
from tidegate_server.admin.scheduled_changes.runs import ScheduledRuns
from tidegate_server.dashboard.planned_actions import action_sentence
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from tests.admin.guarded import ON, protect, targeting
from tests.dashboard.page_forms import Form, PageForms
from tests.dashboard.test_pages import check
from tests.dashboard.test_release_states import text_of
from tests.dashboard.visits import DESK, PHONE, visit
from tests.http_calls import PRODUCTION, PROJECT, Caller, stored_documents
from tests.people import Browser, join

PLACE = "/p/default/e/production"
FLAG = f"{PLACE}/flags/checkout"
NEXT_YEAR = (datetime.now(UTC) + timedelta(days=300)).strftime("%Y-%m-%dT09:00")
ASK = ("schedule", "ask")
SCHEDULE = ("schedule", "yes")


@pytest.fixture
def ada(app: Flask, checkout: Caller) -> Browser:
    return join(app, checkout, "ada@example.com", {"role": "release_manager"})


def nothing(admin: Caller) -> str:
    return ""


def started(admin: Caller) -> str:
    body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    return str(admin.post_ok(f"{PRODUCTION}/releases", body)["id"])


def killed(admin: Caller) -> str:
    id = started(admin)
    admin.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "errors"})
    return id


def killed_by_tag(admin: Caller) -> str:
    admin.post_ok(f"{PROJECT}/flags", {"key": "pay-later", "type": "boolean", "tags": ["pay"]})
    admin.post_ok(f"{PRODUCTION}/kill", {"tag": "pay", "reason": "errors"})
    return ""


def changed(admin: Caller) -> str:
    body = targeting(admin, default=ON)
    assert admin.put(f"{PRODUCTION}/flags/checkout", body, match="*").status_code == 200
    return ""


@dataclass(frozen=True)
class Case:
    """A form, what was typed into it, and the requests that it makes later.

    ``{}`` in an address is what ``before`` returns.
    """

    address: str
    typed: dict[str, str]
    requests: tuple[str, ...]
    before: Callable[[Caller], str] = nothing


CASES = {
    "rules": Case(f"{FLAG}/rules", {"default-serve-on": "30", "default-serve-off": "70"},
                  ("PUT /production/flags/checkout",)),
    "variants": Case(f"{FLAG}/edit", {"owner": "payments"}, ("PUT /default/flags/checkout",)),
    "segment": Case("/p/default/segments/staff/edit", {"included": "ann\neve"},
                    ("PUT /segments/staff",)),
    "release": Case(f"{PLACE}/releases/new?flag=checkout", {}, ("POST /releases",)),
    "pause": Case(f"{PLACE}/releases/{{}}/pause", {}, ("POST /pause",), started),
    "roll back": Case(f"{PLACE}/releases/{{}}/rollback", {}, ("POST /rollback",), started),
    "restore": Case(f"{FLAG}/restore", {}, ("POST /checkout/restore",), killed),
    "restore and roll back": Case(f"{FLAG}/restore", {"also": "rollback"},
                                  ("POST /rollback", "POST /checkout/restore"), killed),
    "restore by tag": Case(f"{PLACE}/restore?tag=pay", {}, ("POST /production/restore",),
                           killed_by_tag),
    "version": Case(f"{FLAG}/history/targeting/1", {}, ("POST /history/1/restore",), changed),
    "promotion": Case(f"{FLAG}/promote?to=development", {}, ("POST /development/promote",),
                      changed),
}  # fmt: skip


def form_of(page: str, address: str, button: tuple[str, str]) -> Form:
    found = [each for each in PageForms(address, page).forms if each.button == button]
    assert found, [each.button for each in PageForms(address, page).forms]
    return found[0]


def send(person: Browser, /, form: Form, **typed: str) -> TestResponse:
    """Send a form with what was typed into some of its fields."""
    fields = [(name, value) for name, value in form.fields if name not in typed]
    data = MultiDict([*fields, *typed.items(), ("csrf_token", person.csrf)])
    return person.client.post(form.action, data=data)


def schedules(admin: Caller) -> list[Any]:
    found = admin.get(f"{PROJECT}/scheduled-changes").json
    assert found is not None
    return [admin.get(f"{PROJECT}/scheduled-changes/{each['id']}").json for each in found["items"]]


@pytest.mark.parametrize("name", CASES)
def test_a_form_is_scheduled_as_it_was_filled_in(
    checkout: Caller, ada: Browser, store: Store, name: str
) -> None:
    case = CASES[name]
    address = case.address.format(case.before(checkout))
    before = stored_documents(store)
    asked = send(ada, form_of(check(ada.get(address)), address, ASK), **case.typed, reason="sale")
    assert asked.status_code == 200
    form = form_of(check(asked), address, SCHEDULE)
    assert ("reason", "sale") in form.fields
    assert set(case.typed.items()) - {("also", "rollback")} <= set(form.fields)
    assert PageForms(address, asked.text).forms[0].button == SCHEDULE, "what Enter presses"

    late = send(ada, form, **case.typed, at="2020-01-01T09:00", timezone="Europe/Berlin")
    assert late.status_code == 422, late.text
    assert "This time has passed" in late.text
    again = form_of(late.text, address, SCHEDULE)
    assert set(case.typed.items()) <= set(again.fields)
    assert {("reason", "sale"), ("at", "2020-01-01T09:00"), ("timezone", "Europe/Berlin")} <= set(
        again.fields
    )
    assert stored_documents(store) == before

    made = send(ada, again, at=NEXT_YEAR)
    assert made.status_code == 303, made.text
    assert made.headers["Location"].startswith("/p/default/schedules/sc_")
    shown = check(ada.get(made.headers["Location"]))
    assert "on the clock of Europe/Berlin" in shown
    [planned] = schedules(checkout)
    assert planned["reason"] == "sale"
    for wanted, operation in zip(case.requests, planned["operations"], strict=True):
        method, _, end = wanted.partition(" ")
        assert operation["method"] == method
        assert operation["path"].endswith(end), operation
    after = stored_documents(store)
    gone = {each for each in before if after.get(each) != before[each]}
    assert gone <= {"default/audit", "sessions"}, "nothing but the schedule was made"


def test_it_is_made_at_its_time(app: Flask, store: Store, checkout: Caller, ada: Browser) -> None:
    form = form_of(ada.get(f"{FLAG}/rules").text, f"{FLAG}/rules", ASK)
    asked = send(ada, form, **{"default-serve-on": "100", "default-serve-off": ""}, reason="sale")
    made = send(ada, form_of(asked.text, form.action, SCHEDULE), at=NEXT_YEAR)
    assert made.status_code == 303, made.text
    assert targeting(checkout)["default"] == {"variant": "off"}
    [planned] = schedules(checkout)
    due_ms = int(datetime.fromisoformat(planned["next_run_at"]).timestamp() * 1000)
    runs = ScheduledRuns(app)
    job = PolicyJob(store, "job", clock=lambda: due_ms, make_scheduled_runs=lambda: runs)
    job.tick()
    assert targeting(checkout)["default"] == ON


def test_it_can_be_repeated(checkout: Caller, ada: Browser) -> None:
    form = form_of(ada.get(f"{FLAG}/rules").text, f"{FLAG}/rules", ASK)
    asked = send(ada, form, **{"default-serve-on": "100", "default-serve-off": ""})
    weekly = {"how": "every", "every": "09:00", "days": "fri", "reason": "fish on Fridays"}
    made = send(ada, form_of(asked.text, form.action, SCHEDULE), **weekly)
    assert "09:00, Friday" in ada.get(made.headers["Location"]).text


def test_what_is_pressed_in_between_forgets_no_time(checkout: Caller, ada: Browser) -> None:
    form = form_of(ada.get(f"{FLAG}/rules").text, f"{FLAG}/rules", ASK)
    asked = send(ada, form, reason="sale")
    more = form_of(asked.text, form.action, ("do", "add-rule"))
    with_rule = send(ada, more, at=NEXT_YEAR, month_days="1, 15")
    fields = form_of(check(with_rule), form.action, SCHEDULE).fields
    assert {("at", NEXT_YEAR), ("month_days", "1, 15"), ("reason", "sale")} <= set(fields)


def test_somebody_elses_change_is_told_before_it_is_scheduled(
    checkout: Caller, ada: Browser
) -> None:
    form = form_of(ada.get(f"{FLAG}/rules").text, f"{FLAG}/rules", ASK)
    asked = send(ada, form, **{"default-serve-on": "30", "default-serve-off": "70"}, reason="sale")
    changed(checkout)
    refused = send(ada, form_of(asked.text, form.action, SCHEDULE), at=NEXT_YEAR)
    assert refused.status_code == 409
    assert "changed it while you edited" in refused.text
    again = form_of(refused.text, form.action, SCHEDULE)
    assert {("default-serve-on", "30"), ("at", NEXT_YEAR)} <= set(again.fields)
    assert send(ada, again).status_code == 303


def test_in_a_protected_environment_the_schedule_is_proposed(
    app: Flask, checkout: Caller, ada: Browser
) -> None:
    ben = join(app, checkout, "ben@example.com", {"role": "release_manager"})
    protect(checkout)
    address = f"{FLAG}/rules"
    form = form_of(ada.get(address).text, address, ASK)
    asked = send(ada, form, **{"default-serve-on": "100", "default-serve-off": ""}, reason="sale")
    made = send(ada, form_of(check(asked), address, ("propose", "schedule")), at=NEXT_YEAR)
    assert made.status_code == 303, made.text
    page = made.headers["Location"]
    assert page.startswith("/p/default/change-requests/cr_")
    shown = check(ben.get(page))
    assert "change who gets checkout in production later" in shown
    assert f"{NEXT_YEAR[11:]}, on the clock of UTC</b>" in shown
    assert "<del>off</del> → <ins>on</ins>" in shown
    approving = form_of(shown, page, ("do", "approve"))
    assert send(ben, approving, reason="fine").status_code == 303
    applying = form_of(check(ada.get(page)), page, ("do", "apply"))
    assert send(ada, applying).status_code == 303
    [planned] = schedules(checkout)
    assert planned["operations"][0]["body"]["default"] == ON
    assert targeting(checkout)["default"] == {"variant": "off"}


def test_a_schedule_that_is_refused_for_approvals_is_proposed_as_one(
    checkout: Caller, ada: Browser
) -> None:
    changed(checkout)
    protect(checkout)
    address = f"{FLAG}/history/targeting/1"
    asked = send(ada, form_of(ada.get(address).text, address, ASK), reason="as it was")
    refused = send(ada, form_of(asked.text, address, SCHEDULE), at=NEXT_YEAR)
    assert refused.status_code == 409
    form = form_of(refused.text, address, ("propose", "schedule"))
    assert ("at", NEXT_YEAR) in form.fields
    made = send(ada, form)
    assert made.headers["Location"].startswith("/p/default/change-requests/cr_"), made.text
    assert "default/audit" not in made.text
    assert targeting(checkout)["default"] == ON


def test_without_a_time_or_a_reason_a_form_says_what_to_fill_in(
    checkout: Caller, ada: Browser
) -> None:
    address = f"{PLACE}/releases/new?flag=checkout"
    asked = send(ada, form_of(ada.get(address).text, address, ASK))
    form = form_of(check(asked), address, SCHEDULE)
    no_time = send(ada, form, reason="sale", at="")
    assert no_time.status_code == 422
    assert "Choose a day and a time." in no_time.text
    no_reason = send(ada, form, reason="", at=NEXT_YEAR)
    assert no_reason.status_code == 422
    assert "This must not be empty." in no_reason.text


OPENS = "checkout in production: on opens to 5 % of everyone, then everyone, under the policy "


def test_a_planned_release_says_what_it_opens_to_whom(checkout: Caller, ada: Browser) -> None:
    address = f"{PLACE}/releases/new?flag=checkout"
    asked = check(send(ada, form_of(ada.get(address).text, address, ASK)))
    form = form_of(asked, address, SCHEDULE)
    scheduled = send(ada, form, reason="sale", at=NEXT_YEAR)
    protect(checkout)
    refused = send(ada, form, reason="sale", at=NEXT_YEAR)
    later = send(ada, form_of(refused.text, address, ("propose", "schedule")))
    for made in (scheduled, later):
        assert made.status_code == 303, made.text
        page = text_of(check(ada.get(made.headers["Location"])))
        assert f"{OPENS}careful." in page.replace("\u00a0", " ")
        assert "rel_" not in page, page.partition("rel_")[0][-200:]


@pytest.mark.parametrize(
    ("action", "target", "details", "says"),
    [
        ("release.rollback", "rel_1", {"flag": "checkout"}, "roll checkout back in production"),
        ("release.advance", "rel_1", {"flag": "checkout"}, "open the next stage of checkout in "
         "production"),
        ("token.create", "79d0f2d1aab0", {"name": "laptop"}, "make the token “laptop” in "
         "production"),
        ("person.create", "4842456f0cf9", {"email": "ada@example.com"}, "add ada@example.com in "
         "production"),
    ],
)  # fmt: skip
def test_a_planned_action_names_things_as_people_do(
    action: str, target: str, details: dict[str, Any], says: str
) -> None:
    planned = {"action": action, "target": target, "details": details, "environment": "production"}
    assert action_sentence(planned) == says


def test_a_kill_never_waits(checkout: Caller, ada: Browser) -> None:
    page = check(ada.get(f"{FLAG}/kill"))
    assert ASK not in [each.button for each in PageForms("", page).forms]


def test_who_may_write_nowhere_is_not_offered_it(app: Flask, checkout: Caller) -> None:
    killed(checkout)
    eve = join(app, checkout, "eve@example.com", {"role": "responder"})
    page = check(eve.get(f"{FLAG}/restore"))
    assert ASK not in [each.button for each in PageForms("", page).forms]
    assert 'name="reason"' in page


@pytest.mark.parametrize("script", [True, False], ids=["script", "plain"])
def test_in_a_browser(
    chromium: Chromium, port: int, app: Flask, checkout: Caller, script: bool
) -> None:
    join(app, checkout, "ada@example.com", {"role": "developer"})
    with visit(chromium, port, DESK if script else PHONE, java_script_enabled=script) as at:
        page = at.page
        at.sign_in("ada@example.com")
        at.go(f"{FLAG}/rules")
        page.get_by_label("Everyone else: percent for on").fill("100")
        page.get_by_label("Everyone else: percent for off").fill("")
        page.get_by_label("Why").fill("the sale begins")
        page.get_by_role("button", name="Schedule it").click()
        expect(page.get_by_text("Again and again, at")).to_be_visible()
        page.get_by_label("When it runs once").fill("2020-01-01T09:00")
        page.get_by_role("button", name="Schedule it").last.click()
        expect(page.get_by_text("This time has passed").first).to_be_visible()
        assert page.get_by_label("Why").input_value() == "the sale begins"
        assert page.get_by_label("Everyone else: percent for on").input_value() == "100"
        page.get_by_label("When it runs once").fill(NEXT_YEAR)
        page.get_by_role("button", name="Schedule it").last.click()
        expect(page.get_by_role("heading", name="the sale begins")).to_be_visible()
        expect(page.get_by_text("change who gets checkout in production")).to_be_visible()
        assert targeting(checkout)["default"] == {"variant": "off"}
