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

from tests.domain.builders import ANA, Shelf, checkout, ladder, stocked

GATED = Stage("few", 5, approval=ApprovalGate())
POLICY = ladder(
    GATED, Stage("half", 50), Stage("all", 100), rollback=Rollback(cooldown_ms=9, max_retries=1)
)
AT = (7, "because")
PERSON = Initiator.PERSON


def started(**changes: object) -> Release:
    made = Release(
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
    return replace(made, **changes)  # type: ignore[arg-type]


def half(**changes: object) -> Release:
    return started(stage=2, **changes)


def last(**changes: object) -> Release:
    return started(stage=3, state=State.BAKING, **changes)


def draft() -> Release:
    return started(state=State.DRAFT, closed=True)


def asked() -> Release:
    return machine.request_approval(started(), *AT)


def paused() -> Release:
    return machine.pause(half(), *AT)


def cooling() -> Release:
    return machine.start_cooldown(half(), *AT)


def killed() -> Release:
    return machine.kill(half(), *AT)


TRANSITIONS: dict[str, tuple[Release, Callable[[Release], Release], Event | None]] = {
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
    "a question": (started(), lambda r: machine.request_approval(r, *AT), Event.APPROVAL_NEEDED),
    "the same question": (asked(), lambda r: machine.request_approval(r, 8, "again"), None),
    "an approval": (
        asked(),
        lambda r: machine.approve(r, Approval("bob (1)", "bob", 7)),
        Event.APPROVED,
    ),
    "a pause": (half(), lambda r: machine.pause(r, *AT, by=PERSON), Event.PAUSED),
    "a full stop of a pause": (
        paused(),
        lambda r: machine.pause(r, *AT, stop=True, by=PERSON),
        Event.PAUSED,
    ),
    "a resumption": (paused(), lambda r: machine.resume(r, *AT), Event.RESUMED),
    "a completion": (last(), lambda r: machine.complete(r, *AT), Event.COMPLETED),
    "a rollback": (half(), lambda r: machine.roll_back(r, *AT), Event.ROLLED_BACK),
    "a rollback of a killed one": (
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
    "a kill of a paused one": (
        paused(),
        lambda r: machine.kill(r, *AT),
        Event.KILLED,
    ),
    "a second kill": (killed(), lambda r: machine.kill(r, *AT), None),
    "a restoration": (killed(), lambda r: machine.restore(r, *AT), Event.RESTORED),
    "fresh evidence": (half(), lambda r: machine.restart_evidence(r, *AT), None),
}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_move_is_its_event(name: str) -> None:
    before, move, event = TRANSITIONS[name]
    assert events_between(before, move(before)) == (() if event is None else (event,))


def test_a_release_starts_when_it_opens_and_not_as_a_draft() -> None:
    assert events_between(None, started()) == (Event.STARTED,)
    assert events_between(None, draft()) == ()


def test_every_event_of_a_release_happens_in_some_move() -> None:
    seen = {event for _, _, event in TRANSITIONS.values()}
    assert set(Event) - seen == {Event.WARNED}  # a finding, not a move


def test_a_policy_tells_each_webhook_once_and_only_what_it_wants_to_hear() -> None:
    policy = ladder(
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
    def shelf(self) -> Shelf:
        shelf = stocked()
        for key in ("ops", "chat"):
            webhook = Webhook(key, "https://ops.example.com/", key)
            shelf.commit(webhook_edits.put_webhook(shelf.documents, webhook, actor=ANA))
        kills = (Event.KILLED, Event.RESTORED, Event.ROLLED_BACK)
        shelf.add_policy(ladder(notify=(Notification("ops"), Notification("chat", kills))))
        return shelf

    def test_a_start_is_told_with_the_whole_release(self, shelf: Shelf) -> None:
        (told,) = shelf.start(reason="Friday").outgoing
        assert told.webhook == "ops"
        notice: ReleaseEvent = told.event
        assert (notice.event, notice.actor, notice.reason) == ("started", ANA, "Friday")
        assert (notice.environment, notice.at_ms) == ("production", shelf.release().updated_ms)
        release = notice.release
        assert release is not None
        assert (release.id, release.flag, release.policy) == ("rel_1", "checkout", "careful")
        assert (release.control, release.treatment) == ("off", "on")
        assert (release.state, release.state_before) == (State.RUNNING, None)
        assert (release.stage, release.stages, release.stage_name) == (1, 3, "few")
        assert (release.percentage, release.percentage_before) == (5, 0)

    def test_a_kill_and_its_end_are_told_to_all_who_want_to_hear_of_them(
        self, shelf: Shelf
    ) -> None:
        shelf.start()
        kill, again, restore = shelf.kill("It burns."), shelf.kill("Still."), shelf.restore()
        assert said(*kill.outgoing) == [("ops", "killed", 0, 5), ("chat", "killed", 0, 5)]
        assert again.outgoing == ()
        assert said(*restore.outgoing) == [("ops", "restored", 5, 0), ("chat", "restored", 5, 0)]
        assert kill.outgoing[0].event.reason == "It burns."

    def test_an_end_is_told(self, shelf: Shelf) -> None:
        shelf.start()
        change = shelf.move(machine.roll_back(shelf.release(), shelf.now_ms, "worse"))
        assert said(*change.outgoing) == [
            ("ops", "rolled_back", 0, 5),
            ("chat", "rolled_back", 0, 5),
        ]
        assert change.outgoing[0].event.reason == "worse"

    def test_a_move_within_the_snapshot_and_one_that_only_the_store_sees_are_told(
        self, shelf: Shelf
    ) -> None:
        shelf.start()
        opened = shelf.move(machine.advance(shelf.release(), shelf.now_ms, "harmless"))
        assert said(*opened.outgoing) == [("ops", "advanced", 50, 5)]
        held = shelf.move(machine.hold(shelf.release(), shelf.now_ms, "silence"))
        assert held.refreshes == ()
        assert said(*held.outgoing) == [("ops", "held", 50, 50)]

    def test_an_approval_is_told_with_how_many_there_are(self, shelf: Shelf) -> None:
        gate = Stage("few", 5, approval=ApprovalGate(count=2))
        notify = (Notification("ops", (Event.APPROVED,)),)
        shelf.add_policy(ladder(gate, Stage("all", 100), notify=notify))
        shelf.start()
        shelf.move(machine.request_approval(shelf.release(), shelf.now_ms, "0 of 2 approvals"))
        bob = Approval("bob (1)", "bob", shelf.now_ms)
        eve = Approval("eve (2)", "eve", shelf.now_ms, "looks fine")
        for given, words in ((bob, "1 of 2 approvals"), (eve, "2 of 2 approvals: looks fine")):
            change = shelf.move(machine.approve(shelf.release(), given))
            assert change.outgoing[0].event.reason == words

    def test_other_commits_tell_nobody(self, shelf: Shelf) -> None:
        assert shelf.kill().outgoing == ()
        shelf.restore()
        shelf.start()
        edited = flag_edits.edit_flag(
            shelf.documents, checkout(name="Checkout"), actor=ANA, now_ms=shelf.now_ms
        )
        assert edited.outgoing == ()


def said(*outgoing: WebhookMessage) -> list[tuple[str, str, float, float]]:
    return [
        (
            each.webhook,
            each.event.event,
            each.event.release.percentage,
            each.event.release.percentage_before,
        )
        for each in outgoing
    ]
