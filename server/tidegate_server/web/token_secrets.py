"""The secret side of tokens: making them, reading them, comparing them.

A token reads ``tg_<role>_<id>_<secret>``. The store keeps the id and an HMAC of the secret,
so that neither a copy of the store nor a guess of ids gives access.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

from tidegate_server.domain.tokens import Role

ID_BYTES = 6
SECRET_BYTES = 24
BOOTSTRAP_ID = "bootstrap"

FREE_FORM = re.compile(r"[!-~]{20,200}")
"""A token that an operator thought up: printable ASCII, long enough not to be guessed."""

_FORM = re.compile(r"tg_(admin|writer|reader|sdk|client)_([0-9a-z]{1,32})_([0-9A-Za-z_-]{16,160})")


@dataclass(frozen=True, slots=True)
class Presented:
    """A token as someone presents it. Its secret is not shown by ``repr``."""

    id: str
    secret: str = field(repr=False)


def new_id() -> str:
    """An id that no other token has."""
    return secrets.token_hex(ID_BYTES)


def new_secret() -> str:
    """A secret of 192 bits."""
    return secrets.token_hex(SECRET_BYTES)


def written(role: Role, id: str, secret: str) -> str:
    """The token as its owner gets it, once."""
    return f"tg_{role.value}_{id}_{secret}"


def read(token: str) -> Presented | None:
    """The id and the secret of a token; None for what cannot be one.

    A token that does not begin with ``tg_`` can only be the one that the operator gave for
    the first start.
    """
    if found := _FORM.fullmatch(token):
        return Presented(found[2], found[3])
    if FREE_FORM.fullmatch(token) and not token.startswith("tg_"):
        return Presented(BOOTSTRAP_ID, token)
    return None


def digest(secret_key: bytes, secret: str) -> str:
    """What the store keeps of a secret: hex HMAC-SHA256."""
    return hmac.new(secret_key, secret.encode(), hashlib.sha256).hexdigest()


def matches(secret_key: bytes, secret: str, kept: str) -> bool:
    """Whether a secret is the one that was kept, in time that tells nothing."""
    return hmac.compare_digest(digest(secret_key, secret), kept)


def fingerprint(secret_key: bytes) -> str:
    """What tells one secret key from another without giving it away: 16 hex digits."""
    return hmac.new(secret_key, b"tidegate secret key fingerprint", hashlib.sha256).hexdigest()[:16]
