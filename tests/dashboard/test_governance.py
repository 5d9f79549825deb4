"""What people govern by pages: changes that others approve or that are made later, the audit log,
webhooks, hooks and environments."""

from __future__ import annotations

import html
import re
from typing import Any, cast

import pytest
import redis
from flask import Flask
from tidegate_server.domain.audited_kinds import AUDITED_KINDS
from tidegate_server.store import Store, keys
from werkzeug.test import TestResponse

from tests.admin.alert_payloads import alertmanager
from tests.admin.guarded import ON, approve, proposed, protect, serve_on, targeting
from tests.http_calls import PRODUCTION, PROJECT, Caller
from tests.people import Browser, join
from tests.sdk_api.test_routes import report

FLAG_PAGE = "/p/default/e/production/flags/checkout"
RULES = {
    **{"enabled": "yes", "off_variant": "off", "kill_variant": "", "default-serve-on": "100"},
    "reason": "everyone waits for it",
}


def send(reader: Browser, path: str, **fields: Any) -> TestResponse:
    """Send a form, and follow it to the next page."""
    data = {"csrf_token": reader.csrf, **fields}
    return reader.client.post(path, data=data, follow_redirects=True)


def etag(page: TestResponse) -> str:
    found = re.search(r'name="etag" value="([^"]*)"', page.text)
    assert found is not None
    return found[1].replace("&#34;", '"')


@pytest.fixture
def ada(app: Flask, checkout: Caller) -> Browser:
    return join(app, checkout, "ada@example.com", {"role": "release_manager"})


@pytest.fixture
def ben(app: Flask, checkout: Caller) -> Browser:
    return join(app, checkout, "ben@example.com", {"role": "release_manager"})


def serves_on(checkout: Caller) -> bool:
    return bool(targeting(checkout)["default"] == {"variant": "on"})


def propose(checkout: Caller, ada: Browser) -> str:
    """Propose to serve on to everyone, by the form, and return the page of the change request."""
    form = ada.get(f"{FLAG_PAGE}/rules")
    assert "production is protected: another person approves" in form.text
    page = send(ada, f"{FLAG_PAGE}/rules", **RULES, etag=etag(form), propose="yes")
    assert page.status_code == 200, page.text
    assert "Waits for another person." in page.text
    return page.request.path


def test_a_change_is_proposed_approved_and_applied(
    checkout: Caller, ada: Browser, ben: Browser
) -> None:
    protect(checkout)
    address = propose(checkout, ada)
    own = ada.get(address)
    assert 'value="approve"' not in own.text
    assert 'value="withdraw"' in own.text
    assert "1 waits" in ben.get("/p/default/changes").text
    shown = ben.get(address)
    assert 'value="withdraw"' not in shown.text
    assert "<del>off</del> → <ins>on</ins>" in shown.text
    said = send(ben, address, do="comment", text="for the whole of Germany?")
    assert "for the whole of Germany?" in said.text
    approved = send(ben, address, do="approve", etag=etag(said), reason="looks right")
    assert "Approved; it can be applied." in approved.text
    assert not serves_on(checkout)
    applied = send(ada, address, do="apply", etag=etag(ada.get(address)))
    assert "Applied by" in applied.text
    assert serves_on(checkout)
    assert (
        "wait" not in ben.get("/p/default/changes").text.partition("<nav")[2].partition("</nav")[0]
    )


def test_without_a_word_why_nothing_is_proposed(checkout: Caller, ada: Browser) -> None:
    protect(checkout)
    form = ada.get(f"{FLAG_PAGE}/rules")
    fields = {**RULES, "reason": "", "etag": etag(form), "propose": "yes"}
    refused = send(ada, f"{FLAG_PAGE}/rules", **fields)
    assert refused.status_code == 422
    assert "say why" in refused.text


def test_a_form_that_is_refused_offers_to_propose(checkout: Caller, ada: Browser) -> None:
    uses = {"attribute": "plan", "operator": "equals", "value": "pro"}
    rule = {"id": "staff", "when": {"all": [{"segment": "staff"}, uses]}, "serve": ON}
    path = f"{PRODUCTION}/flags/checkout"
    checkout.put(path, targeting(checkout, rules=[rule]), match="*")
    protect(checkout)
    body = {"key": "staff", "name": "All of us", "included": "ann, eve", "excluded": "", "when": ""}
    form = ada.get("/p/default/segments/staff/edit")
    refused = send(ada, "/p/default/segments/staff/edit", **body, etag=etag(form))
    assert refused.status_code == 409
    assert 'name="propose"' in refused.text
    assert "All of us" in refused.text
    proposed = send(
        ada, "/p/default/segments/staff/edit", **body, etag=etag(form), propose="yes", why="names"
    )
    assert "Waits for another person." in proposed.text


def test_a_request_whose_base_moved_says_so(checkout: Caller, ada: Browser, ben: Browser) -> None:
    protect(checkout)
    address = propose(checkout, ada)
    answer = serve_on(checkout, why="the same")
    other = proposed(answer)
    assert approve(ben, other).status_code == 200
    assert checkout.post(f"{other}/apply", {}).status_code == 200
    shown = ben.get(address)
    assert "What it changes has changed since." in shown.text
    assert "Targeting checkout in production: revision" in shown.text


def test_a_rejected_and_a_withdrawn_request_change_nothing(
    checkout: Caller, ada: Browser, ben: Browser
) -> None:
    protect(checkout)
    address = propose(checkout, ada)
    rejected = send(ben, address, do="reject", etag=etag(ben.get(address)), reason="too early")
    assert "Rejected by" in rejected.text
    assert "too early" in rejected.text
    second = propose(checkout, ada)
    withdrawn = send(ada, second, do="withdraw", etag=etag(ada.get(second)))
    assert "Withdrawn by" in withdrawn.text
    assert not serves_on(checkout)


def test_a_change_is_scheduled_and_cancelled(checkout: Caller, ada: Browser) -> None:
    new = "/p/default/schedules/new"
    assert "On the clock of" in ada.get(f"{new}?flag=checkout&environment=production").text
    fields = {
        **{"flag": "checkout", "environment": "production", "change": "serve on"},
        **{"how": "every", "every": "09:00", "days": ["mon", "fri"]},
        **{"timezone": "Europe/Berlin", "reason": "the sale begins", "on_conflict": "fail"},
    }
    wrong = send(ada, new, **{**fields, "timezone": "Europe/Nowhere"})
    assert wrong.status_code == 422
    assert 'id="timezone-error"' in wrong.text
    made = send(ada, new, **fields)
    assert "09:00, Monday, Friday, on the clock of Europe/Berlin" in made.text
    assert len(re.findall(r"(?:Mon|Fri) \d+ \w+, 09:00</span>", made.text)) == 5, "the next runs"
    assert "Scheduled" in ada.get("/p/default/schedules").text
    moved = targeting(checkout, off_variant="on")
    tag = checkout.get(f"{PRODUCTION}/flags/checkout").headers["ETag"]
    checkout.put(f"{PRODUCTION}/flags/checkout", moved, match=tag)
    assert "Its next run fails" in ada.get(made.request.path).text
    cancelled = send(ada, made.request.path, reason="no sale")
    assert "Cancelled by" in cancelled.text
    (only,) = checkout.get(f"{PROJECT}/scheduled-changes").json["items"]  # type: ignore[index]
    assert only["state"] == "cancelled"


def test_a_kill_is_scheduled_for_days_of_the_month(checkout: Caller, ada: Browser) -> None:
    fields = {
        **{"flag": "checkout", "environment": "production", "change": "kill"},
        **{"how": "every", "every": "22:00", "month_days": "1, soon", "late_limit": "2h"},
        **{"timezone": "UTC", "reason": "nobody watches it"},
    }
    wrong = send(ada, "/p/default/schedules/new", **fields)
    assert wrong.status_code == 422
    made = send(ada, "/p/default/schedules/new", **{**fields, "month_days": "1, 15"})
    assert "kill checkout in production" in made.text
    assert "if it is day 1 or 15 of the month" in made.text
    (only,) = checkout.get(f"{PROJECT}/scheduled-changes").json["items"]  # type: ignore[index]
    full = checkout.get(f"{PROJECT}/scheduled-changes/{only['id']}").json
    assert full is not None
    assert full["late_limit"] == "2h"


def test_anything_that_the_api_schedules_is_scheduled_as_yaml(
    checkout: Caller, ada: Browser
) -> None:
    new = "/p/default/schedules/new/yaml"
    example = html.unescape(ada.get(new).text.partition("wrap=")[2].partition(">\n")[2])
    source = example.partition("</textarea>")[0]
    assert "is not YAML" in send(ada, new, source=source + "[").text
    wrong = send(ada, new, source=source.replace("22:00", "late").replace("\n", "\r\n"))
    assert wrong.status_code == 422
    assert "<b>Line 2</b>" in wrong.text
    assert "late" in wrong.text
    made = send(ada, new, source=source)
    assert "change who gets checkout in production" in made.text
    assert "22:00, Friday" in made.text


def test_the_requests_of_the_server_have_pages(
    app: Flask, checkout: Caller, ben: Browser, store: Store
) -> None:
    protect(checkout)
    body = {"name": "laptop", "role": "admin", "whole_server": True}
    sent = checkout.post("/api/v1/tokens", body, headers={"Tidegate-Propose": "a new laptop"})
    assert sent.status_code == 202, sent.text
    assert "a new laptop" in ben.get("/changes").text
    assert sent.json is not None
    assert "a new laptop" in ben.get(f"/change-requests/{sent.json['id']}").text


@pytest.fixture
def root(app: Flask, checkout: Caller) -> Browser:
    return join(app, checkout, "root@example.com", {"role": "admin"})


def latest_entry(checkout: Caller, action: str) -> Any:
    entries = checkout.get(f"{PROJECT}/audit?action={action}").json
    assert entries is not None
    return entries["items"][0]


def test_what_was_before_a_change_is_brought_back(checkout: Caller, ada: Browser) -> None:
    path = f"{PRODUCTION}/flags/checkout"
    checkout.put(path, targeting(checkout, default=ON), match="*")
    entry = latest_entry(checkout, "targeting.edit")
    page = f"/p/default/audit/{entry['id']}"
    assert "Bring revision 1 back" in ada.get(page).text
    asked = ada.get(f"{page}/bring-back/0")
    assert "<del>on</del> → <ins>off</ins>" in asked.text
    back = send(ada, f"{page}/bring-back/0", etag=etag(asked), reason="it was better")
    assert back.status_code == 200
    assert back.request.path == FLAG_PAGE
    assert not serves_on(checkout)
    again = latest_entry(checkout, "targeting.edit")
    assert (again["reason"], again["details"]["restored_revision"]) == ("it was better", 1)


def test_what_somebody_changed_meanwhile_is_not_lost(checkout: Caller, ada: Browser) -> None:
    path = f"{PRODUCTION}/flags/checkout"
    checkout.put(path, targeting(checkout, default=ON), match="*")
    page = f"/p/default/audit/{latest_entry(checkout, 'targeting.edit')['id']}/bring-back/0"
    asked = ada.get(page)
    checkout.put(path, targeting(checkout, off_variant="on"), match="*")
    refused = send(ada, page, etag=etag(asked), reason="mine")
    assert refused.status_code == 412
    assert "Somebody changed it while you edited." in refused.text
    assert 'value="mine"' in refused.text
    assert serves_on(checkout)


def test_a_deleted_segment_comes_back(checkout: Caller, ada: Browser) -> None:
    assert checkout.delete(f"{PROJECT}/segments/staff", match="*").status_code == 204
    entry = latest_entry(checkout, "segment.delete")
    asked = ada.get(f"/p/default/audit/{entry['id']}/bring-back/0")
    assert "It was deleted." in asked.text
    send(ada, f"/p/default/audit/{entry['id']}/bring-back/0", reason="still in use")
    found = checkout.get(f"{PROJECT}/segments/staff").json
    assert found is not None
    assert found["included"] == ["ann"]


def test_the_audit_log_is_filtered_by_day_and_words(checkout: Caller, ada: Browser) -> None:
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "charged twice"})
    found = ada.get("/p/default/audit?text=charged")
    assert "charged twice" in found.text
    assert "made the flag" not in found.text
    kinds = re.findall(r'<option value="(\w+)"', found.text.partition('id="object"')[2])
    assert tuple(kinds) == AUDITED_KINDS
    assert "Nothing fits these filters" in ada.get("/p/default/audit?to=2020-01-01").text
    assert "Write a day as 2026-05-01." in ada.get("/p/default/audit?from=yesterday").text
    assert (
        "not before the first one" in ada.get("/p/default/audit?from=2026-02-02&to=2026-01-01").text
    )


def test_a_week_of_the_audit_log_is_one_click_away(ada: Browser) -> None:
    pill = re.search(r'href="(\?from=[\d-]+)">Last 7 days', ada.get("/p/default/audit").text)
    assert pill is not None
    week = ada.get(f"/p/default/audit{pill[1]}").text
    assert "made the flag" in week
    assert f'aria-current="true" href="{pill[1]}">Last 7 days' in week


def test_a_changed_log_is_found(checkout: Caller, ada: Browser, raw: redis.Redis) -> None:
    verified = ada.get("/p/default/audit/verify")
    assert "entries are as they were written" in verified.text
    kept = re.search(r"\d+:[0-9a-f]{64}", verified.text)
    assert kept is not None
    name = keys.audit("default")
    entries = cast(list[tuple[bytes, Any]], raw.xrange(name))
    raw.xdel(name, entries[0][0])
    broken = ada.get(f"/p/default/audit/verify?known={kept[0]}")
    assert "The log is broken at entry" in broken.text
    assert "Write the number" in ada.get("/p/default/audit/verify?known=7").text


def test_a_webhook_is_made_tested_and_deleted(checkout: Caller, ada: Browser) -> None:
    new = {"key": "chat", "url": "https://chat.example/room", "format": "json"}
    assert 'id="secret"' in send(ada, "/p/default/settings/webhooks", **new).text
    page = "/p/default/settings/webhooks/chat"
    tested = send(ada, page, do="test")
    assert "Waiting" in tested.text
    delivery = re.search(rf"{page}/deliveries/[^\"]+", tested.text)
    assert delivery is not None
    shown = ada.get(delivery[0])
    assert (
        "&#34;event&#34;: &#34;test&#34;" in shown.text
        or "&#34;event&#34;:&#34;test&#34;" in shown.text
    )
    rotated = send(ada, page, do="rotate")
    assert "for a day also with the one before" in rotated.text
    fields = {"url": "https://chat.example/other", "format": "slack", "timeout": "2s"}
    saved = send(ada, page, do="save", etag=etag(ada.get(page)), **fields)
    assert "Saved." in saved.text
    stored = checkout.get(f"{PROJECT}/webhooks/chat").json
    assert stored is not None
    assert (stored["format"], stored["enabled"]) == ("slack", False)
    assert "Delete webhook chat?" in ada.get(f"{page}/delete").text
    send(ada, f"{page}/delete", etag=etag(ada.get(f"{page}/delete")), reason="another room")
    assert checkout.get(f"{PROJECT}/webhooks/chat").status_code == 404


def test_a_hook_is_made_and_shows_its_alerts(app: Flask, checkout: Caller, ada: Browser) -> None:
    new = {
        **{"name": "errors", "kind": "alertmanager", "action": "kill"},
        **{"environment": "production", "flags": "checkout"},
    }
    made = send(ada, "/p/default/settings/hooks", **new)
    secret = re.search(r"tgh_[0-9a-f]+", made.text)
    assert secret is not None
    (hook,) = checkout.get(f"{PROJECT}/hooks").json["items"]  # type: ignore[index]
    page = f"/p/default/settings/hooks/{hook['id']}"
    assert "No alert has come." in ada.get(page).text
    alert = alertmanager(summary="too many errors")
    sent = app.test_client().post(
        hook["path"], json=alert, headers={"Authorization": f"Bearer {secret[0]}"}
    )
    assert sent.status_code == 200
    shown = ada.get(page)
    assert "too many errors" in shown.text
    assert "Killed until a person restores it." in shown.text
    saved = send(ada, page, etag=etag(shown), **{**new, "action": "hold"})
    assert "Saved." in saved.text
    send(ada, f"{page}/delete", etag=etag(ada.get(f"{page}/delete")))
    assert checkout.get(f"{PROJECT}/hooks").json["items"] == []  # type: ignore[index]


def test_an_environment_is_protected_and_frozen(checkout: Caller, root: Browser) -> None:
    page = "/p/default/settings/environments/production"
    for part, says in (
        ("", "Environment production"),
        ("/key", "Context key of production"),
        ("/delete", "Delete the environment production?"),
    ):
        shown = root.get(f"{page}{part}").text
        assert f"<h1>{says}</h1>" in shown
        assert f"<title>{says} · Tidegate</title>" in shown
    fields = {
        **{"name": "Production", "required_approvals": "2", "require_reason": "yes"},
        **{"freeze-from": ["2030-12-20", ""], "freeze-to": ["2031-01-02", ""]},
        **{"freeze-reason": ["holidays", ""], "timezone": "Europe/Berlin"},
    }
    wrong = {**fields, "required_approvals": "many", "freeze-to": ["2030-01-01", ""]}
    refused = send(root, page, etag=etag(root.get(page)), **wrong)
    assert refused.status_code == 422
    assert 'id="required_approvals-error"' in refused.text
    assert 'value="many"' in refused.text
    assert 'value="holidays"' in refused.text
    assert "Saved." in send(root, page, etag=etag(root.get(page)), **fields).text
    found = checkout.get(f"{PROJECT}/environments/production").json
    assert found is not None
    assert (found["required_approvals"], found["require_reason"]) == (2, True)
    assert found["freezes"] == [{"from": "2030-12-20", "to": "2031-01-02", "reason": "holidays"}]
    assert found["report_seen_users"] is False


def test_an_environment_gets_another_context_key(root: Browser, ada: Browser) -> None:
    page = "/p/default/settings/environments/production/key"
    assert ada.get(page).status_code == 403
    assert send(ada, page).status_code == 403
    first = send(root, page, reason="visitors sign in")
    assert "has this context key now." in first.text
    assert "is valid until" not in first.text
    assert "is valid until" in send(root, page, reason="it leaked").text
    assert "has this context key now." not in root.get(page).text


def test_an_environment_is_deleted_once_its_key_is_typed(
    checkout: Caller, sdk: Caller, root: Browser, ada: Browser
) -> None:
    place = "/p/default/settings/environments"
    page = f"{place}/production/delete"
    assert ada.get(page).status_code == 403
    assert f"{place}/production/delete" not in ada.get(f"{place}/production").text
    assert page in root.get(f"{place}/production").text
    sdk.post_ok("/sdk/v1/reports", report(1, instance="a" * 32))
    fields = {"etag": etag(root.get(page)), "reason": "moved to another server"}
    assert "Type production to delete it" in send(root, page, **fields, confirm="staging").text
    used = send(root, page, **fields, confirm="production")
    assert used.status_code == 409
    assert "An application last used production" in used.text
    gone = send(root, page, **fields, confirm="production", force="yes")
    assert "production is deleted." in gone.text
    assert checkout.get(PRODUCTION).status_code == 404


def test_a_project_says_when_flags_are_stale(checkout: Caller, root: Browser, ada: Browser) -> None:
    page = "/p/default/settings/project"
    fields = {"name": "Shop", "stale_after_days": "14", "deletable_after_days": "3"}
    assert "Saved." in send(root, page, etag=etag(root.get(page)), **fields).text
    found = checkout.get(PROJECT).json
    assert found is not None
    assert (found["stale_after_days"], found["deletable_after_days"]) == (14, 3)
    assert "disabled" in ada.get(page).text
    assert send(ada, page, etag=etag(ada.get(page)), **fields).status_code == 403
