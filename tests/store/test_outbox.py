"""Messages are queued with the change they tell of, and wait until what became of them is noted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate_server.domain.change import Change, Guard, WebhookMessage
from tidegate_server.domain.project_documents import policy_address
from tidegate_server.domain.release_events import TEST, ReleaseEvent
from tidegate_server.errors import StaleRevision
from tidegate_server.store import Store
from tidegate_server.store.outbox import (
    SETTLED_KEPT,
    Attempt,
    Delivery,
    DeliveryState,
    Outbox,
    Record,
)

NOTICE = ReleaseEvent(TEST, 1_000, "ana", "try")
FAILED = Attempt(2_000, 30, 500, "answered 500")
FINE = Attempt(3_000, 12, 204, "")


@pytest.fixture
def outbox(store: Store) -> Outbox:
    return store.outbox()


def queue(store: Store, *webhooks: str) -> None:
    store.commit(
        Change("shop", (), outgoing=tuple(WebhookMessage(each, NOTICE) for each in webhooks))
    )


def due(store: Store, *webhooks: str) -> dict[str, Delivery]:
    return store.outbox().due("shop", webhooks, store.now_ms())


def settled(record: Record, state: DeliveryState, last: Attempt) -> Record:
    return replace(record, state=state, attempts=record.attempts + 1, last=last)


def test_a_message_waits_from_the_commit_that_queued_it(store: Store, outbox: Outbox) -> None:
    before = store.now_ms()
    queue(store, "ops", "chat")
    found = due(store, "ops", "chat", "nobody")
    assert set(found) == {"ops", "chat"}
    assert found["ops"].record.notice == NOTICE
    assert found["ops"].record.state is DeliveryState.WAITING
    assert before <= found["ops"].record.queued_ms <= store.now_ms()
    assert found["ops"].id != found["chat"].id
    assert outbox.waiting("shop", "ops") == 1


def test_a_commit_that_is_refused_queues_nothing(store: Store, outbox: Outbox) -> None:
    wrong = (Guard(policy_address("careful"), 7),)
    with pytest.raises(StaleRevision):
        store.commit(Change("shop", wrong, outgoing=(WebhookMessage("ops", NOTICE),)))
    assert outbox.waiting("shop", "ops") == 0


def test_a_message_is_due_again_when_it_was_put_off_for(store: Store, outbox: Outbox) -> None:
    queue(store, "ops")
    first = due(store, "ops")["ops"]
    after = settled(first.record, DeliveryState.WAITING, FAILED)
    assert outbox.record_outcome("shop", "ops", first.id, after, again_in_ms=3_600_000)
    assert due(store, "ops") == {}
    later = outbox.due("shop", ["ops"], store.now_ms() + 3_600_000)["ops"]
    assert later.record == after


def test_the_one_that_is_due_for_longest_comes_first(store: Store, outbox: Outbox) -> None:
    queue(store, "ops", "ops")
    early, late = outbox.page("shop", "ops", None, 2)[0]
    outbox.record_outcome("shop", "ops", late.id, late.record, again_in_ms=60_000)
    outbox.record_outcome("shop", "ops", early.id, early.record, again_in_ms=30_000)
    assert outbox.due("shop", ["ops"], store.now_ms() + 90_000)["ops"].id == early.id


def test_what_is_settled_is_not_due_and_can_be_looked_up(store: Store, outbox: Outbox) -> None:
    queue(store, "ops")
    one = due(store, "ops")["ops"]
    after = settled(one.record, DeliveryState.DELIVERED, FINE)
    assert outbox.record_outcome("shop", "ops", one.id, after)
    assert due(store, "ops") == {}
    assert outbox.page("shop", "ops", None, 10) == ([Delivery(one.id, after, None)], None)


def test_what_does_not_wait_any_more_is_not_settled_again(store: Store, outbox: Outbox) -> None:
    queue(store, "ops")
    one = due(store, "ops")["ops"]
    delivered = settled(one.record, DeliveryState.DELIVERED, FINE)
    outbox.record_outcome("shop", "ops", one.id, delivered)
    late = settled(one.record, DeliveryState.WAITING, FAILED)
    assert not outbox.record_outcome("shop", "ops", one.id, late, again_in_ms=1)
    assert outbox.page("shop", "ops", None, 10)[0][0].record == delivered


def test_pages_have_the_latest_first(store: Store, outbox: Outbox) -> None:
    for _ in range(5):
        queue(store, "ops")
    whole, _ = outbox.page("shop", "ops", None, 10)
    assert len(whole) == 5
    assert all(each.due_ms == each.record.queued_ms for each in whole)
    assert [each.id for each in whole] == sorted((each.id for each in whole), reverse=True)
    first, following = outbox.page("shop", "ops", None, 3)
    rest, end = outbox.page("shop", "ops", following, 3)
    assert (first + rest, end) == (whole, None)


def test_the_settled_are_kept_up_to_a_number_and_the_waiting_always(
    store: Store, outbox: Outbox
) -> None:
    queue(store, "ops")
    kept = due(store, "ops")["ops"]
    queue(store, *["ops"] * (SETTLED_KEPT + 10))
    for each in outbox.page("shop", "ops", None, SETTLED_KEPT + 11)[0]:
        if each.id != kept.id:
            after = settled(each.record, DeliveryState.DELIVERED, FINE)
            outbox.record_outcome("shop", "ops", each.id, after)
    found, _ = outbox.page("shop", "ops", None, 1_000)
    assert len(found) == SETTLED_KEPT + 1
    assert found[-1].id == kept.id


def test_the_oldest_beyond_a_number_are_told(store: Store, outbox: Outbox) -> None:
    for _ in range(4):
        queue(store, "ops")
    ids = [each.id for each in outbox.page("shop", "ops", None, 10)[0]]
    assert outbox.oldest("shop", "ops", 4) == []
    assert [each.id for each in outbox.oldest("shop", "ops", 1)] == ids[::-1][:3]


def test_a_webhook_that_is_deleted_leaves_nothing(store: Store, outbox: Outbox) -> None:
    queue(store, "ops", "chat", "ops")
    one = due(store, "ops")["ops"]
    outbox.record_outcome("shop", "ops", one.id, settled(one.record, DeliveryState.DELIVERED, FINE))
    store.commit(Change("shop", (), forgotten=("ops",)))
    assert outbox.page("shop", "ops", None, 10) == ([], None)
    assert outbox.waiting("shop", "ops") == 0
    assert outbox.waiting("shop", "chat") == 1
