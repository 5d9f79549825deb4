"""The text of tokens and the digests of their secrets.

A token reads ``tg_<role>_<id>_<secret>``. The store keeps the id and an HMAC of the secret, so
neither a copy of the store nor a guessed id gives access.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

from tidegate_server.domain.permissions import Role

ID_BYTES = 6
SECRET_BYTES = 24
BOOTSTRAP_ID = "bootstrap"

FREE_FORM_LENGTHS = (20, 200)
FREE_FORM = re.compile("[!-~]{{{},{}}}".format(*FREE_FORM_LENGTHS))
"""A token that an operator chose: printable ASCII, too long to guess."""

_TOKEN = re.compile(
    rf"tg_({'|'.join(role.value for role in Role)})_([0-9a-z]{{1,32}})_([0-9A-Za-z_-]{{16,160}})"
)


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """The id and secret of a token's text. ``repr`` does not show the secret."""

    id: str
    secret: str = field(repr=False)


def new_id() -> str:
    """Return a new unique id."""
    return secrets.token_hex(ID_BYTES)


def new_secret() -> str:
    """Return a new secret of 192 bits."""
    return secrets.token_hex(SECRET_BYTES)


def format_token(role: Role, id: str, secret: str) -> str:
    """Return the text of a token. Its owner sees it once."""
    return f"tg_{role.value}_{id}_{secret}"


def parse_token(text: str) -> ParsedToken | None:
    """Return the id and secret of a token; None if the text is no token.

    A text that does not begin with ``tg_`` can only be the bootstrap token that the operator
    chose.
    """
    if match := _TOKEN.fullmatch(text):
        return ParsedToken(match[2], match[3])
    if FREE_FORM.fullmatch(text) and not text.startswith("tg_"):
        return ParsedToken(BOOTSTRAP_ID, text)
    return None


def secret_digest(secret_key: bytes, secret: str) -> str:
    """Return the digest of a secret that the store keeps: hex HMAC-SHA256."""
    return hmac.new(secret_key, secret.encode(), hashlib.sha256).hexdigest()


def same_digest(one: str, other: str) -> bool:
    """Return whether two digests are the same, in constant time."""
    return hmac.compare_digest(one, other)


def secret_matches(secret_key: bytes, secret: str, digest: str) -> bool:
    """Return whether a secret has a digest, in constant time."""
    return same_digest(secret_digest(secret_key, secret), digest)


def fingerprint(secret_key: bytes) -> str:
    """Return 16 hex digits that identify a secret key without revealing it."""
    return hmac.new(secret_key, b"tidegate secret key fingerprint", hashlib.sha256).hexdigest()[:16]
