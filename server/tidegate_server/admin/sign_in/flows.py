"""What this server remembers of a sign-in while its browser is at the identity provider.

It is sealed and kept by the browser, in a cookie that only this host gets. So nobody can go on with
a sign-in that another browser began, and strangers who begin many fill nothing here.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

import msgspec
from flask import Response, request

from tidegate_server.openid_connect.code_flow import FlowSecrets
from tidegate_server.web.sealed_text import seal, unseal

SECONDS = 600
SECURE_COOKIE = "__Host-tidegate-flow"
PLAIN_COOKIE = "tidegate-flow-http"
MAX_LENGTH = 4_000
PURPOSE = "sign-in flow"


@dataclass(frozen=True, slots=True)
class Flow:
    """A sign-in that has begun.

    Attributes:
        provider: the key of the identity provider.
        issuer: its issuer then.
        secrets: what has to come back.
        redirect_uri: where the browser comes back to.
        wanted: a path of this server, where it goes then.
        began_ms: when.
        invitation: the text of an invitation that the browser had; empty: none.
    """

    provider: str
    issuer: str
    secrets: FlowSecrets
    redirect_uri: str
    wanted: str
    began_ms: int
    invitation: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """Names the flow in the store, where it counts once."""
        return hashlib.sha256(self.secrets.state.encode()).hexdigest()[:32]

    def has_state(self, state: str) -> bool:
        """Return whether a state is that of the flow, in constant time."""
        return hmac.compare_digest(self.secrets.state.encode(), state.encode())


def keep_flow(response: Response, secret_key: bytes, flow: Flow) -> None:
    """Give the browser what it needs to go on with a sign-in."""
    response.set_cookie(
        _cookie_name(),
        seal(secret_key, PURPOSE, msgspec.json.encode(flow).decode()),
        max_age=SECONDS,
        path="/",
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )


def kept_flow(secret_key: bytes, now_ms: int) -> Flow | None:
    """Return the sign-in that the current request's browser began; None: none, or too long ago."""
    sealed = request.cookies.get(_cookie_name(), "")
    if not 0 < len(sealed) <= MAX_LENGTH:
        return None
    text = unseal(secret_key, PURPOSE, sealed)
    if text is None:
        return None
    flow = msgspec.json.decode(text, type=Flow)
    return flow if now_ms - flow.began_ms < SECONDS * 1000 else None


def forget_flow(response: Response) -> None:
    """Tell the browser to forget the sign-in."""
    response.delete_cookie(
        _cookie_name(), path="/", secure=request.is_secure, httponly=True, samesite="Lax"
    )


def _cookie_name() -> str:
    return SECURE_COOKIE if request.is_secure else PLAIN_COOKIE
