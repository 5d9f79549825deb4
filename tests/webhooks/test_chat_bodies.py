"""What chats show: the same words and links in each, and no markup of others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tidegate_server.domain.release_events import ReleaseEvent
from tidegate_server.domain.release_gates import Event
from tidegate_server.domain.webhooks import Format
from tidegate_server.webhooks.messages import event_body

from tests.webhooks.test_messages import release_event

PUBLIC = "https://flags.example.com"
PAGE = f"{PUBLIC}/p/shop/e/production/releases/rel_1"
INCIDENT = "https://incidents.example.com/INC-1?a=1&b=2"
CHATS = (Format.SLACK, Format.TEAMS, Format.DISCORD)
HOSTILE = "<!channel> @everyone & [click](https://evil.example) **now** <@1>\n`x` _y_"


def body(format: Format, event: ReleaseEvent, public_url: str = PUBLIC) -> Any:
    return json.loads(event_body(format, "shop", "message-1", event, public_url))


def killed(reason: str = "customers cannot pay") -> ReleaseEvent:
    return replace(release_event(Event.KILLED, reason), actor="ana", url=INCIDENT)


def card(message: Any) -> Any:
    [attachment] = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    return attachment["content"]


@pytest.mark.parametrize("format", CHATS)
@pytest.mark.parametrize("event", list(Event))
def test_each_event_names_its_flag_and_links_to_its_page(format: Format, event: Event) -> None:
    text = json.dumps(body(format, release_event(event)))
    for part in ("checkout", "shop/production", "harmless", PAGE):
        assert part in text
    assert PAGE not in json.dumps(body(format, release_event(event), public_url=""))


@pytest.mark.parametrize("format", CHATS)
@pytest.mark.parametrize(("event", "says"), [("killed", "KILLED"), ("restored", "is restored")])
def test_a_kill_without_a_release_names_the_flag_and_links_to_its_page(
    format: Format, event: str, says: str
) -> None:
    notice = ReleaseEvent(event, 0, "ana", "it burns", "production", url=INCIDENT, flag="search")
    text = json.dumps(body(format, notice))
    page = "https://flags.example.com/p/shop/e/production/flags/search"
    for part in ("search", "shop/production", says, "it burns", page, "Open the flag"):
        assert part in text


def test_slack_shows_the_text_of_its_blocks_also_to_those_who_read_only_text() -> None:
    message = body(Format.SLACK, killed())
    assert message["text"].splitlines() == [
        "*checkout* in shop/production: KILLED at stage half (2 of 3)",
        ">customers cannot pay",
        "_ana, rel_1_",
        f"<{PAGE}|Open the release> · <{INCIDENT.replace('&', '&amp;')}|Open the incident>",
    ]
    kinds = [block["type"] for block in message["blocks"]]
    assert kinds == ["section", "context"]
    assert all(len(block["text"]["text"]) <= 3_000 for block in message["blocks"][:1])


def test_slack_reads_no_markup_of_others() -> None:
    text = body(Format.SLACK, killed(HOSTILE))["text"]
    assert "&lt;!channel&gt;" in text
    assert "<!" not in text
    assert "<@" not in text


def test_teams_gets_a_card_with_buttons() -> None:
    content = card(body(Format.TEAMS, killed()))
    assert (content["type"], content["version"]) == ("AdaptiveCard", "1.4")
    assert [(each["type"], each["title"], each["url"]) for each in content["actions"]] == [
        ("Action.OpenUrl", "Open the release", PAGE),
        ("Action.OpenUrl", "Open the incident", INCIDENT),
    ]
    assert content["body"][0]["style"] == "attention"


def test_teams_reads_no_text_as_markdown() -> None:
    content = json.dumps(card(body(Format.TEAMS, killed(HOSTILE))))
    assert 'TextBlock"' in content
    assert '"type": "TextBlock"' not in content


def test_discord_mentions_nobody_and_reads_no_markup_of_others() -> None:
    message = body(Format.DISCORD, killed(HOSTILE))
    assert message["allowed_mentions"] == {"parse": []}
    [embed] = message["embeds"]
    assert "\\[click\\]\\(https\\:" in embed["description"]
    assert f"[Open the release]({PAGE})" in embed["description"]
    assert embed["url"] == PAGE
    assert embed["color"] == 0xB3261E


@pytest.mark.parametrize("format", CHATS)
def test_long_reasons_are_shortened(format: Format) -> None:
    message = body(format, killed("long " * 2_000))
    if format is Format.DISCORD:
        assert len(message["embeds"][0]["description"]) <= 4_096
    if format is Format.SLACK:
        assert len(message["blocks"][0]["text"]["text"]) <= 3_000
    assert len(json.dumps(message)) < 28_000
