"""The event stream of an environment, over real connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from tidegate_server.store import Store, keys

from tests.admin.test_instances import report
from tests.event_stream_client import Event, Stream
from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug

FLAG = f"{PRODUCTION}/flags/checkout"
EVENTS = f"{PRODUCTION}/events"
Connect = Callable[..., Stream]


@pytest.fixture
def connect(port: int, admin: Caller) -> Iterator[Connect]:
    opened: list[Stream] = []

    def connect(last_event_id: str | None = None, token: str | None = None) -> Stream:
        headers = {"Authorization": f"Bearer {token or admin.token}"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        stream = Stream(port, EVENTS, headers)
        opened.append(stream)
        return stream

    yield connect
    for stream in opened:
        stream.close()


def changes(stream: Stream, count: int) -> list[Event]:
    """Return the next events that are no comments."""
    found = (event for event in stream.events() if event.name not in (":", "open"))
    return [next(found) for _ in range(count)]


def test_a_page_learns_of_each_change_where_it_is(checkout: Caller, connect: Connect) -> None:
    stream = connect()
    assert stream.response.headers["Content-Type"].startswith("text/event-stream")
    opened = stream.next("open")
    assert opened.data["version"] >= 1
    assert opened.id
    checkout.post_ok(f"{PROJECT}/environments/development/flags/checkout/kill", {})
    killed = checkout.post_ok(f"{FLAG}/kill", {"reason": "errors"})
    [event] = changes(stream, 1)
    assert event.name == "kill"
    assert event.data["key"] == "checkout"
    assert event.data["revision"] == killed["revision"]
    assert (event.data["action"], event.data["kind"]) == ("flag.kill", "targeting")
    assert event.data["actor"]
    flag = checkout.get(f"{PROJECT}/flags/checkout").json
    assert flag is not None
    checkout.put(f"{PROJECT}/flags/checkout", {**writable(flag), "name": "New"}, match='"1"')
    [event] = changes(stream, 1)
    assert (event.name, event.data["kind"]) == ("flag", "flag")


def test_the_moment_of_an_environment_tells_whether_something_has_happened(
    checkout: Caller, sdk: Caller, connect: Connect
) -> None:
    def moment() -> str:
        answer = checkout.get(f"{EVENTS}/moment").json
        assert answer is not None
        return str(answer["moment"])

    before = moment()
    assert before == moment() == connect().next("open").data["moment"]
    report(sdk)
    joined = moment()
    assert joined != before
    checkout.post_ok(f"{FLAG}/kill", {"reason": "errors"})
    assert moment() not in (before, joined)
    assert connect().next("open").data["moment"] == moment()


def writable(flag: dict[str, Any]) -> dict[str, Any]:
    names = ("type", "variants", "name", "description", "tags")
    return {name: flag[name] for name in names}


def test_a_release_that_starts_is_an_event(checkout: Caller, connect: Connect) -> None:
    stream = connect()
    stream.next("open")
    body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    started = checkout.post_ok(f"{PRODUCTION}/releases", body)
    event = stream.next("release")
    assert event.data["key"] == started["id"]


def test_a_page_that_reconnects_gets_what_it_missed(checkout: Caller, connect: Connect) -> None:
    stream = connect()
    checkout.post_ok(f"{FLAG}/kill", {})
    seen = stream.next("kill")
    stream.close()
    checkout.post_ok(f"{FLAG}/restore", {})
    checkout.post_ok(f"{FLAG}/kill", {})
    again = connect(seen.id)
    events = again.events()
    missed = [next(events) for _ in range(3)]
    assert [event.name for event in missed] == ["kill", "kill", "open"]
    assert [event.data.get("action") for event in missed[:2]] == ["flag.restore", "flag.kill"]
    checkout.post_ok(f"{FLAG}/restore", {})
    [event] = changes(again, 1)
    assert event.data["action"] == "flag.restore"


def test_a_page_that_missed_too_much_reads_everything_again(
    checkout: Caller, connect: Connect, raw: redis.Redis
) -> None:
    checkout.post_ok(f"{FLAG}/kill", {})
    stream = connect()
    seen = stream.next("open").id
    stream.close()
    raw.xtrim(keys.activity("default"), maxlen=0, approximate=False)
    checkout.post_ok(f"{FLAG}/restore", {})
    events = connect(seen).events()
    assert [next(events).name for _ in range(2)] == ["reset", "open"]


def test_instances_that_join_apply_and_leave_are_events(
    checkout: Caller, sdk: Caller, connect: Connect, store: Store
) -> None:
    version = store.version("default", "production")
    stream = connect()
    stream.next("open")
    report(sdk, 1, version=version)
    [event] = changes(stream, 1)
    assert (event.name, event.data["what"], event.id) == ("instance", "joined", "")
    checkout.post_ok(f"{FLAG}/kill", {})
    assert changes(stream, 1)[0].name == "kill"
    report(sdk, 1, 2, version=version + 1)
    [event] = changes(stream, 1)
    assert (event.name, event.data) == ("receipt", {"version": version + 1, "instances": 1})
    report(sdk, 1, 3, version=version + 1, leaving=True)
    assert changes(stream, 1)[0].data["what"] == "left"


def test_the_first_time_that_an_application_asks_for_a_flag_is_an_event(
    checkout: Caller, sdk: Caller, connect: Connect
) -> None:
    stream = connect()
    stream.next("open")
    for sequence, total in enumerate((0, 1, 2), start=1):
        asked = {"flag": "checkout", "variants": {}, "defaults": total, "estimated": False}
        report(sdk, 1, sequence, application="shop", evaluations=[asked] if total else [])
    report(sdk, 1, 4, leaving=True)
    assert [each.data["what"] for each in changes(stream, 3)] == ["joined", "asked", "left"]


def test_many_pages_share_one_reader(checkout: Caller, connect: Connect, store: Store) -> None:
    streams = [connect() for _ in range(20)]
    for stream in streams:
        stream.next("open")
    assert len(store.activity_feed._positions) == 2
    checkout.post_ok(f"{FLAG}/kill", {})
    assert [changes(stream, 1)[0].name for stream in streams] == ["kill"] * 20


def test_the_stream_ends_when_its_token_is_revoked(checkout: Caller, connect: Connect) -> None:
    viewer = checkout.token_for("viewer", "default", "production")
    stream = connect(token=viewer.token)
    stream.next("open")
    assert viewer.token is not None
    id = viewer.token.split("_")[2]
    assert checkout.delete(f"/api/v1/tokens/{id}", match="*").status_code == 204
    assert all(event.name == ":" for event in stream.events())


@pytest.mark.parametrize("id", ["seven", "1", "1-2-3"])
def test_an_id_that_no_event_had_is_refused(admin: Caller, id: str) -> None:
    answer = admin.get(EVENTS, headers={"Last-Event-ID": id})
    assert (answer.status_code, pointers(answer)) == (422, ["/Last-Event-ID"])


def test_an_environment_that_does_not_exist_has_no_events(admin: Caller) -> None:
    answer = admin.get(f"{PROJECT}/environments/nowhere/events")
    assert slug(answer) == "not-found"
