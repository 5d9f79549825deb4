"""Mail through a server that the operator names, with TLS.

A mail server answers as HTTP does: a code of 2xx takes the message, 4xx and 5xx do not.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from enum import StrEnum

from tidegate_server.outbound.http_client import HttpResult
from tidegate_server.tls_contexts import tls_context


class MailTls(StrEnum):
    """How the connection to a mail server is encrypted.

    ``starttls`` begins in plain text and is refused if the server cannot switch; ``implicit`` is
    encrypted from its first byte; ``off`` is for a relay on the same machine.
    """

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class MailServer:
    """A mail server, and who sends through it.

    Attributes:
        sender: the address in ``From``.
        username: empty: no password is asked for.
    """

    host: str
    port: int
    sender: str
    tls: MailTls = MailTls.STARTTLS
    username: str = ""
    password: str = field(default="", repr=False)

    def send(
        self, message: EmailMessage, recipients: Sequence[str], timeout_s: float
    ) -> HttpResult:
        """Send a message. No exception is raised.

        Args:
            message: with its headers.
            recipients: each address gets it.
            timeout_s: the longest wait for each answer of the server, in seconds.

        Returns:
            The server's code as status. Its problem has no secrets and no addresses.
        """
        start = time.monotonic()
        status: int | None = None
        problem = detail = ""
        try:
            status = self._send(message, recipients, timeout_s)
        except smtplib.SMTPRecipientsRefused as error:
            status = max(code for code, _ in error.recipients.values())
        except smtplib.SMTPResponseException as error:
            status, detail = error.smtp_code, f"{type(error).__name__} {error.smtp_code}"
        except smtplib.SMTPNotSupportedError:
            problem = detail = "the mail server does not offer what its settings ask for"
        except (smtplib.SMTPException, OSError) as error:
            problem = f"no answer from the mail server in {timeout_s:g} s"
            detail = _plain(error)
        took_ms = round((time.monotonic() - start) * 1_000)
        return HttpResult(took_ms, status, problem=problem, detail=detail)

    def _send(self, message: EmailMessage, recipients: Sequence[str], timeout_s: float) -> int:
        connection = self._connect(timeout_s)
        try:
            if self.username:
                connection.login(self.username, self.password)
            refused = connection.send_message(message, self.sender, list(recipients))
        finally:
            with suppress(smtplib.SMTPException, OSError):
                connection.quit()
        # Some took it. To try again would send it to them twice.
        return 250 if len(refused) < len(recipients) else 550

    def _connect(self, timeout_s: float) -> smtplib.SMTP:
        context = tls_context()
        if self.tls is MailTls.IMPLICIT:
            return smtplib.SMTP_SSL(self.host, self.port, timeout=timeout_s, context=context)
        connection = smtplib.SMTP(self.host, self.port, timeout=timeout_s)
        if self.tls is MailTls.STARTTLS:
            try:
                connection.starttls(context=context)
            except (smtplib.SMTPException, OSError):
                connection.close()
                raise
        return connection


def _plain(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return "unknown host"
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
