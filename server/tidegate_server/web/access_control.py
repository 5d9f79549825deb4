"""Tokens of requests, and what each may do.

A token has a role and a scope: the whole server, one project, or one environment. Each process
caches a token for ``ApiSettings.token_cache_seconds``, so a deleted token stops working within
that time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import g, request

from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.tokens import EVALUATING, Role, Token
from tidegate_server.errors import Forbidden, StoreUnavailable, Unauthenticated
from tidegate_server.store import Store
from tidegate_server.web import token_secrets
from tidegate_server.web.settings import ApiSettings

SERVER = ""
"""The scope of what belongs to the server itself."""

RANK = {Role.READER: 1, Role.WRITER: 2, Role.ADMIN: 3}
MAX_CACHED = 1_000

NO_TOKEN = "Send the header Authorization: Bearer <token>; `tidegate token create` makes one."  # noqa: S105
UNKNOWN_TOKEN = "This token is unknown or was deleted; ask an admin for a new one."  # noqa: S105


@dataclass(frozen=True, slots=True)
class _CachedToken:
    token: Token
    expires_at: float


class Authenticator:
    """Authenticates tokens against the store."""

    def __init__(self, store: Store, settings: ApiSettings) -> None:
        self._store = store
        self._settings = settings
        self._tokens_by_id: dict[str, _CachedToken] = {}
        self._verified: dict[str, Token] = {}
        """Secrets that were verified before, so that each HMAC is computed once."""

    def token_from_request(self, key_header: str | None = None) -> Token:
        """Return the token in the request's ``Authorization`` header.

        Args:
            key_header: another header that may hold the token, read if ``Authorization`` is
                missing.

        Raises:
            Unauthenticated: there is no token, or it is unknown.
        """
        authorization = request.headers.get("Authorization")
        if authorization is None and key_header is not None:
            key = request.headers.get(key_header, "").strip()
            if key:
                return self._authenticate_for_log(key)
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise Unauthenticated(NO_TOKEN)
        return self._authenticate_for_log(text.strip())

    def _authenticate_for_log(self, text: str) -> Token:
        """Authenticate the current request, and keep the id that the token names for the log.

        The id is no secret; a token that is refused has one too.
        """
        parsed = token_secrets.parse_token(text)
        g.token_id = parsed.id if parsed is not None else None
        return self.authenticate(text)

    def authenticate(self, text: str) -> Token:
        """Return the stored token for a token's full text.

        Raises:
            Unauthenticated: the token is unknown.
        """
        parsed = token_secrets.parse_token(text)
        verified = self._verified.get(text)
        if verified is not None:
            stored = self._look_up(verified.id)
            if stored is not None and stored.digest == verified.digest:
                return stored
            self._verified.pop(text, None)
        token = self._look_up(parsed.id) if parsed is not None else None
        if parsed is None or token is None:
            raise Unauthenticated(UNKNOWN_TOKEN)
        if not token_secrets.secret_matches(self._settings.secret_key, parsed.secret, token.digest):
            raise Unauthenticated(UNKNOWN_TOKEN)
        if len(self._verified) >= MAX_CACHED:
            self._verified.clear()
        self._verified[text] = token
        return token

    def token_by_id(self, id: str) -> Token:
        """Return the token with an id, without checking a secret.

        Raises:
            Unauthenticated: there is no such token.
        """
        token = self._look_up(id)
        if token is None:
            raise Unauthenticated(UNKNOWN_TOKEN)
        return token

    def is_still_valid(self, token: Token) -> bool:
        """Return False if a token was deleted or replaced since it was read.

        While the store is unreachable the token counts as valid, so that open streams survive.
        """
        try:
            stored = self._look_up(token.id, refresh=True)
        except StoreUnavailable:
            return True
        return stored is not None and stored.digest == token.digest

    def _look_up(self, id: str, *, refresh: bool = False) -> Token | None:
        now = time.monotonic()
        cached = self._tokens_by_id.get(id)
        if cached is not None and now < cached.expires_at and not refresh:
            return cached.token
        try:
            stored = self._store.get(SERVER, Address(Kind.TOKEN, id))
        except StoreUnavailable:
            if cached is None:
                raise
            # Evaluations go on during an outage, without waiting for the store each time.
            return self._cache(cached.token)
        if stored is None:
            self._tokens_by_id.pop(id, None)
            return None
        if len(self._tokens_by_id) >= MAX_CACHED:
            self._tokens_by_id.clear()
        return self._cache(stored.document)

    def _cache(self, token: Token) -> Token:
        expires_at = time.monotonic() + self._settings.token_cache_seconds
        self._tokens_by_id[token.id] = _CachedToken(token, expires_at)
        return token


def actor_name(token: Token) -> str:
    """Return the name of a token in the audit log: its name and its id."""
    return f"{token.name} ({token.id})"


def require_role(token: Token, role: Role, project: str | None, environment: str | None) -> None:
    """Check that a token may act in a role on a project, an environment, or the server.

    A token for one environment may read what the whole project shares, but change only what
    belongs to its environment.

    Args:
        token: the token.
        role: the lowest role that may act.
        project: None: the whole server.
        environment: None: the whole project.

    Raises:
        Forbidden: the role is too low or the scope too narrow; the message says which.
    """
    if token.role in EVALUATING:
        raise Forbidden(
            "A token of the role sdk or client gets evaluations only; "
            "use a reader, writer or admin token."
        )
    if RANK[token.role] < RANK[role]:
        raise Forbidden(f"This needs the role {role.value}; the token's is {token.role.value}.")
    if token.project is None:
        return
    if project is None:
        raise Forbidden(
            f"This needs a token for the whole server; this one is for project {token.project!r}."
        )
    if project != token.project:
        raise Forbidden(f"The token is for project {token.project!r}, not {project!r}.")
    if token.environment is None or environment == token.environment:
        return
    if environment is not None:
        raise Forbidden(f"The token is for environment {token.environment!r}, not {environment!r}.")
    if role is not Role.READER:
        raise Forbidden(
            "This changes every environment of the project; the token is for environment "
            f"{token.environment!r} only."
        )


def evaluation_environment(token: Token) -> tuple[str, str]:
    """Return the project and environment in which a token may evaluate flags.

    Raises:
        Forbidden: the token's role is not sdk or client.
    """
    if token.role not in EVALUATING or token.project is None or token.environment is None:
        raise Forbidden(
            "Evaluations need a token of the role sdk or client, which names its environment: "
            "`tidegate token create web --role client --environment production` makes one."
        )
    return token.project, token.environment


def sdk_environment(token: Token) -> tuple[str, str]:
    """Return the project and environment of an SDK token.

    Raises:
        Forbidden: the token's role is not sdk.
    """
    if token.role is not Role.SDK or token.project is None or token.environment is None:
        raise Forbidden(
            "Snapshots, streams and reports need an sdk token, which names its environment: "
            "`tidegate token create --role sdk --environment production` makes one."
        )
    return token.project, token.environment
