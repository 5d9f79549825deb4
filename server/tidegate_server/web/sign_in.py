"""Begin and end the sessions of people.

Every way to sign in ends here: a password, an invitation, a provider.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

import structlog
from flask import Response, g, request

from tidegate_server.domain.change import Audit, Change
from tidegate_server.domain.people import Person
from tidegate_server.domain.sessions import Session
from tidegate_server.visible_text import escape_invisible
from tidegate_server.web import session_cookies, token_secrets
from tidegate_server.web.backend import backend
from tidegate_server.web.caller_address import current_address
from tidegate_server.web.id_tokens import seal_id_token
from tidegate_server.web.trusted_proxies import parse_address

MAX_DEVICE = 200
LOCAL = tuple(ip_address(each) for each in ("127.0.0.1", "::1"))

log = structlog.stdlib.get_logger("tidegate_server.api")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person who has just signed in.

    Attributes:
        person: who.
        session: the new session.
        csrf_token: what changes by this session must send.
        secret: the value of the cookie.
    """

    person: Person
    session: Session
    csrf_token: str = field(repr=False)
    secret: str = field(repr=False)


def sign_in(
    person: Person, method: str, *, provider: str = "", reference: str = "", id_token: str = ""
) -> SignedIn:
    """Begin a session of a person for the current request's browser, and note it in the audit log.

    The caller has checked who it is, and that they are active. The browser gets a new secret, and
    a session that it had before ends. Answer with ``with_session``.

    Args:
        person: who.
        method: how they proved it, as in ``Session``.
        provider: the key of the identity provider; empty: there was none.
        reference: what the provider calls the session.
        id_token: what the provider signed; kept sealed until the session ends.
    """
    services = backend()
    store, settings = services.store, services.settings
    end_current_session()
    secret, now_ms = session_cookies.new_session_secret(), store.now_ms()
    session = Session(
        id=token_secrets.new_id(),
        digest=session_cookies.session_digest(settings.secret_key, secret),
        person=person.id,
        method=method,
        began_ms=now_ms,
        last_seen_ms=now_ms,
        expires_ms=now_ms + int(settings.session_seconds * 1000),
        idle_ms=int(settings.session_idle_seconds * 1000),
        address=current_address(),
        device=_device(),
        reference=reference,
        provider=provider,
    )
    if not request.is_secure and parse_address(session.address) not in LOCAL:
        log.warning(
            "signed_in_without_https",
            address=session.address,
            fix="put a proxy with TLS in front of the server, and name it in "
            "TIDEGATE_TRUSTED_PROXIES; everybody on the network can read this session's cookie",
        )
    sealed = seal_id_token(settings.secret_key, session.digest, id_token)
    store.sessions.begin(session, now_ms, sealed)
    details = {"method": method, "session": session.id}
    if provider:
        details["provider"] = provider
    note_in_audit(person.audit_name, "person.sign_in", person.id, **details)
    csrf_token = session_cookies.csrf_token(settings.secret_key, secret)
    return SignedIn(person, session, csrf_token, secret)


def with_session(response: Response, signed_in: SignedIn) -> Response:
    """Return a response that gives the browser the cookie of a new session."""
    left_ms = signed_in.session.expires_ms - signed_in.session.began_ms
    session_cookies.set_session_cookie(response, signed_in.secret, left_ms // 1000)
    return response


def sign_out(person: Person) -> None:
    """End the session of the current request; delete its cookie with the response."""
    end_current_session()
    note_in_audit(person.audit_name, "person.sign_out", person.id)


def end_sessions(sessions: Iterable[Session], actor: str, reason: str = "") -> None:
    """End sessions before their time, and note it in the audit log; all are of one person."""
    ended = list(sessions)
    if not ended:
        return
    backend().store.sessions.end(ended)
    ids = ", ".join(each.id for each in ended)
    note_in_audit(actor, "session.revoke", ended[0].person, reason, sessions=ids)


def end_current_session() -> None:
    """End the session that the current request's cookie names, if there is one."""
    secret = session_cookies.session_secret()
    if secret is None:
        return
    services = backend()
    digest = session_cookies.session_digest(services.settings.secret_key, secret)
    session = services.store.sessions.get(digest)
    if session is not None:
        services.store.sessions.end([session])
        g.session = None


def note_in_audit(actor: str, action: str, target: str, reason: str = "", **details: str) -> None:
    """Add an entry to the server's audit log that changes no document."""
    audit = Audit(actor, action, target, reason=reason, details=details, address=current_address())
    backend().store.commit(Change("", (), audit=audit))


def _device() -> str:
    return escape_invisible(request.headers.get("User-Agent", ""))[:MAX_DEVICE]
