from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate_server.domain import policy_edits, webhook_edits
from tidegate_server.domain.policy import HOUR
from tidegate_server.domain.project_documents import policy_address, webhook_address
from tidegate_server.domain.release_gates import Confirmation, Event, Notification
from tidegate_server.domain.webhooks import Format, Webhook
from tidegate_server.errors import Invalid, NotFound, NotPossible

from tests.domain.builders import (
    ANA,
    CHECKOUT_IN_PRODUCTION,
    Shelf,
    guarded,
    ladder,
    pointers,
    stocked,
)

OPS = Webhook("ops", "https://ops.example.com/tidegate", secret_id="one")
CHAT = Webhook("chat", "https://chat.example.com/T0/B0/xyz", "two", format=Format.SLACK)


@pytest.fixture
def shelf() -> Shelf:
    shelf = stocked()
    for webhook in (OPS, CHAT):
        put(shelf, webhook)
    return shelf


def put(shelf: Shelf, webhook: Webhook) -> None:
    shelf.commit(webhook_edits.put_webhook(shelf.documents, webhook, actor=ANA))


def held(shelf: Shelf, key: str = "ops") -> Webhook:
    found: Webhook = shelf.documents.webhook(key).document
    return found


def test_a_webhook_is_no_news_for_applications(shelf: Shelf) -> None:
    versions = dict(shelf.versions)
    put(shelf, replace(OPS, timeout_ms=9_000))
    assert shelf.versions == versions
    assert shelf.audits[-1].action == "webhook.edit"
    assert shelf.audits[-1].details["changed"] == "timeout_ms"


def test_the_log_has_the_host_of_an_address_and_never_its_path(shelf: Shelf) -> None:
    put(shelf, replace(CHAT, url="https://chat.example.com/T0/B0/another"))
    said = [entry for entry in shelf.audits if entry.target == "chat"]
    assert [entry.details["origin"] for entry in said] == ["https://chat.example.com"] * 2
    assert "B0" not in repr(said)


def test_an_edit_leaves_the_secrets_alone(shelf: Shelf) -> None:
    put(shelf, replace(OPS, secret_id="made up", retiring_id="made up", name="Operations"))
    assert held(shelf) == replace(OPS, name="Operations")


def test_writing_the_same_again_only_guards(shelf: Shelf) -> None:
    put(shelf, OPS)
    assert shelf.documents.webhook("ops").revision == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ops.example.com/hook",
        "ftp://ops.example.com/",
        "https://",
        "https://:443/",
        "https://ops.example.com:0/",
        "https://ops.example.com:99999/",
        "https://[::1/",
        "https://ops.example.com/with space",
        "https://ops.example.com/line\nbreak",
        "https://ops.example.com/" + "x" * 2_000,
        "https://name:password@ops.example.com/",
        "https://ops.example.com/#part",
    ],
)
def test_an_address_that_cannot_be_is_refused(shelf: Shelf, url: str) -> None:
    with pytest.raises(Invalid) as refused:
        put(shelf, replace(OPS, url=url))
    assert pointers(refused.value) == ["/url"]


@pytest.mark.parametrize("timeout_ms", [0, 499, 30_001])
def test_a_time_out_has_bounds(shelf: Shelf, timeout_ms: int) -> None:
    with pytest.raises(Invalid) as refused:
        put(shelf, replace(OPS, timeout_ms=timeout_ms))
    assert pointers(refused.value) == ["/timeout"]


def test_a_rotated_secret_signs_along_for_a_day(shelf: Shelf) -> None:
    shelf.commit(
        webhook_edits.rotate_secret(shelf.documents, "ops", "three", actor=ANA, now_ms=1_000)
    )
    after = held(shelf)
    assert after.secret_ids(1_000) == ("three", "one")
    assert after.secret_ids(1_000 + 24 * HOUR) == ("three",)
    assert shelf.audits[-1].action == "webhook.rotate"


def test_a_policy_names_webhooks_that_there_are_and_rests_on_them(shelf: Shelf) -> None:
    told = ladder(notify=(Notification("chat"),), confirm=(Confirmation("ops"),))
    change = shelf.commit(policy_edits.put_policy(shelf.documents, told, actor=ANA))
    assert guarded(change) == {webhook_address("chat"), webhook_address("ops")}

    with pytest.raises(Invalid) as refused:
        shelf.add_policy(ladder(notify=(Notification("ops"), Notification("nobody"))))
    assert pointers(refused.value) == ["/notify/1/webhook"]


def test_whom_a_policy_names_cannot_be_deleted(shelf: Shelf) -> None:
    shelf.add_policy(ladder(notify=(Notification("ops", (Event.HELD,)),)))
    with pytest.raises(NotPossible, match="policy careful"):
        webhook_edits.delete_webhook(shelf.documents, "ops", actor=ANA)


def test_nor_whom_a_release_under_way_names(shelf: Shelf) -> None:
    shelf.add_policy(ladder(confirm=(Confirmation("ops"),)))
    shelf.start()
    shelf.add_policy(ladder())
    with pytest.raises(NotPossible, match="release rel_1 in production"):
        webhook_edits.delete_webhook(shelf.documents, "ops", actor=ANA)


def test_a_webhook_goes_only_if_nothing_began_to_name_it(shelf: Shelf) -> None:
    change = shelf.commit(webhook_edits.delete_webhook(shelf.documents, "ops", actor=ANA))
    assert {policy_address("careful"), CHECKOUT_IN_PRODUCTION} <= guarded(change)
    assert change.forgotten == ("ops",)
    with pytest.raises(NotFound):
        webhook_edits.delete_webhook(shelf.documents, "ops", actor=ANA)


def test_one_that_reads_slack_is_not_asked(shelf: Shelf) -> None:
    with pytest.raises(Invalid) as refused:
        shelf.add_policy(ladder(confirm=(Confirmation("chat"),)))
    assert pointers(refused.value) == ["/confirm/0/webhook"]


def test_one_that_is_asked_does_not_turn_to_slack(shelf: Shelf) -> None:
    shelf.add_policy(ladder(confirm=(Confirmation("ops"),)))
    with pytest.raises(NotPossible, match="policy careful"):
        put(shelf, replace(OPS, format=Format.SLACK))
    shelf.add_policy(ladder(notify=(Notification("ops"),)))
    put(shelf, replace(OPS, format=Format.SLACK))
    assert held(shelf).format is Format.SLACK
