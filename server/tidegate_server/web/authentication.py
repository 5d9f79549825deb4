"""Whose request this is: tokens and people, checked without asking the store.

Each process keeps all tokens, people, groups and roles in memory and looks once per
``ApiSettings.token_poll_seconds`` whether any changed, so a revoked token or role stops working
within about that time. While the store cannot be reached, those last read go on working.
``sessions`` are kept in the same way, but only those in use.

Threads: ``Authenticator`` owns one daemon thread (a greenlet under gevent), which begins with the
first request and ends when there were no requests for a while. ``_lock`` is held while tokens are
read. A check reads one reference, which a new reading replaces as a whole.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache

import structlog
from flask import g, request

from tidegate_server.domain.callers import Caller, token_caller
from tidegate_server.domain.people import (
    ACCESS_KINDS,
    AccessDocuments,
    Person,
    personal_caller,
)
from tidegate_server.domain.sessions import Session
from tidegate_server.domain.tokens import Token, TokenUse
from tidegate_server.errors import Forbidden, StoreUnavailable, Unauthenticated
from tidegate_server.store import Store, removal
from tidegate_server.store.refused_requests import RefusedRequest
from tidegate_server.web import session_cookies, token_secrets
from tidegate_server.web.failed_secrets import FailedSecrets
from tidegate_server.web.session_cache import SessionCache
from tidegate_server.web.settings import ApiSettings
from tidegate_server.web.trusted_proxies import parse_address

SERVER = ""
"""The scope of what belongs to the server itself."""

MAX_VERIFIED = 1_000
IDLE_SECONDS = 60.0
REFUSAL_SECONDS = 0.1
"""The least time between two notes of refused requests; those between are not noted."""

USES_SECONDS = 60.0
"""How often the last uses of tokens are written down."""

UNKNOWN_SECONDS = 0.05
"""The least time between two looks for tokens that are not known yet; guesses wait for it."""

NO_TOKEN = "Send the header Authorization: Bearer <token>; `tidegate token create` makes one."  # noqa: S105
NO_SESSION = "This session has ended; sign in again."
NOT_ACTIVE = "This person may not use the server any more; ask an admin."
UNKNOWN_TOKEN = "This token is unknown or was deleted; ask an admin for a new one."  # noqa: S105

log = structlog.stdlib.get_logger("tidegate_server.api")


class _UnknownToken(Unauthenticated):
    """No token has this text; it may be a guess."""


@dataclass(frozen=True, slots=True)
class _Known:
    """All tokens and people, and the position of the server's audit log when they were read."""

    position: str
    by_id: Mapping[str, Token]
    access: AccessDocuments


class Authenticator:
    """Authenticates tokens and sessions.

    Args:
        store: where they are.
        settings: the key of their digests, and how often to look for changes.
    """

    def __init__(self, store: Store, settings: ApiSettings) -> None:
        self._store = store
        self._settings = settings
        self._known: _Known | None = None
        self._sessions = SessionCache()
        self._failed = FailedSecrets(store)
        self._verified: dict[str, tuple[str, str]] = {}
        """The ids and digests of texts that were verified, so that each HMAC is computed once."""
        self._uses: dict[str, TokenUse] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._asked_at = 0.0
        self._looked_at = 0.0
        self._noted_at = 0.0

    def caller_from_request(self) -> Caller:
        """Return who makes the current request: with a token, or with the cookie of a session.

        ``g.session`` is the session; None: there is none.

        Raises:
            Unauthenticated: there is neither, or it does not work.
            RateLimited: as ``token_from_request`` raises it.
            Forbidden: the token may not be used from this address, or a change by a session is
                not known to come from this server's own pages.
        """
        g.session = None
        if "Authorization" in request.headers:
            return self.caller_of(self.token_from_request())
        secret = session_cookies.session_secret()
        if secret is None:
            raise Unauthenticated(NO_TOKEN)
        session = self.session(secret)
        g.session, g.session_id = session, session.id
        if request.method not in session_cookies.SAFE_METHODS:
            session_cookies.require_own_page(self._settings.secret_key, secret)
        return self.caller_of_person(session.person)

    def caller_of(self, token: Token) -> Caller:
        """Return the caller that a token stands for at present.

        Raises:
            Unauthenticated: it is the own token of a person who is not active any more.
        """
        if not token.person:
            return token_caller(token)
        access = self.access()
        return personal_caller(token, _active_person(access, token.person), access)

    def caller_of_person(self, id: str) -> Caller:
        """Return the caller that a person is at present.

        Raises:
            Unauthenticated: there is no such person, or they are not active any more.
        """
        access = self.access()
        return access.caller(_active_person(access, id))

    def access(self) -> AccessDocuments:
        """Return who may do what, as it was at most two polls ago."""
        return self._tokens().access

    def session(self, secret: str) -> Session:
        """Return the session with a secret, and note that it is used.

        Raises:
            Unauthenticated: it has ended.
        """
        access = self.access()
        digest = session_cookies.session_digest(self._settings.secret_key, secret)
        now_ms = _now_ms()
        session = self._sessions.get(digest, now_ms) or self._store.sessions.get(digest)
        if session is None or session.ends_ms <= now_ms:
            raise Unauthenticated(NO_SESSION)
        credential = access.credentials.get(session.person)
        if credential is None:
            credential = self._tokens_since(time.monotonic()).access.credentials.get(session.person)
        if credential is None or session.began_ms < credential.document.sessions_from_ms:
            raise Unauthenticated(NO_SESSION)
        if session.provider and not self._provider_has(session):
            raise Unauthenticated(NO_SESSION)
        self._sessions.use(digest, session, now_ms)
        return session

    def _provider_has(self, session: Session) -> bool:
        """Return whether sessions with the identity provider of this one have not ended."""
        stored = self.access().providers.get(session.provider)
        if stored is None:
            stored = self._tokens_since(time.monotonic()).access.providers.get(session.provider)
        if stored is None or not stored.document.enabled:
            return False
        return session.began_ms >= int(stored.document.sessions_from_ms)

    def token_from_request(self, key_header: str | None = None) -> Token:
        """Return the token in the request's ``Authorization`` header.

        Args:
            key_header: another header that may hold the token, read if ``Authorization`` is
                missing.

        Raises:
            Unauthenticated: there is no token, or it does not work.
            RateLimited: it does not work, and neither did many others from this address.
            Forbidden: the token may not be used from this address.
        """
        authorization = request.headers.get("Authorization")
        if authorization is None and key_header is not None:
            key = request.headers.get(key_header, "").strip()
            if key:
                return self._authenticate_request(key)
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise Unauthenticated(NO_TOKEN)
        return self._authenticate_request(text.strip())

    def _authenticate_request(self, text: str) -> Token:
        """Authenticate the current request, and keep the id that the token names for the log.

        The id is no secret; a token that is refused has one too.
        """
        parsed = token_secrets.parse_token(text)
        g.token_id = parsed.id if parsed is not None else None
        try:
            token = self.authenticate(text)
        except _UnknownToken as error:
            self.count_guess(error.message)
            raise
        self.admit_from(token, request.remote_addr)
        return token

    def count_guess(self, problem: str) -> None:
        """Count a secret of the current request that does not work.

        Args:
            problem: what is wrong with it.

        Raises:
            RateLimited: neither did many others from this address.
        """
        self._failed.count(request.remote_addr or "", problem)

    @contextmanager
    def noting_refusals(self) -> Iterator[None]:
        """Note why the current request of an application is refused, if it is."""
        try:
            yield
        except (Unauthenticated, Forbidden) as error:
            now = time.monotonic()
            if now - self._noted_at >= REFUSAL_SECONDS:
                self._noted_at = now
                with suppress(StoreUnavailable):
                    self._store.refused_requests.note(self._refused(error.message), _now_ms())
            raise

    def _refused(self, detail: str) -> RefusedRequest:
        address = request.remote_addr or ""
        token = self._tokens().by_id.get(g.get("token_id") or "")
        if token is None:
            return RefusedRequest(address, detail)
        return RefusedRequest(
            address, detail, token.name, token.project or "", token.environment or ""
        )

    def admit_from(self, token: Token, address: str | None) -> None:
        """Note that a token is used from an address.

        Raises:
            Forbidden: it may not be used from there.
        """
        if token.networks and not _is_within(address, token.networks):
            raise Forbidden(
                f"This token may be used from {', '.join(token.networks)} only; the request came "
                f"from {address or 'an unknown address'}."
            )
        self._uses[token.id] = TokenUse(_now_ms(), address or "")

    def authenticate(self, text: str) -> Token:
        """Return the stored token for a token's full text; its ``digest`` is that of this text.

        Raises:
            Unauthenticated: the token does not work.
        """
        asked_at = time.monotonic()
        known = self._tokens()
        now_ms = _now_ms()
        verified = self._recognized(text, known, now_ms)
        if verified is not None:
            return verified
        self._verified.pop(text, None)
        parsed = token_secrets.parse_token(text)
        if parsed is None:
            raise _UnknownToken(UNKNOWN_TOKEN)
        token = known.by_id.get(parsed.id)
        digest = token_secrets.secret_digest(self._settings.secret_key, parsed.secret)
        if not _has_digest(token, digest, now_ms):
            token = self._tokens_since(asked_at).by_id.get(parsed.id)
        if token is None or not _has_digest(token, digest, now_ms):
            place = removal.deleted_place(self._store, parsed.id) if token is None else None
            if place is not None:
                raise Unauthenticated(f"This token was of the {place}, which was deleted.")
            raise _UnknownToken(UNKNOWN_TOKEN)
        if len(self._verified) >= MAX_VERIFIED:
            self._verified.clear()
        self._verified[text] = (parsed.id, digest)
        return _in_force(token, digest, now_ms)

    def recognize(self, text: str) -> Token | None:
        """Return the token for a text that was verified before; None: ``authenticate`` it.

        Raises:
            Unauthenticated: the token has expired.
            StoreUnavailable: the tokens were never read, and cannot be read now.
        """
        return self._recognized(text, self._tokens(), _now_ms())

    def _recognized(self, text: str, known: _Known, now_ms: int) -> Token | None:
        id, digest = self._verified.get(text, ("", ""))
        token = known.by_id.get(id)
        if token is None or digest not in token.digests(now_ms):
            return None
        return _in_force(token, digest, now_ms)

    def token_by_id(self, id: str) -> Token:
        """Return the token with an id, without checking a secret.

        Raises:
            Unauthenticated: there is no such token, or it has expired.
        """
        asked_at = time.monotonic()
        token = self._tokens().by_id.get(id) or self._tokens_since(asked_at).by_id.get(id)
        if token is None:
            raise Unauthenticated(UNKNOWN_TOKEN)
        return _in_force(token, token.digest, _now_ms())

    def is_still_valid(self, token: Token) -> bool:
        """Return False if a token was deleted or replaced since it was read, or has expired.

        While the store is unreachable the token counts as valid, so that open streams survive.
        """
        try:
            stored = self._tokens().by_id.get(token.id)
        except StoreUnavailable:
            return True
        now_ms = _now_ms()
        return (
            stored is not None
            and token.digest in stored.digests(now_ms)
            and not stored.has_expired(now_ms)
        )

    def close(self) -> None:
        """End the thread; write down the last uses of tokens."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)
        self._write_uses()

    def _tokens(self) -> _Known:
        """Return all tokens as they were at most two polls ago.

        Raises:
            StoreUnavailable: they were never read, and cannot be read now.
        """
        self._asked_at = time.monotonic()
        thread = self._thread
        known = self._known
        if known is not None and thread is not None and thread.is_alive():
            return known
        with self._lock:
            if self._thread is not None and self._thread.is_alive() and self._known is not None:
                return self._known
            known = self._read()
            if self._settings.token_poll_seconds > 0 and not self._stop.is_set():
                self._thread = threading.Thread(target=self._poll, name="tokens", daemon=True)
                self._thread.start()
            return known

    def _tokens_since(self, asked_at: float) -> _Known:
        """Return all tokens as they were at a time by the monotonic clock, or later.

        So a token works as soon as it is made. Requests that wait at the same time share one
        look: guesses do not each ask the store.
        """
        while True:
            if self._looked_at >= asked_at and (known := self._known) is not None:
                return known
            with self._lock:
                wait_s = self._looked_at + UNKNOWN_SECONDS - time.monotonic()
                if wait_s <= 0 and self._looked_at < asked_at:
                    self._read()
            # Not with the lock held: all who wait here are served by the first look.
            time.sleep(max(0.0, wait_s))

    def _read(self) -> _Known:
        """Read the tokens if any may have changed; call it with ``_lock`` held."""
        known = self._known
        began = time.monotonic()
        try:
            position = self._store.logs.audit_position(SERVER)
            self._sessions.forget_if_ended(self._store.sessions.count_ended())
            if known is None or position != known.position:
                kinds = (self._store.cached(SERVER, kind).stored for kind in ACCESS_KINDS)
                access = AccessDocuments(*kinds)
                tokens = {id: each.document for id, each in access.tokens.items()}
                known = _Known(position, tokens, access)
        except StoreUnavailable:
            if known is None:
                raise
        self._known = known
        self._looked_at = began  # last: who reads it without the lock finds these tokens
        return known

    def _poll(self) -> None:
        wrote_at = time.monotonic()
        while not self._stop.wait(self._settings.token_poll_seconds):
            now = time.monotonic()
            if now - wrote_at >= USES_SECONDS or now - self._asked_at >= IDLE_SECONDS:
                self._write_uses()
                wrote_at = now
            if now - self._asked_at >= IDLE_SECONDS:
                return
            try:
                with self._lock:
                    self._read()
            except Exception:
                log.exception("tokens_not_read")

    def _write_uses(self) -> None:
        with suppress(StoreUnavailable):
            self._store.sessions.note_uses(self._sessions.taken_uses(), _now_ms())
        uses, self._uses = self._uses, {}
        known = self._known
        if not uses or known is None:
            return
        try:
            self._store.token_uses.write({id: use for id, use in uses.items() if id in known.by_id})
        except StoreUnavailable:
            self._uses = {**uses, **self._uses}


def _in_force(token: Token, digest: str, now_ms: int) -> Token:
    """Return the token as its secret with this digest has it; raise if it has expired."""
    if token.has_expired(now_ms):
        raise Unauthenticated(
            "This token has expired; ask an admin for a new one. Rotate a token before it expires."
        )
    return token if digest == token.digest else replace(token, digest=digest)


def _active_person(access: AccessDocuments, id: str) -> Person:
    stored = access.people.get(id)
    if stored is None or not stored.document.active:
        raise Unauthenticated(NOT_ACTIVE)
    person: Person = stored.document
    return person


def _has_digest(token: Token | None, digest: str, now_ms: int) -> bool:
    """Return whether a token has a secret with this digest, in constant time."""
    if token is None:
        return False
    return any(token_secrets.same_digest(digest, each) for each in token.digests(now_ms))


def _is_within(address: str | None, networks: tuple[str, ...]) -> bool:
    source = parse_address(address or "")
    return source is not None and any(source in _network(network) for network in networks)


_network = lru_cache(1_000)(ipaddress.ip_network)


def _now_ms() -> int:
    return int(time.time() * 1000)
