"""The pages of an incident: what is killed together is told, stopped and restored together."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tidegate_server.dashboard.pages import release as release_page
from tidegate_server.dashboard.words import link_words
from tidegate_server.store import Store

from tests.dashboard.test_pages import PLACE, check
from tests.dashboard.test_release_states import text_of
from tests.http_calls import PRODUCTION, PROJECT, Caller
from tests.sdk_api.test_routes import report

INCIDENT = "https://incidents.example.com/INC-2231"


@pytest.fixture
def payments(checkout: Caller) -> Caller:
    for key in ("pay-by-link", "pay-later"):
        checkout.post_ok(f"{PROJECT}/flags", {"key": key, "type": "boolean", "tags": ["payments"]})
    return checkout


def submit(caller: Caller, address: str, **fields: str) -> str:
    answer = caller.client.post(
        address, data=fields, headers={"Authorization": f"Bearer {caller.token}"}
    )
    return text_of(answer.text) if answer.status_code != 303 else answer.headers["Location"]


def test_a_tag_is_killed_and_restored_from_its_page(payments: Caller) -> None:
    page = text_of(check(payments.get(f"{PLACE}/kill?tag=payments")))
    assert "Everyone gets the kill variant of 2 flags, of all of them at the same moment." in page
    assert "pay-by-link" in page
    asked = submit(payments, f"{PLACE}/kill?tag=payments", tag="payments", confirm="payment")
    assert "Say why in a word or two; everyone on call reads it." in asked
    assert "Type payments to kill it, or hold the button." in asked
    after = submit(
        payments,
        f"{PLACE}/kill?tag=payments",
        **{"tag": "payments", "confirm": "payments", "reason": "the bank is down"},
        url=INCIDENT,
    )
    assert after.startswith(f"{PLACE}/kills?version=")
    kills = text_of(check(payments.get(after)))
    assert "Receipt" in kills
    assert "2 flags with the tag payments are killed." in kills
    assert "INC-2231" in kills
    restored = submit(
        payments, f"{PLACE}/restore?tag=payments", tag="payments", reason="the bank is back"
    )
    assert restored == f"{PLACE}/kills"
    assert "Nothing is killed in production" in text_of(check(payments.get(restored)))


def test_the_page_of_a_release_says_that_a_tag_of_its_flag_was_killed(checkout: Caller) -> None:
    edit = f"{PROJECT}/flags/checkout"
    definition = checkout.get(edit)
    assert definition.json is not None
    fields = ("key", "type", "variants")
    body = {name: definition.json[name] for name in fields} | {"tags": ["payments"]}
    assert checkout.put(edit, body, match=definition.headers["ETag"]).status_code == 200
    checkout.post_ok(f"{PROJECT}/flags", {"key": "x", "type": "boolean", "tags": ["checkout"]})
    start = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    id = checkout.post_ok(f"{PRODUCTION}/releases", start)["id"]
    for tag in ("payments", "checkout"):
        checkout.post_ok(f"{PRODUCTION}/kill", {"tag": tag, "reason": f"because of {tag}"})
    page = check(checkout.get(f"{PLACE}/releases/{id}"))
    says = "killed checkout, with every flag that has the tag payments."
    assert says in text_of(page)
    flag = text_of(check(checkout.get(f"{PLACE}/flags/checkout")))
    assert ", with every flag that has the tag payments: \u201cbecause of payments\u201d" in flag
    ladder = checkout.get(f"{PRODUCTION}/flags/checkout").json
    assert ladder is not None
    assert ladder["ladder"][0]["state"] == "killed with the tag payments"
    assert "because of payments" in page.partition('id="ledger"')[2]
    assert "because of checkout" not in page.partition('id="ledger"')[2], "of another flag"


def test_the_page_of_a_flag_says_once_that_it_was_killed_with_its_tag(payments: Caller) -> None:
    payments.post_ok(f"{PRODUCTION}/kill", {"tag": "payments", "reason": "the bank is down"})
    page = check(payments.get(f"{PLACE}/flags/pay-later"))
    lately = text_of(page.partition('id="lately"')[2].partition("</ul>")[0])
    assert "killed pay-later, with every flag that has the tag payments" in lately
    assert lately.count("killed") == 1


def test_the_banner_links_to_the_incident(payments: Caller) -> None:
    body = {"reason": "charged twice", "url": INCIDENT}
    payments.post_ok(f"{PRODUCTION}/flags/pay-later/kill", body)
    page = check(payments.get("/p/default/policies"))
    assert f'<a href="{INCIDENT}" rel="noreferrer">INC-2231</a>' in page
    assert "pay-later is killed." in page


def test_the_receipt_names_the_processes_that_have_not_answered(
    checkout: Caller, sdk: Caller
) -> None:
    version = sdk.post_ok("/sdk/v1/reports", report(1, instance="a" * 32))["version"]
    sdk.post_ok("/sdk/v1/reports", report(1, instance="a" * 32, sequence=2, version=version))
    asked = text_of(check(checkout.get(f"{PLACE}/flags/checkout/kill")))
    assert "1 live process will say that it has applied it." in asked
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "errors"})
    instance = checkout.get(f"{PRODUCTION}/instances").json["items"][0]  # type: ignore[index]
    page = text_of(check(checkout.get(f"{PLACE}/flags/checkout")))
    assert f"{instance['host']}, process {instance['pid']} has not answered" in page


def test_a_restore_says_what_comes_back(checkout: Caller, release: str) -> None:
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "errors"})
    page = text_of(check(checkout.get(f"{PLACE}/flags/checkout/restore")))
    assert "5 % get on" in page
    assert "No process has started since the kill" in page


def test_the_report_of_a_release_has_its_kill_however_much_happened_to_the_flag_since(
    checkout: Caller, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release_page, "ACTS", 6)
    kill = f"{PRODUCTION}/flags/checkout"
    checkout.post_ok(f"{kill}/kill", {"reason": "charged twice"})
    checkout.post_ok(f"{kill}/restore", {"reason": "it was the bank"})
    checkout.post_ok(f"{release}/rollback", {"reason": "another day"})
    for _ in range(3):
        checkout.post_ok(f"{kill}/kill", {"reason": "tried"})
        checkout.post_ok(f"{kill}/restore", {"reason": "tried"})
    page = text_of(check(checkout.get(f"{PLACE}/releases/{release.rpartition('/')[2]}")))
    assert "killed checkout. “charged twice”" in page
    assert "“tried”" not in page


def test_the_report_of_a_release_is_shown_where_the_clock_has_gone_back(
    checkout: Caller, release: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier_ms = store.now_ms() - 3_600_000
    with monkeypatch.context() as patch:
        patch.setattr(Store, "now_ms", lambda _: earlier_ms)
        checkout.post_ok(f"{release}/rollback", {"reason": "it was slow"})
    ended: Any = checkout.get(release).json
    assert ended["ended_at"] < ended["started_at"]
    page = text_of(check(checkout.get(f"{PLACE}/releases/{release.rpartition('/')[2]}")))
    assert "it was slow" in page


def test_the_tags_that_flags_have_are_offered(payments: Caller) -> None:
    assert '<datalist id="tags"><option value="payments">' in check(payments.get(f"{PLACE}/kill"))


def test_an_unknown_tag_has_nothing_to_kill(checkout: Caller) -> None:
    assert "No flag has the tag nothing" in check(checkout.get(f"{PLACE}/kill?tag=nothing"))


@pytest.mark.parametrize(
    ("url", "words"),
    [(INCIDENT, "INC-2231"), ("https://x.example.com/", "x.example.com"), ("https://a.b", "a.b")],
)
def test_a_link_is_named_by_its_end(url: str, words: str) -> None:
    assert link_words(url) == words


@pytest.mark.parametrize("page", ["releases", "releases/{id}"])
def test_the_bar_of_a_killed_release_is_hatched_and_says_why(
    checkout: Caller, release: str, page: str
) -> None:
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "charged twice"})
    shown = check(checkout.get(f"{PLACE}/{page.format(id=release.rpartition('/')[2])}"))
    bar = re.search(r'<svg class="bar[^>]*aria-label="([^"]*)">(.*?)</svg>', shown)
    assert bar is not None
    assert bar[1] == "everyone gets the kill variant"
    assert "url(#hatch)" in bar[2]
    assert "fill-t" not in bar[2]
