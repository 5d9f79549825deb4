"""Why a change is made: the header ``Tidegate-Reason``, and where it may not be missing.

Requests whose body has a field ``reason`` may give it there instead.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from flask import request

from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import FieldProblem, Invalid, ReasonRequired
from tidegate_server.visible_text import INVISIBLE, code_point
from tidegate_server.web.backend import backend

HEADER = "Tidegate-Reason"
MAX_REASON = 1_000
"""The longest reason, in characters."""


def current_reason(in_body: str = "", *, emergency: bool = False) -> str:
    """Return the reason that the current request gives for its change.

    Args:
        in_body: the reason in the body, if the body has such a field.
        emergency: the change stops something, so it may always be made without a reason.

    Raises:
        Invalid: the header cannot be read, or the body gives another reason.
        ReasonRequired: there is no reason, and an environment that the change concerns requires
            one.
    """
    in_header = text_in_header(HEADER)
    if in_header and in_body and in_header != in_body:
        raise Invalid(
            f"The header {HEADER} and the field reason of the body give two reasons; send one.",
            FieldProblem("/reason", f"This differs from the header {HEADER}; leave one out."),
        )
    reason = in_header or in_body
    if not emergency and not reason.strip():
        _refuse_where_required()
    return reason


def reason_header(reason: str) -> dict[str, str]:
    """Return the header that gives a reason."""
    return {HEADER: quote(reason)}


def text_in_header(name: str) -> str:
    """Return the text of a header of the current request; empty if there is none.

    Raises:
        Invalid: it is not percent-encoded UTF-8, is too long, or has an invisible character.
    """
    header = request.headers.get(name, "")
    try:
        # WSGI passes the bytes of a header as Latin-1.
        text = unquote(header.encode("latin-1").decode("utf-8"), errors="strict").strip()
    except UnicodeError:
        raise Invalid(
            f"The header {name} is not UTF-8. Send it as percent-encoded UTF-8."
        ) from None
    if len(text) > MAX_REASON:
        raise Invalid(
            f"The header {name} has {len(text):,} characters; a reason has at most "
            f"{MAX_REASON:,}. Shorten it."
        )
    if match := INVISIBLE.search(text):
        raise Invalid(
            f"The header {name} has the invisible character {code_point(match[0])}; remove it."
        )
    return text


def _refuse_where_required() -> None:
    """Raise ``ReasonRequired`` if an environment that the request concerns requires a reason.

    A path without an environment is of something that all environments of the project share.
    """
    path = request.view_args or {}
    project, environment = path.get("project"), path.get("environment")
    if project is None:
        return
    store = backend().store
    if environment is not None:
        stored = store.get(project, Address(Kind.ENVIRONMENT, environment))
        requiring = [environment] if stored is not None and stored.document.require_reason else []
    else:
        everywhere = store.all(project, Kind.ENVIRONMENT)
        requiring = sorted(key for key, each in everywhere.items() if each.document.require_reason)
    if requiring:
        raise ReasonRequired(
            f"Environment {requiring[0]!r} requires a reason for every change. Send the header "
            f"{HEADER}; on the command line use --reason."
        )
