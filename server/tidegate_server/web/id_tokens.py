"""ID tokens, kept sealed until a session ends: a provider asks for one when somebody signs out."""

from __future__ import annotations

from tidegate_server.web.sealed_text import seal, unseal

MAX_LENGTH = 8_000
"""A longer one is not kept; the provider then asks whether to sign out."""


def seal_id_token(secret_key: bytes, session: str, id_token: str) -> str:
    """Return an ID token as the store keeps it for the session with a digest; empty: too long."""
    return seal(secret_key, _purpose(session), id_token) if 0 < len(id_token) <= MAX_LENGTH else ""


def unseal_id_token(secret_key: bytes, session: str, sealed: str) -> str:
    """Return the ID token of the session with a digest; empty: there is none."""
    return (unseal(secret_key, _purpose(session), sealed) or "") if sealed else ""


def _purpose(session: str) -> str:
    return f"ID token of session {session}"
