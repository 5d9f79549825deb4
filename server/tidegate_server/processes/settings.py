"""What `tidegate serve` is told: environment variables, each with an option of the same name."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from tidegate_server.errors import StartupRefused
from tidegate_server.urls import split_url

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("console", "json")

KNOWN = frozenset(
    {
        "TIDEGATE_HOST",
        "TIDEGATE_PORT",
        "TIDEGATE_WORKERS",
        "TIDEGATE_DATA_DIR",
        "TIDEGATE_STORE_URL",
        "TIDEGATE_BOOTSTRAP_TOKEN",
        "TIDEGATE_SECRET_KEY",
        "TIDEGATE_LOG_LEVEL",
        "TIDEGATE_LOG_FORMAT",
        "TIDEGATE_PROMETHEUS_URL",
        "TIDEGATE_PROMETHEUS_TOKEN",
        # Read by the SDK and by the commands that talk to a server.
        "TIDEGATE_URL",
        "TIDEGATE_TOKEN",
        "TIDEGATE_PROJECT",
        "TIDEGATE_ENVIRONMENT",
        "TIDEGATE_CONTEXT",
        "TIDEGATE_CONFIG",
    }
)

SHORTEST_KEY = 16


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The settings of one server."""

    host: str
    port: int
    workers: int
    data_dir: Path
    store_url: str | None
    bootstrap_token: str
    secret_key: str | None
    log_level: str
    log_format: str
    prometheus_url: str = ""
    prometheus_token: str = ""

    @property
    def bind(self) -> str:
        """The address to listen on as gunicorn takes it."""
        return _with_port(self.host, self.port)

    @property
    def url(self) -> str:
        """The address that people on this machine reach the server at."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{_with_port(host, self.port)}"


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_environment(environment: Mapping[str, str]) -> None:
    """Stop the start over a setting that nobody would read.

    Raises:
        StartupRefused: a ``TIDEGATE_`` variable that does not exist.
    """
    unknown = sorted(name for name in environment if _ours(name) and name not in KNOWN)
    if unknown:
        near = get_close_matches(unknown[0], KNOWN, n=1, cutoff=0.8)
        meant = f" Is {near[0]} meant?" if near else ""
        raise StartupRefused(
            f"There is no setting {', '.join(unknown)}: correct the name or unset it "
            f"(`tidegate serve --help` lists those of a server).{meant}"
        )


def _ours(name: str) -> bool:
    return name.startswith("TIDEGATE_")


def prometheus_address(given: str) -> str:
    """Return the address of Prometheus, checked; empty for none.

    Raises:
        StartupRefused: it is no address of HTTP, or more than one.
    """
    parts = split_url(given)
    if given and parts is None:
        raise StartupRefused(
            "TIDEGATE_PROMETHEUS_URL must be an address such as http://prometheus:9090."
        )
    if parts is not None and (parts.query or parts.fragment or parts.username is not None):
        raise StartupRefused(
            "TIDEGATE_PROMETHEUS_URL is an address alone: a query is the policy's, and "
            "credentials are given as TIDEGATE_PROMETHEUS_TOKEN."
        )
    return given


def checked_token(given: str) -> str:
    """Return the bearer token for Prometheus, checked; empty for none.

    Raises:
        StartupRefused: it could not be sent.
    """
    if not all("!" <= character <= "~" for character in given):
        raise StartupRefused(
            "TIDEGATE_PROMETHEUS_TOKEN has spaces or line breaks within or around it, or "
            "other characters that no token has; check how it was read."
        )
    return given


def secret_key(given: str | None, data_dir: Path) -> bytes:
    """Return the key of the tokens' digests, made at the first start unless it was given.

    Raises:
        StartupRefused: the given key is too short, or the file cannot be used.
    """
    if given is not None:
        return checked_key(given)
    path = data_dir / "secret.key"
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _kept_key(path)
    except OSError as error:
        raise StartupRefused(
            f"{path} cannot be used: {error.strerror}. Give a TIDEGATE_SECRET_KEY, or a "
            "TIDEGATE_DATA_DIR that can be written to."
        ) from None


def checked_key(given: str) -> bytes:
    """A key that was given; raises ``StartupRefused`` when it is too short."""
    if len(given) < SHORTEST_KEY:
        raise StartupRefused(
            f"TIDEGATE_SECRET_KEY must have at least {SHORTEST_KEY} characters; "
            "`openssl rand -hex 32` makes a good one."
        )
    return given.encode()


def _kept_key(path: Path) -> bytes:
    if not path.exists():
        # Written whole under another name first: a start that is killed leaves no half key.
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another server was first, and its key is as good
        finally:
            Path(draft).unlink()
    return path.read_bytes().strip()
