from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate_server.domain import policy_edits, webhook_edits
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.network_addresses import EVERY_ADDRESS
from tidegate_server.domain.policy import HOUR
from tidegate_server.domain.project_documents import webhook_address
from tidegate_server.domain.release_gates import Confirmation, Event, Notification
from tidegate_server.domain.webhooks import Format, Webhook
from tidegate_server.errors import Invalid, NotFound, NotPossible

from tests.domain.builders import (
    ANA,
    InMemoryStore,
    guarded,
    guarded_kinds,
    make_policy,
    pointers,
    store_with_checkout,
)

OPS = Webhook("ops", "https://ops.example.com/tidegate", secret_id="one")
CHAT = Webhook("chat", "https://chat.example.com/T0/B0/xyz", "two", format=Format.SLACK)


@pytest.fixture
def store() -> InMemoryStore:
    store = store_with_checkout()
    for webhook in (OPS, CHAT):
        put(store, webhook)
    return store


def put(store: InMemoryStore, webhook: Webhook) -> None:
    store.commit(webhook_edits.put_webhook(store.documents, webhook, actor=ANA))


def webhook_of(store: InMemoryStore, key: str = "ops") -> Webhook:
    found: Webhook = store.documents.webhook(key).document
    return found


def test_a_webhook_does_not_change_snapshots(store: InMemoryStore) -> None:
    versions = dict(store.versions)
    put(store, replace(OPS, timeout_ms=9_000))
    assert store.versions == versions
    assert store.audits[-1].action == "webhook.edit"
    assert store.audits[-1].details["changed"] == "timeout_ms"


def test_the_audit_log_contains_the_origin_and_never_the_path_of_a_url(
    store: InMemoryStore,
) -> None:
    put(store, replace(CHAT, url="https://chat.example.com/T0/B0/another"))
    entries = [entry for entry in store.audits if entry.target == "chat"]
    assert [entry.details["origin"] for entry in entries] == ["https://chat.example.com"] * 2
    assert "B0" not in repr(entries)


def test_an_edit_keeps_the_secrets(store: InMemoryStore) -> None:
    put(store, replace(OPS, secret_id="made up", retiring_id="made up", name="Operations"))
    assert webhook_of(store) == replace(OPS, name="Operations")


def test_an_equal_replacement_only_guards(store: InMemoryStore) -> None:
    put(store, OPS)
    assert store.documents.webhook("ops").revision == 1


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
def test_an_invalid_url_is_refused(store: InMemoryStore, url: str) -> None:
    with pytest.raises(Invalid) as refused:
        put(store, replace(OPS, url=url))
    assert pointers(refused.value) == ["/url"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/",
        "http://2130706433/",
        "http://localhost./",
        "https://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_a_url_with_an_inner_address_is_refused_unless_its_network_is_allowed(
    store: InMemoryStore, url: str
) -> None:
    with pytest.raises(Invalid) as refused:
        put(store, replace(OPS, url=url))
    assert pointers(refused.value) == ["/url"]
    assert "is not a public address" in refused.value.message
    assert "TIDEGATE_WEBHOOK_NETWORKS" in refused.value.message
    moved = replace(OPS, url=url)
    change = webhook_edits.put_webhook(store.documents, moved, actor=ANA, networks=EVERY_ADDRESS)
    store.commit(change)
    # The operator no longer allows it: the webhook can still be disabled.
    put(store, replace(moved, enabled=False))
    assert not webhook_of(store).enabled


@pytest.mark.parametrize("timeout_ms", [0, 499, 30_001])
def test_the_timeout_has_bounds(store: InMemoryStore, timeout_ms: int) -> None:
    with pytest.raises(Invalid) as refused:
        put(store, replace(OPS, timeout_ms=timeout_ms))
    assert pointers(refused.value) == ["/timeout"]


def test_an_old_secret_signs_for_a_day_after_a_rotation(store: InMemoryStore) -> None:
    store.commit(
        webhook_edits.rotate_secret(store.documents, "ops", "three", actor=ANA, now_ms=1_000)
    )
    after = webhook_of(store)
    assert after.secret_ids(1_000) == ("three", "one")
    assert after.secret_ids(1_000 + 24 * HOUR) == ("three",)
    assert store.audits[-1].action == "webhook.rotate"


def test_the_webhooks_of_a_policy_must_exist_and_are_guarded(store: InMemoryStore) -> None:
    policy = make_policy(notify=(Notification("chat"),), confirm=(Confirmation("ops"),))
    change = store.commit(policy_edits.put_policy(store.documents, policy, actor=ANA))
    assert guarded(change) == {webhook_address("chat"), webhook_address("ops")}

    with pytest.raises(Invalid) as refused:
        store.add_policy(make_policy(notify=(Notification("ops"), Notification("nobody"))))
    assert pointers(refused.value) == ["/notify/1/webhook"]


def test_a_webhook_of_a_policy_cannot_be_deleted(store: InMemoryStore) -> None:
    store.add_policy(make_policy(notify=(Notification("ops", (Event.HELD,)),)))
    with pytest.raises(NotPossible, match="policy careful"):
        webhook_edits.delete_webhook(store.documents, "ops", actor=ANA)


def test_a_webhook_of_an_active_release_cannot_be_deleted(store: InMemoryStore) -> None:
    store.add_policy(make_policy(confirm=(Confirmation("ops"),)))
    store.start()
    store.add_policy(make_policy())
    with pytest.raises(NotPossible, match="release rel_1 in production"):
        webhook_edits.delete_webhook(store.documents, "ops", actor=ANA)


def test_a_concurrent_policy_prevents_the_deletion_of_its_webhook(store: InMemoryStore) -> None:
    change = store.commit(webhook_edits.delete_webhook(store.documents, "ops", actor=ANA))
    assert {(Kind.POLICY, ""), (Kind.TARGETING, "production")} <= guarded_kinds(change)
    assert change.forgotten == ("ops",)
    with pytest.raises(NotFound):
        webhook_edits.delete_webhook(store.documents, "ops", actor=ANA)


def test_a_slack_webhook_cannot_confirm(store: InMemoryStore) -> None:
    with pytest.raises(Invalid) as refused:
        store.add_policy(make_policy(confirm=(Confirmation("chat"),)))
    assert pointers(refused.value) == ["/confirm/0/webhook"]


def test_a_confirming_webhook_cannot_change_to_slack(store: InMemoryStore) -> None:
    store.add_policy(make_policy(confirm=(Confirmation("ops"),)))
    with pytest.raises(NotPossible, match="policy careful"):
        put(store, replace(OPS, format=Format.SLACK))
    store.add_policy(make_policy(notify=(Notification("ops"),)))
    put(store, replace(OPS, format=Format.SLACK))
    assert webhook_of(store).format is Format.SLACK
