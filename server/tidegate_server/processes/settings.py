"""The settings of `tidegate serve`: environment variables, each with an option of that name."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate_server.domain.network_addresses import PUBLIC_ONLY, AllowedNetworks, IPNetwork
from tidegate_server.errors import StartupRefused

if TYPE_CHECKING:
    from tidegate_server.outbound.mail_server import MailServer

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("console", "json")

DEFAULT_TRUSTED_PROXIES = "127.0.0.1,::1"
"""A proxy on the same machine. Whoever can connect from there is on the machine too."""

DEFAULT_REPORTS_PER_MINUTE = 100_000
"""25,000 instances with one token send 75,000 to each of two web processes, if evenly spread."""

DEFAULT_SESSION_IDLE = 12 * 3600
DEFAULT_SESSION_LIMIT = 7 * 24 * 3600
"""In seconds."""

FILE_SUFFIX = "_FILE"
"""At the end of a variable: the value is in the file that it names."""

IN_FILES = (
    "TIDEGATE_STORE_URL",
    "TIDEGATE_BOOTSTRAP_TOKEN",
    "TIDEGATE_SECRET_KEY",
    "TIDEGATE_PROMETHEUS_TOKEN",
    "TIDEGATE_SMTP_PASSWORD",
)
"""The settings that are secrets, or contain one; each may be in a file."""

KNOWN = frozenset(
    {
        *(name + FILE_SUFFIX for name in IN_FILES),
        "TIDEGATE_HOST",
        "TIDEGATE_PORT",
        "TIDEGATE_WORKERS",
        "TIDEGATE_DATA_DIR",
        "TIDEGATE_STORE_URL",
        "TIDEGATE_BOOTSTRAP_TOKEN",
        "TIDEGATE_SECRET_KEY",
        "TIDEGATE_TRUSTED_PROXIES",
        "TIDEGATE_REPORTS_PER_MINUTE",
        "TIDEGATE_CONNECTIONS_PER_ADDRESS",
        "TIDEGATE_SESSION_IDLE",
        "TIDEGATE_SESSION_LIMIT",
        "TIDEGATE_LOG_LEVEL",
        "TIDEGATE_LOG_FORMAT",
        "TIDEGATE_PROMETHEUS_URL",
        "TIDEGATE_PROMETHEUS_TOKEN",
        "TIDEGATE_WEBHOOK_NETWORKS",
        "TIDEGATE_PUBLIC_URL",
        "TIDEGATE_SMTP_SERVER",
        "TIDEGATE_SMTP_TLS",
        "TIDEGATE_SMTP_USERNAME",
        "TIDEGATE_SMTP_PASSWORD",
        "TIDEGATE_SMTP_FROM",
        "TIDEGATE_IDENTITY_PROVIDER_NETWORKS",
        "TIDEGATE_PASSWORD_SIGN_IN",
        # Read by the SDK and by the commands that call a server.
        "TIDEGATE_URL",
        "TIDEGATE_TOKEN",
        "TIDEGATE_APPLICATION",
        "TIDEGATE_PROJECT",
        "TIDEGATE_ENVIRONMENT",
        "TIDEGATE_CONTEXT",
        "TIDEGATE_CONFIG",
    }
)

KEY_FILE = "secret.key"
"""The file of the data folder with the secret key, if none is configured."""

MIN_KEY_LENGTH = 16


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The settings of one server.

    ``connections_per_address`` is None for a quarter of what a web process can hold.
    """

    host: str
    port: int
    workers: int
    data_dir: Path
    store_url: str | None
    bootstrap_token: str
    secret_key: str | None
    log_level: str
    log_format: str
    trusted_proxies: tuple[IPNetwork, ...] = ()
    reports_per_minute: int = DEFAULT_REPORTS_PER_MINUTE
    connections_per_address: int | None = None
    session_idle_seconds: int = DEFAULT_SESSION_IDLE
    session_seconds: int = DEFAULT_SESSION_LIMIT
    prometheus_url: str = ""
    prometheus_token: str = ""
    webhook_networks: AllowedNetworks = PUBLIC_ONLY
    public_url: str = ""
    mail_server: MailServer | None = None
    identity_provider_networks: AllowedNetworks = PUBLIC_ONLY
    password_sign_in: bool = True

    @property
    def bind(self) -> str:
        """The address to listen on, in gunicorn's form."""
        return _with_port(self.host, self.port)

    @property
    def url(self) -> str:
        """The server's URL on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{_with_port(host, self.port)}"


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_environment(environment: Mapping[str, str]) -> None:
    """Check the names of all ``TIDEGATE_`` variables.

    Raises:
        StartupRefused: a variable is unknown.
    """
    unknown = sorted(
        name for name in environment if name.startswith("TIDEGATE_") and name not in KNOWN
    )
    if unknown:
        similar = get_close_matches(unknown[0], KNOWN, n=1, cutoff=0.8)
        hint = f" Did you mean {similar[0]}?" if similar else ""
        if any(name.endswith(("_SERVICE_HOST", "_SERVICE_PORT")) for name in unknown):
            hint = (
                " Kubernetes sets such variables for Services: set enableServiceLinks: false in "
                "the pod's spec."
            )
        raise StartupRefused(
            f"Unknown setting {', '.join(unknown)}: correct the name or unset it "
            f"(`tidegate serve --help` lists the settings of a server).{hint}"
        )


def check_prometheus_url(url: str) -> str:
    """Return the URL of Prometheus, without white space around it, if it is valid or empty.

    Raises:
        StartupRefused: it is not an HTTP URL, or has a query, a fragment or credentials.
    """
    from tidegate.addresses import split_url, trimmed  # late: help needs no SDK

    url = trimmed(url, "URL of Prometheus")
    parts = split_url(url)
    if url and parts is None:
        raise StartupRefused(
            "TIDEGATE_PROMETHEUS_URL must be a URL such as http://prometheus:9090."
        )
    if parts is not None and (parts.query or parts.fragment or parts.username is not None):
        raise StartupRefused(
            "TIDEGATE_PROMETHEUS_URL must not have a query, a fragment or credentials. Policies "
            "contain the queries; set TIDEGATE_PROMETHEUS_TOKEN for credentials."
        )
    return url


def check_public_url(url: str) -> str:
    """Return where people open the dashboard, without a final slash, if it is valid or empty.

    Raises:
        StartupRefused: it is not an HTTP URL, or has a query, a fragment or credentials.
    """
    from tidegate.addresses import split_url, trimmed

    url = trimmed(url, "public URL").rstrip("/")
    parts = split_url(url)
    extra = parts is not None and (parts.query or parts.fragment or parts.username is not None)
    if url and (parts is None or extra):
        raise StartupRefused(
            "TIDEGATE_PUBLIC_URL must be the address that people open, such as "
            "https://flags.example.com, without a query or a user name."
        )
    return url


def check_prometheus_token(token: str) -> str:
    """Return the bearer token for Prometheus, without white space around it, if it is valid.

    Raises:
        StartupRefused: it has characters that a header cannot contain.
    """
    from tidegate.addresses import trimmed, unsendable

    token = trimmed(token, "token of Prometheus")
    if problem := unsendable(token):
        raise StartupRefused(
            f"TIDEGATE_PROMETHEUS_TOKEN contains {problem}, as no token does; check how you read "
            "it."
        )
    return token


def check_store_url(url: str) -> str:
    """Return the address of the store, without white space around it.

    Raises:
        StartupRefused: there is a control character, such as a line break, in it.
    """
    from tidegate.addresses import trimmed

    url = trimmed(url, "address of the store")
    if not url.isprintable():
        raise StartupRefused(
            "TIDEGATE_STORE_URL contains a line break or another control character; check how you "
            "read it (it is not shown here)."
        )
    return url


def parse_webhook_networks(text: str) -> AllowedNetworks:
    """Return the addresses that webhooks may have: public ones, and those of listed networks.

    Args:
        text: the networks, separated by commas; empty for none.

    Raises:
        StartupRefused: something in the list is not a network.
    """
    return AllowedNetworks(_parse_networks("TIDEGATE_WEBHOOK_NETWORKS", text))


def parse_identity_provider_networks(text: str) -> AllowedNetworks:
    """Return the addresses that identity providers may have; as ``parse_webhook_networks``."""
    return AllowedNetworks(_parse_networks("TIDEGATE_IDENTITY_PROVIDER_NETWORKS", text))


def parse_trusted_proxies(text: str) -> tuple[IPNetwork, ...]:
    """Return the addresses of proxies whose forwarded headers count.

    Args:
        text: addresses and networks, separated by commas; empty for none.

    Raises:
        StartupRefused: something in the list is not a network.
    """
    return _parse_networks("TIDEGATE_TRUSTED_PROXIES", text)


def _parse_networks(setting: str, text: str) -> tuple[IPNetwork, ...]:
    networks = text.split(",") if text.strip() else []
    return tuple(_parse_network(setting, each.strip()) for each in networks)


def _parse_network(setting: str, text: str) -> IPNetwork:
    from tidegate.evaluation.networks import parse_network

    try:
        return parse_network(text)
    except ValueError:
        pass
    try:
        hint = f" Did you mean {ip_network(text, strict=False)}?"
    except ValueError:
        hint = ""
    raise StartupRefused(
        f"{setting} must be networks separated by commas, such as "
        f"10.1.0.0/16,127.0.0.1/32; {text!r} is not a network.{hint}"
    )


def parse_session_time(setting: str, text: str) -> int:
    """Return the seconds of a session's limit, written as ``30m``, ``12h`` or ``7d``.

    Raises:
        StartupRefused: it is no such time, or not from 5 minutes to 90 days.
    """
    units = {"m": 60, "h": 3600, "d": 24 * 3600}
    text = text.strip()
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and len(number) < 6 and unit in units):
        raise StartupRefused(f"{setting} must be a time such as 30m, 12h or 7d; it is {text!r}.")
    seconds = int(number) * units[unit]
    if not 5 * 60 <= seconds <= 90 * 24 * 3600:
        raise StartupRefused(f"{setting} must be from 5m to 90d; it is {text}.")
    return seconds


def secret_key(configured: str | None, data_dir: Path) -> bytes:
    """Return the key of the tokens' digests; create it at the first start if none is configured.

    Raises:
        StartupRefused: the configured key is too short, or its file cannot be used.
    """
    if configured is not None:
        return check_secret_key(configured)
    path = data_dir / KEY_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _stored_key(path)
    except OSError as error:
        raise StartupRefused(
            f"{path} cannot be used: {error.strerror}. Set TIDEGATE_SECRET_KEY, or set "
            "TIDEGATE_DATA_DIR to a writable folder."
        ) from None


def check_secret_key(key: str) -> bytes:
    """Return a configured key; raise ``StartupRefused`` if it is too short."""
    if len(key.strip()) < MIN_KEY_LENGTH:
        raise StartupRefused(
            f"TIDEGATE_SECRET_KEY must have at least {MIN_KEY_LENGTH} characters; "
            "create one with `openssl rand -hex 32`."
        )
    return key.encode()


def _stored_key(path: Path) -> bytes:
    if not path.exists():
        # Written to another file first, so that a killed start leaves no incomplete key.
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another server was first; its key is used
        finally:
            Path(draft).unlink()
    return path.read_bytes().strip()
