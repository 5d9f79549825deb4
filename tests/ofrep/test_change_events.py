"""Streams of change events over real connections: who gets which event, and credentials."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import StoreUnavailable
from tidegate_server.ofrep import stream_credentials
from tidegate_server.store import Store
from tidegate_server.web.backend import Backend

from tests.event_stream_client import Stream
from tests.http_calls import PRODUCTION, PROJECT, Caller, slug

ALL = "/ofrep/v1/evaluate/flags"
FLAG = f"{PRODUCTION}/flags/checkout"
Connect = Callable[..., Stream]


@pytest.fixture
def web(checkout: Caller) -> Caller:
    """Return a client that may evaluate one flag of two."""
    public = {"key": "public", "type": "boolean", "client_side": True}
    checkout.post_ok(f"{PROJECT}/flags", public)
    return checkout.token_for("client", "default", "production")


def stream_path(caller: Caller) -> str:
    """Return the path of the stream, from a bulk evaluation."""
    (stream,) = caller.post_ok(ALL, {})["eventStreams"]
    assert (stream["type"], stream["inactivityDelaySec"]) == ("sse", 120)
    url: str = stream["url"]
    assert url.startswith("http://localhost/ofrep/v1/stream?credential=")
    return url.removeprefix("http://localhost")


@pytest.fixture
def connect(port: int) -> Iterator[Connect]:
    opened: list[Stream] = []

    def connect(path: str, last_event_id: str | None = None) -> Stream:
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        stream = Stream(port, path, headers)
        opened.append(stream)
        return stream

    yield connect
    for stream in opened:
        stream.close()


def test_a_change_sends_an_event_to_evaluate_again(
    web: Caller, checkout: Caller, connect: Connect, store: Store
) -> None:
    stream = connect(stream_path(web))
    assert stream.response.status == 200
    assert stream.response.headers["Content-Type"].startswith("text/event-stream")
    assert stream.response.headers["X-Accel-Buffering"] == "no"
    assert stream.response.headers["Cache-Control"] == "no-store"
    before = int(time.time())
    checkout.post_ok(f"{PRODUCTION}/flags/public/kill", {})
    event = stream.next("message")
    version = store.version("default", "production")
    assert event.version == version
    assert event.data.pop("lastModified") in range(before, int(time.time()) + 1)
    assert event.data == {"type": "refetchEvaluation", "etag": f'"{version}"'}
    response = web.post(ALL, {}, query_string={"flagConfigEtag": event.data["etag"]})
    assert '"variant":"off"' in response.text


def test_the_stream_url_names_the_version_that_was_evaluated(
    web: Caller, checkout: Caller, connect: Connect, store: Store
) -> None:
    """A change between the evaluation and the stream is not missed."""
    seen = stream_path(web)
    checkout.post_ok(f"{PRODUCTION}/flags/public/kill", {})
    event = connect(seen).next("message")
    assert event.version == store.version("default", "production")
    assert connect(stream_path(web)).next(":", "message").name == ":"


def test_a_client_that_reconnects_gets_an_event_if_it_missed_one(
    web: Caller, checkout: Caller, connect: Connect
) -> None:
    path = stream_path(web)
    stream = connect(path)
    checkout.post_ok(f"{PRODUCTION}/flags/public/kill", {})
    seen = stream.next("message").version
    assert connect(path, str(seen)).next(":", "message").name == ":"
    stream.close()
    checkout.post_ok(f"{PRODUCTION}/flags/public/restore", {})
    assert connect(path, str(seen)).next("message").version == seen + 1


@pytest.mark.parametrize("last_seen", ["0", "999999", "x", "-1", "1" * 30])
def test_an_unknown_last_event_id_sends_an_event_at_once(
    web: Caller, connect: Connect, last_seen: str
) -> None:
    assert connect(stream_path(web), last_seen).next(":", "message").name == "message"


def test_a_client_gets_no_event_for_flags_that_it_may_not_know(
    web: Caller, sdk: Caller, checkout: Caller, connect: Connect
) -> None:
    page, application = connect(stream_path(web)), connect(stream_path(sdk))
    checkout.post_ok(f"{FLAG}/kill", {})
    hidden = application.next("message").version
    checkout.post_ok(f"{PRODUCTION}/flags/public/kill", {})
    assert page.next("message").version == hidden + 1


def test_a_client_gets_an_event_for_a_segment_that_its_flags_use(
    web: Caller, checkout: Caller, connect: Connect
) -> None:
    rule = {"id": "staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}}
    body = {"enabled": True, "off_variant": "off", "default": {"variant": "off"}, "rules": [rule]}
    changed = checkout.put(f"{PRODUCTION}/flags/public", body, match="*")
    assert changed.status_code == 200, changed.text
    stream = connect(stream_path(web))
    changed = checkout.put(f"{PROJECT}/segments/staff", {"included": ["bob"]}, match="*")
    assert changed.status_code == 200, changed.text
    assert stream.next("message")
    response = web.post_ok(ALL, {"context": {"targetingKey": "bob"}})
    assert response["flags"][0]["variant"] == "on"


@pytest.mark.parametrize("credential", ["", "x", "a.1.2.3", "%s.1.9999999999." + "0" * 40])
def test_a_forged_credential_is_refused(web: Caller, connect: Connect, credential: str) -> None:
    id = stream_path(web).partition("=")[2].partition(".")[0]
    credential = credential.replace("%s", id)
    refused = web.client.get("/ofrep/v1/stream", query_string={"credential": credential})
    assert (refused.status_code, slug(refused)) == (401, "unauthenticated")


def test_a_token_does_not_open_a_stream(web: Caller) -> None:
    assert web.get("/ofrep/v1/stream").status_code == 401
    assert web.token is not None
    assert web.get("/ofrep/v1/stream", query_string={"credential": web.token}).status_code == 401


def test_a_credential_opens_only_the_stream(web: Caller) -> None:
    credential = stream_path(web).partition("=")[2]
    assert Caller(web.client, credential).post(ALL, {}).status_code == 401
    assert web.token is not None
    assert web.token.rpartition("_")[2] not in credential


def test_a_stream_ends_when_its_token_is_deleted(
    web: Caller, checkout: Caller, connect: Connect
) -> None:
    path = stream_path(web)
    stream = connect(path)
    stream.next(":")
    id = path.partition("=")[2].partition(".")[0]
    assert checkout.delete(f"/api/v1/tokens/{id}", match='"1"').status_code == 204
    assert [event.name for event in stream.events() if event.name != ":"] == []
    assert connect(path).response.status == 401


def test_a_stream_stays_open_while_the_store_is_down(
    web: Caller, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = connect(stream_path(web))
    stream.next(":")

    def unavailable(*_: Any) -> Any:
        raise StoreUnavailable("The store cannot be used now.")

    for name in ("get", "version", "snapshot"):
        monkeypatch.setattr(Store, name, unavailable)
    for _ in range(6):  # by then the stream has checked its token
        stream.next(":")
    assert web.post(ALL, {}).status_code == 200


def test_a_stream_url_expires_and_the_next_bulk_evaluation_has_a_new_one(
    web: Caller, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Backend = app.extensions["tidegate"]
    lifetime = backend.settings.stream_credential_seconds
    path, now = stream_path(web), time.time()
    etag = web.post(ALL, {}).headers["ETag"]

    def verify(at: float) -> Token:
        credential = path.partition("=")[2]
        key, authenticator = backend.settings.secret_key, backend.authenticator
        return stream_credentials.verify_credential(key, credential, authenticator, at).token

    assert verify(now + lifetime).role == "client"
    monkeypatch.setattr(time, "time", lambda: now + 2 * lifetime)
    expired = web.client.get(path)
    assert (expired.status_code, slug(expired)) == (401, "unauthenticated")
    again = web.post(ALL, {}, headers={"If-None-Match": etag})
    assert again.status_code == 200
    assert stream_path(web) != path


def test_opening_a_stream_counts_for_the_rate_limit(checkout: Caller, connect: Connect) -> None:
    token = {"name": "web", "role": "client", "project": "default", "environment": "production"}
    created = checkout.post_ok("/api/v1/tokens", {**token, "rate_limit": 1})
    path = stream_path(Caller(checkout.client, created["secret"]))
    refused = checkout.client.get(path)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("headers", "start"),
    [
        ({}, "http://localhost/"),
        ({"X-Forwarded-Proto": "https", "Host": "flags.example"}, "https://flags.example/"),
        (
            {
                "X-Forwarded-For": "203.0.113.7, 127.0.0.1",
                "X-Forwarded-Host": "a.example:8443, b",
                "X-Forwarded-Proto": "https, http",
            },
            "https://a.example:8443/",
        ),
        ({"X-Forwarded-Proto": "javascript"}, "http://localhost/"),
    ],
)
def test_the_stream_url_is_the_one_that_the_client_can_reach(
    web: Caller, headers: dict[str, str], start: str
) -> None:
    response = web.post(ALL, {}, headers=headers).json
    assert response is not None
    assert response["eventStreams"][0]["url"].startswith(start + "ofrep/v1/stream?")


def test_streams_end_when_the_process_stops(web: Caller, app: Flask, connect: Connect) -> None:
    stream = connect(stream_path(web))
    stream.next(":")
    app.extensions["tidegate"].close()
    assert [event.name for event in stream.events() if event.name != ":"] == []
