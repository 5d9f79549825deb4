from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tidegate_server.domain.release import Basis, State
from tidegate_server.domain.release_events import TEST, ReleaseEvent, ReleaseSummary
from tidegate_server.domain.release_gates import Event
from tidegate_server.domain.webhooks import Format, Webhook
from tidegate_server.webhooks.messages import (
    confirmation_body,
    event_body,
    request_headers,
)
from tidegate_server.webhooks.notices import event_headline, event_notice
from tidegate_server.webhooks.signing import signing_secret

from tests.wire_schemas import WEBHOOK, violations

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()

HALF = ReleaseSummary(
    id="rel_1",
    flag="checkout",
    rule=None,
    control="off",
    treatment="on",
    policy="careful",
    state=State.RUNNING,
    state_before=State.RUNNING,
    stage=2,
    stages=3,
    stage_name="half",
    percentage=50,
    percentage_before=5,
    attempt=1,
)


def release_event(event: str = Event.ADVANCED, reason: str = "harmless") -> ReleaseEvent:
    return ReleaseEvent(str(event), 1_790_000_000_250, "policy", reason, "production", HALF)


def test_json_contains_every_field() -> None:
    body = json.loads(event_body(Format.JSON, "shop", "message-1", release_event()))
    release = body.pop("release")
    assert body == {
        "id": "message-1",
        "event": "advanced",
        "at": "2026-09-21T14:13:20.250Z",
        "project": "shop",
        "environment": "production",
        "actor": "policy",
        "reason": "harmless",
        "url": "",
        "page": "",
        "flag": "checkout",
    }
    assert (release["id"], release["flag"], release["state"]) == ("rel_1", "checkout", "running")
    assert (release["percentage_before"], release["percentage"]) == (5, 50)


def test_json_links_to_the_page_and_to_the_incident() -> None:
    event = replace(release_event(Event.KILLED), url="https://incidents.example.com/1")
    body = json.loads(
        event_body(Format.JSON, "shop", "message-1", event, "https://flags.example.com")
    )
    assert body["page"] == "https://flags.example.com/p/shop/e/production/releases/rel_1"
    assert body["url"] == "https://incidents.example.com/1"
    assert violations(WEBHOOK, body) == []


@pytest.mark.parametrize("event", [*Event, TEST])
def test_json_matches_its_schema(event: str) -> None:
    release = None if event == TEST else replace(HALF, state_before=None)
    body = event_body(
        Format.JSON, "shop", "message-1", replace(release_event(event), release=release)
    )
    assert violations(WEBHOOK, json.loads(body)) == []


def test_a_kill_without_a_release_matches_the_schema() -> None:
    notice = ReleaseEvent("killed", 0, "ana", "it burns", "production", flag="search")
    body = json.loads(event_body(Format.JSON, "shop", "message-1", notice))
    assert (body["flag"], body["release"]) == ("search", None)
    assert violations(WEBHOOK, body) == []


def test_a_confirmation_request_matches_its_schema() -> None:
    then = {"action": "advance", "state": "running", "stage": 3, "stage_name": "all"}
    request = confirmation_body(
        "ask-1", 0, "shop", "production", HALF, {**then, "percentage": 100}, "ok"
    )
    assert violations(WEBHOOK, json.loads(request)) == []
    incomplete = confirmation_body("ask-1", 0, "shop", "production", HALF, then, "ok")
    assert violations(WEBHOOK, json.loads(incomplete)) != []


def documented(language: str) -> list[str]:
    """Return the documentation's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_documented_requests_match_the_schema() -> None:
    examples = [json.loads(block) for block in documented("json") if '"event"' in block]
    assert [each["event"] for each in examples] == ["advanced", "confirm"]
    assert [violations(WEBHOOK, each) for each in examples] == [[], []]


class TestDocumentedVerification:
    WEBHOOK = Webhook("ops", "https://x/", "new", retiring_id="old", retires_ms=2**53)
    BODY = event_body(Format.JSON, "shop", "message-1", release_event(reason="Zahlung fällt aus"))

    @pytest.fixture
    def verify(self) -> Any:
        (snippet,) = documented("python")
        names: dict[str, Any] = {}
        exec(snippet, names)
        return names["is_from_tidegate"]

    def header(self, at_s: float) -> str:
        headers = request_headers(
            b"key", self.WEBHOOK, "advanced", "message-1", self.BODY, int(at_s * 1_000)
        )
        return headers["Tidegate-Signature"]

    @pytest.mark.parametrize("secret_id", ["new", "old"])
    def test_accepts_requests_signed_by_the_server(self, verify: Any, secret_id: str) -> None:
        secret = signing_secret(b"key", secret_id)
        assert verify(secret, self.header(time.time()), self.BODY)

    def test_refuses_anything_else(self, verify: Any) -> None:
        secret, header = signing_secret(b"key", "new"), self.header(time.time())
        assert not verify(signing_secret(b"another key", "new"), header, self.BODY)
        assert not verify(secret, header, self.BODY.replace(b"50", b"99"))
        assert not verify(secret, header.replace("t=1", "t=2", 1), self.BODY)
        assert not verify(secret, self.header(time.time() - 3_600), self.BODY)
        assert not verify(secret, "", self.BODY)


def test_every_event_has_its_own_headline() -> None:
    headlines = {event_headline(each, HALF) for each in Event}
    assert len(headlines) == len(Event)
    assert not any("_" in headline for headline in headlines)


def test_a_test_message_is_recognizable() -> None:
    test = ReleaseEvent(TEST, 0, "ana (1)", "try")
    assert (
        event_notice("shop", test, "").title
        == "Tidegate can reach this channel (a test by ana (1))."
    )
    body = json.loads(event_body(Format.JSON, "shop", "message-1", test))
    assert (body["event"], body["release"]) == ("test", None)


def test_both_secrets_sign_for_a_while_after_a_rotation() -> None:
    webhook = Webhook("ops", "https://x/", "new", retiring_id="old", retires_ms=10_000)
    both = request_headers(b"key", webhook, "held", "message-1", b"{}", 9_999)
    one = request_headers(b"key", webhook, "held", "message-1", b"{}", 10_000)
    assert both["Tidegate-Signature"].count("v1=") == 2
    assert one["Tidegate-Signature"].startswith("t=10,v1=")
    assert one["Tidegate-Signature"].count("v1=") == 1
    assert (one["Tidegate-Event"], one["Tidegate-Delivery"]) == ("held", "message-1")


def test_an_advance_on_time_is_named_as_one() -> None:
    on_time = replace(release_event(), release=replace(HALF, stage_basis=Basis.TIME))
    body = json.loads(event_body(Format.JSON, "shop", "message-1", on_time))

    assert body["release"]["stage_basis"] == "time"
    assert not violations(WEBHOOK, body)
    headline = event_notice("shop", on_time, "").headline
    assert headline.startswith("advanced on time, not on evidence, to stage half (2 of 3)")
