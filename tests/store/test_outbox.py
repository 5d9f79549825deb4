"""Messages are queued by the commit they describe, and wait until their result is recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate_server.domain.change import Change, Guard, WebhookMessage
from tidegate_server.domain.project_documents import policy_address
from tidegate_server.domain.release_events import TEST, ReleaseEvent
from tidegate_server.errors import StaleRevision
from tidegate_server.store import Store
from tidegate_server.store.outbox import (
    MAX_SETTLED,
    Attempt,
    Delivery,
    DeliveryRecord,
    DeliveryState,
    Outbox,
)

EVENT = ReleaseEvent(TEST, 1_000, "ana", "try")
FAILED = Attempt(2_000, 30, 500, "answered 500")
FINE = Attempt(3_000, 12, 204, "")


@pytest.fixture
def outbox(store: Store) -> Outbox:
    return store.outbox


def queue(store: Store, *webhooks: str) -> None:
    store.commit(
        Change("shop", (), outgoing=tuple(WebhookMessage(each, EVENT) for each in webhooks))
    )


def due(store: Store, *webhooks: str) -> dict[str, Delivery]:
    return store.outbox.due("shop", webhooks, store.now_ms())


def with_attempt(record: DeliveryRecord, state: DeliveryState, last: Attempt) -> DeliveryRecord:
    return replace(record, state=state, attempts=record.attempts + 1, last=last)


def test_a_message_waits_from_the_commit_that_queued_it(store: Store, outbox: Outbox) -> None:
    before = store.now_ms()
    queue(store, "ops", "chat")
    messages = due(store, "ops", "chat", "nobody")
    assert set(messages) == {"ops", "chat"}
    assert messages["ops"].record.notice == EVENT
    assert messages["ops"].record.state is DeliveryState.WAITING
    assert before <= messages["ops"].record.queued_ms <= store.now_ms()
    assert messages["ops"].id != messages["chat"].id
    assert outbox.waiting("shop", "ops") == 1


def test_a_commit_that_is_refused_queues_nothing(store: Store, outbox: Outbox) -> None:
    guards = (Guard(policy_address("careful"), 7),)
    with pytest.raises(StaleRevision):
        store.commit(Change("shop", guards, outgoing=(WebhookMessage("ops", EVENT),)))
    assert outbox.waiting("shop", "ops") == 0


def test_a_failed_message_is_due_again_after_its_wait(store: Store, outbox: Outbox) -> None:
    queue(store, "ops")
    first = due(store, "ops")["ops"]
    after = with_attempt(first.record, DeliveryState.WAITING, FAILED)
    assert outbox.record_outcome("shop", "ops", first.id, after, retry_in_ms=3_600_000)
    assert due(store, "ops") == {}
    later = outbox.due("shop", ["ops"], store.now_ms() + 3_600_000)["ops"]
    assert later.record == after


def test_the_message_that_is_due_longest_comes_first(store: Store, outbox: Outbox) -> None:
    queue(store, "ops", "ops")
    early, late = outbox.page("shop", "ops", None, 2)[0]
    outbox.record_outcome("shop", "ops", late.id, late.record, retry_in_ms=60_000)
    outbox.record_outcome("shop", "ops", early.id, early.record, retry_in_ms=30_000)
    assert outbox.due("shop", ["ops"], store.now_ms() + 90_000)["ops"].id == early.id


def test_a_delivered_message_is_not_due_and_can_be_read(store: Store, outbox: Outbox) -> None:
    queue(store, "ops")
    message = due(store, "ops")["ops"]
    after = with_attempt(message.record, DeliveryState.DELIVERED, FINE)
    assert outbox.record_outcome("shop", "ops", message.id, after)
    assert due(store, "ops") == {}
    assert outbox.page("shop", "ops", None, 10) == ([Delivery(message.id, after, None)], None)


def test_a_delivered_message_is_not_changed_again(store: Store, outbox: Outbox) -> None:
    queue(store, "ops")
    message = due(store, "ops")["ops"]
    delivered = with_attempt(message.record, DeliveryState.DELIVERED, FINE)
    outbox.record_outcome("shop", "ops", message.id, delivered)
    late = with_attempt(message.record, DeliveryState.WAITING, FAILED)
    assert not outbox.record_outcome("shop", "ops", message.id, late, retry_in_ms=1)
    assert outbox.page("shop", "ops", None, 10)[0][0].record == delivered


def test_pages_list_the_latest_messages_first(store: Store, outbox: Outbox) -> None:
    for _ in range(5):
        queue(store, "ops")
    whole, _ = outbox.page("shop", "ops", None, 10)
    assert len(whole) == 5
    assert all(each.due_ms == each.record.queued_ms for each in whole)
    assert [each.id for each in whole] == sorted((each.id for each in whole), reverse=True)
    first, following = outbox.page("shop", "ops", None, 3)
    rest, end = outbox.page("shop", "ops", following, 3)
    assert (first + rest, end) == (whole, None)


def test_waiting_messages_are_always_kept_and_others_up_to_a_number(
    store: Store, outbox: Outbox
) -> None:
    queue(store, "ops")
    kept = due(store, "ops")["ops"]
    queue(store, *["ops"] * (MAX_SETTLED + 10))
    for each in outbox.page("shop", "ops", None, MAX_SETTLED + 11)[0]:
        if each.id != kept.id:
            after = with_attempt(each.record, DeliveryState.DELIVERED, FINE)
            outbox.record_outcome("shop", "ops", each.id, after)
    messages, _ = outbox.page("shop", "ops", None, 1_000)
    assert len(messages) == MAX_SETTLED + 1
    assert messages[-1].id == kept.id


def test_the_oldest_messages_beyond_a_number_are_found(store: Store, outbox: Outbox) -> None:
    for _ in range(4):
        queue(store, "ops")
    ids = [each.id for each in outbox.page("shop", "ops", None, 10)[0]]
    assert outbox.oldest("shop", "ops", 4) == []
    assert [each.id for each in outbox.oldest("shop", "ops", 1)] == ids[::-1][:3]


def test_a_deleted_webhook_leaves_no_messages(store: Store, outbox: Outbox) -> None:
    queue(store, "ops", "chat", "ops")
    message = due(store, "ops")["ops"]
    outbox.record_outcome(
        "shop", "ops", message.id, with_attempt(message.record, DeliveryState.DELIVERED, FINE)
    )
    store.commit(Change("shop", (), forgotten=("ops",)))
    assert outbox.page("shop", "ops", None, 10) == ([], None)
    assert outbox.waiting("shop", "ops") == 0
    assert outbox.waiting("shop", "chat") == 1
