"""Notices as the incoming webhooks of Slack, Microsoft Teams and Discord take them.

Texts of people and of releases are never markup: nobody can name a channel, mention people or hide
an address behind other words by what they type as a reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tidegate_server.webhooks.notices import Mood, Notice

MAX_TEAMS_TEXT = 5_000
MAX_DISCORD_TITLE, MAX_DISCORD_TEXT = 256, 4_000
MAX_SLACK_TEXT = 2_900
"""The longest texts that they show, in characters; a section of Slack has at most 3,000."""


def slack_body(notice: Notice) -> dict[str, Any]:
    """Return a message for Slack; others that read only its ``text`` miss nothing."""
    head, reason, by = map(_for_slack, (notice.headline, notice.reason, notice.by))
    if notice.about:
        head = f"*{_for_slack(notice.about)}* in {_for_slack(notice.place)}: {head}"
    links = [f"<{_for_slack(url)}|{words}>" for words, url in notice.links]
    quoted = f">{_shortened(reason, MAX_SLACK_TEXT)}" if reason else ""
    foot = ", ".join(filter(None, (by, notice.thread))) if notice.about else ""
    lines = [head, quoted, f"_{foot}_" if foot else "", " · ".join(links)]
    sections = [head if not quoted else f"{head}\n{quoted}"]
    blocks = [_slack_section(text) for text in sections]
    small = [text for text in (foot, *links) if text]
    if small:
        elements = [{"type": "mrkdwn", "text": " · ".join(small)}]
        blocks.append({"type": "context", "elements": elements})
    return {"text": "\n".join(filter(None, lines)), "blocks": blocks, "unfurl_links": False}


def _slack_section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _for_slack(text: str) -> str:
    """Return a text on one line without characters that are markup in Slack."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


TEAMS_STYLES: Mapping[Mood, tuple[str, str]] = {
    "good": ("good", "Good"),
    "warn": ("warning", "Warning"),
    "bad": ("attention", "Attention"),
    "plain": ("default", "Default"),
}
"""The style of the container and the colour of the headline."""


def teams_body(notice: Notice) -> dict[str, Any]:
    """Return a message with an Adaptive Card, for a workflow that posts what its webhook gets."""
    style, colour = TEAMS_STYLES[notice.mood]
    heading = f"{notice.about} in {notice.place}" if notice.about else "Tidegate"
    body: list[dict[str, Any]] = [
        {
            "type": "Container",
            "style": style,
            "bleed": True,
            "items": [
                _teams_text(heading, weight="Bolder", size="Medium"),
                _teams_text(notice.headline, color=colour, weight="Bolder"),
            ],
        }
    ]
    if notice.reason:
        body.append(_teams_text(_shortened(notice.reason, MAX_TEAMS_TEXT)))
    body.append(_teams_text(f"{notice.by}, {notice.at}", isSubtle=True, size="Small"))
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": notice.title,
        "body": body,
        "actions": [
            {"type": "Action.OpenUrl", "title": words, "url": url} for words, url in notice.links
        ],
        "msteams": {"width": "Full"},
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def _teams_text(text: str, **look: Any) -> dict[str, Any]:
    """Return a text that is not read as Markdown, as a text block would be."""
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **look}]}


DISCORD_COLOURS: Mapping[Mood, int] = {
    "good": 0x14703F,
    "warn": 0x8A5200,
    "bad": 0xB3261E,
    "plain": 0x0B7593,
}

_DISCORD_MARKUP = re.compile(r"([\\`*_~|<>\[\]()#:@-])")


def discord_body(notice: Notice) -> dict[str, Any]:
    """Return a message with an embed; it mentions nobody."""
    lines = [_for_discord(notice.reason)] if notice.reason else []
    lines += [f"[{words}]({url})" for words, url in notice.links]
    embed: dict[str, Any] = {
        "title": _shortened(_for_discord(notice.title), MAX_DISCORD_TITLE),
        "description": _shortened("\n".join(lines), MAX_DISCORD_TEXT),
        "color": DISCORD_COLOURS[notice.mood],
        "timestamp": notice.at,
        "footer": {"text": ", ".join((notice.by, notice.thread))},
    }
    if notice.links:
        embed["url"] = notice.links[0][1]
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def _for_discord(text: str) -> str:
    return _DISCORD_MARKUP.sub(r"\\\1", text)


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
