"""The addresses and tokens that a person sets: what each may contain, for SDK, CLI and server.

They come from files, variables and copies, so white space and a byte-order mark around them are
dropped. Anything else that cannot be sent is a mistake in the settings: no retry helps.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from tidegate.errors import InvalidSetting

MAX_URL_LENGTH: Final = 2_000
MAX_HOST_LENGTH: Final = 253

_EXAMPLE: Final = "https://tidegate.example.com"
_LABEL: Final = "[0-9A-Za-z_-]{1,63}"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?(?::[0-9]*)?")
_BRACKETS: Final = re.compile(r"\[([0-9A-Fa-f:.]+)(?:%25[0-9A-Za-z._~-]+)?\](?::[0-9]*)?")
_KINDS: Final = {" ": "a space", "\n": "a line break", "\r": "a line break", "\t": "a tab"}


def split_url(url: str) -> SplitResult | None:
    """Return the parts of an HTTP or HTTPS URL, or None if no request can be sent to it."""
    if not 0 < len(url) <= MAX_URL_LENGTH or unsendable(url) is not None:
        return None
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.port != 0 and _is_host(parts)
    except ValueError:
        return None
    return parts if valid else None


def port_of(parts: SplitResult) -> int:
    """Return the port of an HTTP or HTTPS URL: without one in it, the usual one of its scheme."""
    return parts.port or (443 if parts.scheme == "https" else 80)


def server_address(text: object) -> str:
    """Return the address of a server, without white space around it and without a final slash.

    Raises:
        InvalidSetting: no request can be sent to it, or it has credentials, a query or a fragment.
    """
    url = trimmed(text, "URL")
    if not url:
        raise InvalidSetting(f"The URL is empty. Example: {_EXAMPLE}.")
    if (problem := unsendable(url)) is not None:
        fix = (
            "write the host in its xn-- form"
            if "outside ASCII" in problem
            else "check how you read it"
        )
        raise InvalidSetting(f"The URL contains {problem}; {fix}. Example: {_EXAMPLE}.")
    parts = split_url(url)
    if parts is not None and parts.username is not None:
        raise InvalidSetting(
            f"The URL contains a user name; leave it out, the token is enough. Example: {_EXAMPLE}."
        )
    if parts is None or parts.query or parts.fragment:
        shown = "The URL" if "@" in url else f"{url[:200]!r}"
        raise InvalidSetting(f"{shown} is not the address of a server. Example: {_EXAMPLE}.")
    return (parts.scheme + url[len(parts.scheme) :]).rstrip("/")


def token_text(text: object) -> str:
    """Return a token without white space around it.

    Raises:
        InvalidSetting: it is empty, or contains what no token contains; it is never shown.
    """
    token = trimmed(text, "token")
    if not token:
        raise InvalidSetting("The token is empty.")
    if (problem := unsendable(token)) is not None:
        raise InvalidSetting(
            f"The token contains {problem}, as no token does; copy it again (it is not shown here)."
        )
    return token


def trimmed(text: object, name: str) -> str:
    """Return a text without the white space and byte-order marks around it.

    Raises:
        InvalidSetting: it is not a text.
    """
    if not isinstance(text, str):
        raise InvalidSetting(f"The {name} is a {type(text).__name__}; it must be a str.")
    return text.strip().strip("\ufeff").strip()


def unsendable(text: str) -> str | None:
    """Return which character of a text cannot be sent in a token or a URL; None if all can."""
    for place, character in enumerate(text, 1):
        if not "!" <= character <= "~":
            code = f"U+{ord(character):04X}"
            kind = _KINDS.get(character) or (
                f"a character outside ASCII ({code})"
                if character > "\x7f"
                else f"a control character ({code})"
            )
            return f"{kind} at position {place}"
    return None


def _is_host(parts: SplitResult) -> bool:
    # The whole of it, as Python finds the brackets in ``0:[::]``, too, and other clients do not.
    host = parts.netloc.rpartition("@")[2]
    if match := _BRACKETS.fullmatch(host):
        return isinstance(ipaddress.ip_address(match[1]), ipaddress.IPv6Address)
    return len(parts.hostname or "") <= MAX_HOST_LENGTH and _HOST_NAME.fullmatch(host) is not None
