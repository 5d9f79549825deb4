"""A mail server that records the messages it receives, with or without TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope


@dataclass
class MailReceiver:
    """The mail that arrived; ``answers`` are given instead of taking the next messages."""

    port: int = 0
    received: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)

    async def handle_DATA(  # noqa: N802 - the name that the server calls
        self, _server: Any, _session: Any, envelope: Envelope
    ) -> str:
        if self.answers:
            return self.answers.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.received.append((list(envelope.rcpt_tos), message))
        return "250 taken"

    def authenticate(self, *about: Any) -> AuthResult:
        given = about[-1]
        self.logins.append((given.login.decode(), given.password.decode()))
        return AuthResult(success=given.password == b"the right password")


def server_context(certificate: Path) -> ssl.SSLContext:
    """Return the side of a server with a certificate and its key in one file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@contextmanager
def mail_receiver(certificate: Path | None = None, *, asks: bool = False) -> Iterator[MailReceiver]:
    """Run a mail server on a free port.

    Args:
        certificate: it asks for STARTTLS with this one; None: it offers no TLS.
        asks: whether it asks for a password.
    """
    receiver = MailReceiver()
    options: dict[str, Any] = {}
    if asks:
        options = {"auth_required": True, "authenticator": receiver.authenticate}
    with socket.create_server(("127.0.0.1", 0)) as found:
        receiver.port = found.getsockname()[1]
    if certificate is not None:
        options |= {"tls_context": server_context(certificate), "require_starttls": True}
    controller = Controller(receiver, "127.0.0.1", receiver.port, **options)
    controller.start()
    try:
        yield receiver
    finally:
        controller.stop()
