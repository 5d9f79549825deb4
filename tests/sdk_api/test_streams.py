"""Streams over real connections: missed updates, new updates, and how streams end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from tidegate_server.store import Store, change_feed
from tidegate_server.store.change_feed import Update
from tidegate_server.web.backend import Backend

from tests.event_stream_client import Stream
from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug
from tests.waiting import until

FLAG = f"{PRODUCTION}/flags/checkout"
Connect = Callable[..., Stream]


@pytest.fixture
def connect(port: int, sdk: Caller) -> Iterator[Connect]:
    opened: list[Stream] = []

    def connect(
        last_event_id: str | None = None, token: str | None = None, incarnation: str | None = None
    ) -> Stream:
        headers = {"Authorization": f"Bearer {token or sdk.token}"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        if incarnation is not None:
            headers["Tidegate-Incarnation"] = incarnation
        stream = Stream(port, "/sdk/v1/stream", headers)
        opened.append(stream)
        return stream

    yield connect
    for stream in opened:
        stream.close()


def test_a_new_client_gets_a_snapshot_and_then_every_change(
    checkout: Caller, connect: Connect, store: Store
) -> None:
    version = store.version("default", "production")
    stream = connect()
    assert stream.response.status == 200
    assert stream.response.headers["Content-Type"].startswith("text/event-stream")
    assert stream.response.headers["Cache-Control"] == "no-store"
    assert stream.response.headers["X-Accel-Buffering"] == "no"
    first = stream.next("snapshot", "update")
    assert (first.name, first.version) == ("snapshot", version)
    assert first.data == json.loads(store.snapshot("default", "production").body)

    checkout.post_ok(f"{FLAG}/kill", {})
    update = stream.next("snapshot", "update")
    assert (update.name, update.version) == ("update", version + 1)
    assert update.data["version"] == version + 1
    assert update.data["flags"]["checkout"]["killed"] == "off"
    checkout.post_ok(f"{FLAG}/restore", {})
    assert stream.next("update").data["flags"]["checkout"]["killed"] is None


def test_changes_of_other_environments_are_not_sent(checkout: Caller, connect: Connect) -> None:
    stream = connect()
    stream.next("snapshot")
    checkout.post_ok(f"{PROJECT}/environments/development/flags/checkout/kill", {})
    checkout.post_ok(f"{FLAG}/kill", {"reason": "here"})
    assert stream.next("update").data["flags"]["checkout"]["killed"] == "off"


def test_a_client_that_reconnects_gets_the_missed_updates(
    checkout: Caller, connect: Connect, store: Store
) -> None:
    seen = store.version("default", "production")
    checkout.post_ok(f"{FLAG}/kill", {})
    checkout.post_ok(f"{FLAG}/restore", {})
    stream = connect(str(seen))
    events = stream.events()
    missed = [next(events), next(events)]
    assert [(event.name, event.version) for event in missed] == [
        ("update", seen + 1),
        ("update", seen + 2),
    ]
    checkout.post_ok(f"{FLAG}/kill", {})
    assert stream.next("update").version == seen + 3


def test_a_client_that_missed_nothing_waits(
    checkout: Caller, connect: Connect, store: Store
) -> None:
    stream = connect(str(store.version("default", "production")))
    assert stream.next(":", "snapshot", "update").name == ":"


@pytest.mark.parametrize("last_seen", ["999999", "0"])
def test_a_client_too_far_behind_or_ahead_gets_a_snapshot(
    checkout: Caller, connect: Connect, store: Store, last_seen: str
) -> None:
    if last_seen == "0":
        store._connection.client.delete("tg:{default}:changes:production")
    assert connect(last_seen).next("snapshot", "update").name == "snapshot"


def test_the_retry_line_comes_after_the_missed_events(connect: Connect) -> None:
    """A client takes the retry line as a sign that its flags are up to date."""
    blocks = connect().blocks()
    assert "event: snapshot" in next(blocks)
    (line,) = next(blocks)
    name, _, milliseconds = line.partition(": ")
    assert name == "retry"
    assert 1_000 <= int(milliseconds) <= 3_000


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", "9" * 30])
def test_an_invalid_last_event_id_is_refused(sdk: Caller, wrong: str) -> None:
    refused = sdk.get("/sdk/v1/stream", headers={"Last-Event-ID": wrong})
    assert refused.status_code == 422
    assert pointers(refused) == ["/Last-Event-ID"]


def test_an_admin_token_cannot_open_a_stream(admin: Caller) -> None:
    assert slug(admin.get("/sdk/v1/stream")) == "forbidden"


def test_the_stream_of_a_deleted_token_ends(admin: Caller, connect: Connect) -> None:
    token = {"name": "x", "role": "sdk", "project": "default", "environment": "production"}
    created = admin.post_ok("/api/v1/tokens", token)
    stream = connect(token=created["secret"])
    stream.next("snapshot")
    admin.delete(f"/api/v1/tokens/{created['id']}", match="*")
    for _ in stream.events():
        pass  # comments, until the server ends it


def test_a_stream_of_a_token_seen_before_has_the_same_headers(connect: Connect) -> None:
    """It is opened without Flask."""
    first, second = (dict(connect().response.headers) for _ in range(2))
    for headers in (first, second):
        assert len(headers.pop("X-Request-ID")) == 16
        headers.pop("Date")
    assert second == first


def test_a_token_that_has_opened_a_stream_opens_none_once_deleted(
    admin: Caller, connect: Connect
) -> None:
    token = {"name": "x", "role": "sdk", "project": "default", "environment": "production"}
    created = admin.post_ok("/api/v1/tokens", token)
    for _ in range(2):
        connect(token=created["secret"]).next("snapshot")
    admin.delete(f"/api/v1/tokens/{created['id']}", match="*")
    assert connect(token=created["secret"]).response.status == 401


def test_streams_end_when_the_worker_stops(app: Flask, connect: Connect) -> None:
    streams = [connect() for _ in range(3)]
    for stream in streams:
        stream.next("snapshot")
    backend: Backend = app.extensions["tidegate"]
    backend.close()
    for stream in streams:
        for _ in stream.events():
            pass
    late = connect()
    assert [event.name for event in late.events()] == ["snapshot"]


def test_a_lost_update_is_replaced_by_a_snapshot(
    checkout: Caller, connect: Connect, store: Store
) -> None:
    """The feed reports a lost update, and once skips a version."""
    events = connect().events()
    assert next(events).name == "snapshot"
    (subscription,) = store.change_feed._subscriptions["default", "production"]
    for update in (Update(7, None), Update(10_000, "{}")):
        subscription.put(update)
        assert next(each for each in events if each.name != ":").name == "snapshot"


def test_after_a_failover_that_lost_a_version_clients_get_what_is_there_now(
    checkout: Caller, connect: Connect, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover may lose the last commits; the next ones get their versions again."""
    monkeypatch.setattr(change_feed, "CHECK_SECONDS", float("inf"))
    before = store.exact_version("default", "production")
    seen, lost = str(before.number), str(before.number + 1)
    opened = connect()
    opened.next("snapshot")
    content = store.dump_scope("default")
    checkout.post_ok(f"{FLAG}/kill", {})
    assert opened.next("update").data["flags"]["checkout"]["killed"] == "off"
    assert connect().next("snapshot").data["flags"]["checkout"]["killed"] == "off"
    assert connect(seen).next("update").data["flags"]["checkout"]["killed"] == "off"
    store.replace_scope("default", content, before.incarnation)
    off = {"enabled": False, "off_variant": "off", "default": {"variant": "off"}, "rules": []}
    assert checkout.put(FLAG, off, match="*").status_code == 200
    assert store.version("default", "production") == int(lost)
    # Nobody has noticed the loss yet.
    found = [connect().next("snapshot"), connect(seen).next("update")]
    # Now the feed does.
    monkeypatch.setattr(change_feed, "CHECK_SECONDS", 0.0)
    found += [
        opened.next("snapshot"),
        connect(lost, incarnation=before.incarnation).next("snapshot"),
    ]
    for each in found:
        flag = each.data["flags"]["checkout"]
        assert (each.version, flag["killed"], flag["enabled"]) == (int(lost), None, False)


def test_a_closed_connection_unsubscribes(checkout: Caller, connect: Connect, store: Store) -> None:
    stream = connect()
    stream.next("snapshot")
    stream.close()
    until(lambda: not store.change_feed._subscriptions)
