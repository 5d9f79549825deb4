from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tidegate_server.domain import flag_edits, webhook_edits
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.change import WebhookMessage
from tidegate_server.domain.policy import Stage
from tidegate_server.domain.release import Approval, Release, State
from tidegate_server.domain.release_events import ReleaseEvent, events_between, webhooks_to_notify
from tidegate_server.domain.release_gates import ApprovalGate, Event, Notification, Rollback
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.domain.webhooks import Webhook

from tests.domain.builders import ANA, InMemoryStore, checkout, make_policy, store_with_checkout

GATED = Stage("few", 5, approval=ApprovalGate())
POLICY = make_policy(
    GATED, Stage("half", 50), Stage("all", 100), rollback=Rollback(cooldown_ms=9, max_retries=1)
)
AT = (7, "because")
PERSON = Initiator.PERSON


def started(**changes: object) -> Release:
    created = Release(
        id="rel_1",
        flag="checkout",
        rule=None,
        control="off",
        treatment="on",
        salt="rel_1",
        policy=POLICY,
        policy_revision=1,
        state=State.RUNNING,
        stage=1,
        step=1,
        reason="",
        started_by=ANA,
        started_ms=0,
        stage_entered_ms=0,
        updated_ms=0,
    )
    return replace(created, **changes)  # type: ignore[arg-type]


def half(**changes: object) -> Release:
    return started(stage=2, **changes)


def last(**changes: object) -> Release:
    return started(stage=3, state=State.BAKING, **changes)


def draft() -> Release:
    return started(state=State.DRAFT, closed=True)


def awaiting_approval() -> Release:
    return machine.request_approval(started(), *AT)


def paused() -> Release:
    return machine.pause(half(), *AT)


def cooling() -> Release:
    return machine.start_cooldown(half(), *AT)


def killed() -> Release:
    return machine.kill(half(), *AT)


CHANGES: dict[str, tuple[Release, Callable[[Release], Release], Event | None]] = {
    "a draft that begins": (draft(), lambda r: machine.begin(r, *AT), Event.STARTED),
    "an advance": (half(), lambda r: machine.advance(r, *AT), Event.ADVANCED),
    "an advance out of a hold": (
        machine.hold(half(), *AT),
        lambda r: machine.advance(r, *AT, by=PERSON),
        Event.ADVANCED,
    ),
    "a retreat": (last(), lambda r: machine.retreat(r, *AT), Event.RETREATED),
    "a retreat under a pause": (
        paused(),
        lambda r: machine.retreat(r, *AT),
        Event.RETREATED,
    ),
    "a hold": (half(), lambda r: machine.hold(r, *AT), Event.HELD),
    "a hold for another reason": (
        machine.hold(half(), *AT),
        lambda r: machine.hold(r, 8, "still"),
        None,
    ),
    "the end of a hold": (
        machine.hold(half(), *AT),
        lambda r: machine.end_hold(r, *AT),
        Event.WENT_ON,
    ),
    "a request for approval": (
        started(),
        lambda r: machine.request_approval(r, *AT),
        Event.APPROVAL_NEEDED,
    ),
    "a second request for approval": (
        awaiting_approval(),
        lambda r: machine.request_approval(r, 8, "again"),
        None,
    ),
    "an approval": (
        awaiting_approval(),
        lambda r: machine.approve(r, Approval("bob (1)", "bob", 7)),
        Event.APPROVED,
    ),
    "a pause": (half(), lambda r: machine.pause(r, *AT, by=PERSON), Event.PAUSED),
    "a full stop of a pause": (
        paused(),
        lambda r: machine.pause(r, *AT, stop=True, by=PERSON),
        Event.PAUSED,
    ),
    "a resume": (paused(), lambda r: machine.resume(r, *AT), Event.RESUMED),
    "a completion": (last(), lambda r: machine.complete(r, *AT), Event.COMPLETED),
    "a rollback": (half(), lambda r: machine.roll_back(r, *AT), Event.ROLLED_BACK),
    "a rollback of a killed release": (
        killed(),
        lambda r: machine.roll_back(r, *AT, by=PERSON),
        Event.ROLLED_BACK,
    ),
    "a cooldown": (half(), lambda r: machine.start_cooldown(r, *AT), Event.ROLLED_BACK),
    "a cooldown under a pause": (
        paused(),
        lambda r: machine.start_cooldown(r, *AT),
        Event.ROLLED_BACK,
    ),
    "a pause of a cooldown": (
        cooling(),
        lambda r: machine.pause(r, *AT, by=PERSON),
        Event.PAUSED,
    ),
    "a retry": (cooling(), lambda r: machine.retry(r, *AT), Event.RETRIED),
    "a kill": (half(), lambda r: machine.kill(r, *AT), Event.KILLED),
    "a kill of a paused release": (
        paused(),
        lambda r: machine.kill(r, *AT),
        Event.KILLED,
    ),
    "a second kill": (killed(), lambda r: machine.kill(r, *AT), None),
    "a restore": (killed(), lambda r: machine.restore(r, *AT), Event.RESTORED),
    "restarted evidence": (half(), lambda r: machine.restart_evidence(r, *AT), None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_of_a_release_has_its_event(name: str) -> None:
    before, change, event = CHANGES[name]
    assert events_between(before, change(before)) == (() if event is None else (event,))


def test_a_draft_has_no_started_event() -> None:
    assert events_between(None, started()) == (Event.STARTED,)
    assert events_between(None, draft()) == ()


def test_every_event_has_a_change_that_causes_it() -> None:
    caused = {event for _, _, event in CHANGES.values()}
    assert set(Event) - caused == {Event.WARNED}  # not a change of the release


def test_each_webhook_is_notified_once_and_of_its_events_only() -> None:
    policy = make_policy(
        notify=(
            Notification("ops"),
            Notification("chat", (Event.HELD,)),
            Notification("ops", (Event.HELD,)),
        )
    )
    assert webhooks_to_notify(policy, Event.HELD) == ("ops", "chat")
    assert webhooks_to_notify(policy, Event.COMPLETED) == ("ops",)


class TestCommits:
    @pytest.fixture
    def store(self) -> InMemoryStore:
        store = store_with_checkout()
        for key in ("ops", "chat"):
            webhook = Webhook(key, "https://ops.example.com/", key)
            store.commit(webhook_edits.put_webhook(store.documents, webhook, actor=ANA))
        kills = (Event.KILLED, Event.RESTORED, Event.ROLLED_BACK)
        store.add_policy(make_policy(notify=(Notification("ops"), Notification("chat", kills))))
        return store

    def test_a_start_notifies_with_the_whole_release(self, store: InMemoryStore) -> None:
        (message,) = store.start(reason="Friday").outgoing
        assert message.webhook == "ops"
        event: ReleaseEvent = message.event
        assert (event.event, event.actor, event.reason) == ("started", ANA, "Friday")
        assert (event.environment, event.at_ms) == ("production", store.release().updated_ms)
        release = event.release
        assert release is not None
        assert (release.id, release.flag, release.policy) == ("rel_1", "checkout", "careful")
        assert (release.control, release.treatment) == ("off", "on")
        assert (release.state, release.state_before) == (State.RUNNING, None)
        assert (release.stage, release.stages, release.stage_name) == (1, 3, "few")
        assert (release.percentage, release.percentage_before) == (5, 0)

    def test_a_kill_of_a_flag_without_a_release_notifies_whom_policies_tell_of_kills(
        self, store: InMemoryStore
    ) -> None:
        store.add_policy(make_policy(key="other", notify=(Notification("chat", (Event.HELD,)),)))
        kill, again, restore = store.kill("It burns."), store.kill("Still."), store.restore()
        for change, event, reason in (
            (kill, "killed", "It burns."),
            (restore, "restored", "Fixed."),
        ):
            assert [message.webhook for message in change.outgoing] == ["ops", "chat"]
            notice: ReleaseEvent = change.outgoing[0].event
            assert (notice.event, notice.reason, notice.actor) == (event, reason, ANA)
            assert (notice.environment, notice.about) == ("production", "checkout")
            assert notice.release is None
        assert again.outgoing == ()

    def test_a_kill_and_a_restore_notify_webhooks(self, store: InMemoryStore) -> None:
        store.start()
        kill, again, restore = store.kill("It burns."), store.kill("Still."), store.restore()
        assert summarize(*kill.outgoing) == [("ops", "killed", 0, 5), ("chat", "killed", 0, 5)]
        assert again.outgoing == ()
        assert summarize(*restore.outgoing) == [
            ("ops", "restored", 5, 0),
            ("chat", "restored", 5, 0),
        ]
        assert kill.outgoing[0].event.reason == "It burns."

    def test_an_end_notifies_webhooks(self, store: InMemoryStore) -> None:
        store.start()
        change = store.move(machine.roll_back(store.release(), store.now_ms, "worse"))
        assert summarize(*change.outgoing) == [
            ("ops", "rolled_back", 0, 5),
            ("chat", "rolled_back", 0, 5),
        ]
        assert change.outgoing[0].event.reason == "worse"

    def test_changes_notify_whether_or_not_the_snapshot_changes(self, store: InMemoryStore) -> None:
        store.start()
        opened = store.move(machine.advance(store.release(), store.now_ms, "harmless"))
        assert summarize(*opened.outgoing) == [("ops", "advanced", 50, 5)]
        held = store.move(machine.hold(store.release(), store.now_ms, "silence"))
        assert held.refreshes == ()
        assert summarize(*held.outgoing) == [("ops", "held", 50, 50)]

    def test_an_approval_notifies_with_the_number_of_approvals(self, store: InMemoryStore) -> None:
        gate = Stage("few", 5, approval=ApprovalGate(count=2))
        notify = (Notification("ops", (Event.APPROVED,)),)
        store.add_policy(make_policy(gate, Stage("all", 100), notify=notify))
        store.start()
        store.move(machine.request_approval(store.release(), store.now_ms, "0 of 2 approvals"))
        bob = Approval("bob (1)", "bob", store.now_ms)
        eve = Approval("eve (2)", "eve", store.now_ms, "looks fine")
        for given, words in ((bob, "1 of 2 approvals"), (eve, "2 of 2 approvals: looks fine")):
            change = store.move(machine.approve(store.release(), given))
            assert change.outgoing[0].event.reason == words

    def test_other_changes_notify_nobody(self, store: InMemoryStore) -> None:
        store.start()
        edited = flag_edits.edit_flag(
            store.documents, checkout(name="Checkout"), actor=ANA, now_ms=store.now_ms
        )
        assert edited.outgoing == ()


def summarize(*outgoing: WebhookMessage) -> list[tuple[str, str, float, float]]:
    return [
        (
            each.webhook,
            each.event.event,
            each.event.release.percentage,
            each.event.release.percentage_before,
        )
        for each in outgoing
    ]
