"""The settings of the mail server through which messages to people go."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parseaddr
from typing import TYPE_CHECKING

from tidegate_server.errors import StartupRefused

if TYPE_CHECKING:
    from tidegate_server.outbound.mail_server import MailServer

TLS = ("starttls", "implicit", "off")
PORTS = {"starttls": 587, "implicit": 465, "off": 25}
NAMES = ("SERVER", "TLS", "USERNAME", "PASSWORD", "FROM")


def check_mail_server(
    server: str, tls: str, username: str, password: str, sender: str
) -> MailServer | None:
    """Return the mail server; None: there is none.

    Args:
        server: the host, and its port unless it is the usual one: ``smtp.example.com:587``.
        tls: one of ``TLS``.
        username: empty: the server asks for no password.
        password: of that user.
        sender: the address in ``From``.

    Raises:
        StartupRefused: a setting is missing or malformed.
    """
    from tidegate_server.outbound.mail_server import MailServer, MailTls

    server, sender, username = server.strip(), sender.strip(), username.strip()
    if not server:
        if sender or username or password:
            raise StartupRefused(
                "TIDEGATE_SMTP_SERVER is missing: the other TIDEGATE_SMTP_ settings belong to it."
            )
        return None
    host, _, port = server.rpartition(":")
    if not host:
        host, port = server, str(PORTS[tls])
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536) or not _is_host(host):
        raise StartupRefused(
            "TIDEGATE_SMTP_SERVER must be a host, and its port after a colon, such as "
            f"smtp.example.com:587; it is {server!r}."
        )
    if "@" not in parseaddr(sender)[1] or not sender.isprintable():
        raise StartupRefused(
            "TIDEGATE_SMTP_FROM must be the address that mail comes from, such as "
            f"tidegate@example.com; it is {sender!r}."
        )
    if username and tls == "off" and host not in ("localhost", "127.0.0.1", "[::1]"):
        raise StartupRefused(
            "TIDEGATE_SMTP_TLS=off would send the password of TIDEGATE_SMTP_USERNAME in plain "
            "text. Use starttls or implicit."
        )
    return MailServer(host.strip("[]"), int(port), sender, MailTls(tls), username, password)


def _is_host(text: str) -> bool:
    return text.isascii() and text.isprintable() and not set(text) & set(" /@?#")


def mail_environment(server: MailServer | None) -> dict[str, str]:
    """Return the variables that give a process the mail server."""
    values = ("", "starttls", "", "", "")
    if server is not None:
        host = f"[{server.host}]" if ":" in server.host else server.host
        values = (
            f"{host}:{server.port}",
            server.tls.value,
            server.username,
            server.password,
            server.sender,
        )
    return {f"TIDEGATE_SMTP_{name}": value for name, value in zip(NAMES, values, strict=True)}


def mail_server_in(environment: Mapping[str, str]) -> MailServer | None:
    """Return the mail server that ``mail_environment`` wrote down."""
    return check_mail_server(*(environment[f"TIDEGATE_SMTP_{name}"] for name in NAMES))
