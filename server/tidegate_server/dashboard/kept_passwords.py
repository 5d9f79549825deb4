"""A right password, kept by the browser until its reader has typed the one-time code.

The form holds it sealed: the page does not show it, and nobody but this server can open it.
"""

from __future__ import annotations

from typing import Final

from flask import request

from tidegate_server.dashboard.shell import now
from tidegate_server.web.backend import backend
from tidegate_server.web.sealed_text import seal, unseal

FIELD: Final = "kept"
SECONDS: Final = 300
"""How long it is kept."""


def keep(password: str, of: str) -> str:
    """Return what the form holds.

    Args:
        password: as typed.
        of: whose it is; for anybody else it cannot be opened.
    """
    text = f"{int(now().timestamp())} {password}"
    return seal(backend().settings.secret_key, _purpose(of), text)


def typed_or_kept(of: str) -> str:
    """Return the password of a form, typed or kept; empty: it has none, or kept it too long."""
    typed = request.form.get("password", "")
    sealed = request.form.get(FIELD, "")
    if typed or not sealed:
        return typed
    text = unseal(backend().settings.secret_key, _purpose(of), sealed) or "0 "
    at, _, password = text.partition(" ")
    return password if now().timestamp() - int(at) < SECONDS else ""


def _purpose(of: str) -> str:
    return f"password of {of}"
