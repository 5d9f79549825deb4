"""What opens an event stream instead of a token: browsers can send a stream no header.

``<token's id>.<version>.<expiry>.<signature>``. It stands in an address, which ends up in
histories and logs, so it opens nothing but the stream of notices, for minutes, and only while
its token exists. The expiry moves in steps, so that an address stays the same for a while.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from tidegate_server.domain.tokens import Token
from tidegate_server.errors import Unauthenticated
from tidegate_server.web.access_control import Authenticator

_FORM = re.compile(r"([0-9a-z]{1,32})\.([0-9]{1,18})\.([0-9]{1,12})\.([0-9a-f]{40})")

REFUSED = "This stream's address is not valid any more; the next bulk evaluation names a new one."


@dataclass(frozen=True, slots=True)
class StreamCredential:
    """Who may open a stream, and the version that they have seen."""

    token: Token
    since: int


def step(now: float, lifetime: int) -> int:
    """The number of the present step of expiries; credentials differ between steps."""
    return int(now // lifetime)


def issue(secret_key: bytes, token: Token, since: int, now: float, lifetime: int) -> str:
    """A credential that is good for one to two lifetimes.

    Args:
        secret_key: the server's.
        token: the token for which it stands.
        since: the version that the token's owner has seen.
        now: seconds since the epoch.
        lifetime: in seconds.
    """
    expiry = (step(now, lifetime) + 2) * lifetime
    signed = f"{token.id}.{since}.{expiry}"
    return f"{signed}.{_signature(secret_key, token, signed)}"


def read(
    secret_key: bytes, presented: str, authenticator: Authenticator, now: float
) -> StreamCredential:
    """Who presents a credential; raises ``Unauthenticated`` when it is not good."""
    found = _FORM.fullmatch(presented)
    if found is None:
        raise Unauthenticated(REFUSED)
    id, since, expiry, signature = found.groups()
    token = authenticator.token_by_id(id)
    signed = presented.rpartition(".")[0]
    if not hmac.compare_digest(_signature(secret_key, token, signed), signature):
        raise Unauthenticated(REFUSED)
    if now >= int(expiry):
        raise Unauthenticated(REFUSED)
    return StreamCredential(token, int(since))


def _signature(secret_key: bytes, token: Token, signed: str) -> str:
    # The digest is secret, and another one after the token's id was given again.
    message = f"ofrep event stream\n{token.digest}\n{signed}"
    return hmac.new(secret_key, message.encode(), hashlib.sha256).hexdigest()[:40]
