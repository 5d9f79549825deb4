"""Notices as mail: plain text, and the same as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from html import escape

from tidegate_server.webhooks.notices import Notice


def mail_message(
    notice: Notice, id: str, sender: str, recipients: Sequence[str], at_ms: int
) -> EmailMessage:
    """Return a message.

    Args:
        notice: what it says.
        id: the id of the delivery, the same at every attempt, so that a mail program that gets it
            twice shows it once.
        sender: the address in ``From``.
        recipients: the addresses in ``To``.
        at_ms: when it happened.
    """
    host = parseaddr(sender)[1].rpartition("@")[2]
    thread = f"<{notice.thread}@{host}>"
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = f"[Tidegate] {notice.title}"
    message["Date"] = formatdate(at_ms / 1_000, usegmt=True)
    message["Message-ID"] = f"<{id}@{host}>"
    message["In-Reply-To"] = message["References"] = thread
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail_text(notice))
    message.add_alternative(_html(notice), subtype="html")
    return message


def mail_text(notice: Notice) -> str:
    """Return the text of a mail."""
    lines = [notice.title, ""]
    if notice.reason:
        lines += [notice.reason, ""]
    lines += [f"{words}: {url}" for words, url in notice.links]
    lines += ["", f"{notice.by}, {notice.at}"]
    return "\n".join(lines) + "\n"


def _html(notice: Notice) -> str:
    reason = f"<p>{escape(notice.reason)}</p>" if notice.reason else ""
    links = "".join(
        f'<p><a href="{escape(url)}">{escape(words)}</a></p>' for words, url in notice.links
    )
    return (
        f"<p><strong>{escape(notice.title)}</strong></p>{reason}{links}"
        f"<p><small>{escape(notice.by)}, {escape(notice.at)}</small></p>"
    )
