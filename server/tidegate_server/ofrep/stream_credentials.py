"""Credentials in the URLs of event streams, since browsers can send no header with them.

A credential reads ``<token id>.<version>.<expiry>.<signature>``. URLs end up in histories and
logs, so a credential only opens the stream of change events, for minutes, and only while its
token exists. Expiries move in steps, so that a URL stays the same for a while.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from tidegate_server.domain.tokens import Token
from tidegate_server.errors import Unauthenticated
from tidegate_server.web.authentication import Authenticator

_CREDENTIAL = re.compile(r"([0-9a-z]{1,32})\.([0-9]{1,18})\.([0-9]{1,12})\.([0-9a-f]{40})")

REFUSED = "This stream's URL has expired or is invalid; evaluate all flags again for a new one."


@dataclass(frozen=True, slots=True)
class StreamCredential:
    """The token that may open a stream, and the version that its client has seen."""

    token: Token
    last_seen: int


def expiry_step(now: float, lifetime: int) -> int:
    """Return the number of the current step of expiries; credentials change with it."""
    return int(now // lifetime)


def issue_credential(
    secret_key: bytes, token: Token, last_seen: int, now: float, lifetime: int
) -> str:
    """Return a credential that is valid for one to two lifetimes.

    Args:
        secret_key: the server's secret key.
        token: the client's token.
        last_seen: the version that the client has seen.
        now: seconds since the epoch.
        lifetime: in seconds.
    """
    expiry = (expiry_step(now, lifetime) + 2) * lifetime
    signed = f"{token.id}.{last_seen}.{expiry}"
    return f"{signed}.{_signature(secret_key, token, signed)}"


def token_id(credential: str) -> str | None:
    """Return the id of the token that a credential names, valid or not; None if it names none."""
    match = _CREDENTIAL.fullmatch(credential)
    return None if match is None else match[1]


def verify_credential(
    secret_key: bytes, credential: str, authenticator: Authenticator, now: float
) -> StreamCredential:
    """Verify a credential and return its contents.

    Raises:
        Unauthenticated: the credential is invalid or expired, or its token was deleted.
        RateLimited: it is invalid, and so were many others from this address.
    """
    match = _CREDENTIAL.fullmatch(credential)
    if match is None:
        raise Unauthenticated(REFUSED)
    id, last_seen, expiry, signature = match.groups()
    token = authenticator.token_by_id(id)
    signed = credential.rpartition(".")[0]
    if not hmac.compare_digest(_signature(secret_key, token, signed), signature):
        authenticator.count_guess(REFUSED)
        raise Unauthenticated(REFUSED)
    if now >= int(expiry):
        raise Unauthenticated(REFUSED)
    return StreamCredential(token, int(last_seen))


def _signature(secret_key: bytes, token: Token, signed: str) -> str:
    # With the digest: a new token under the same id does not accept old credentials.
    message = f"ofrep event stream\n{token.digest}\n{signed}"
    return hmac.new(secret_key, message.encode(), hashlib.sha256).hexdigest()[:40]
