"""Who is asking, and whether they may.

A token has a role and a scope: the whole server, one project, or one environment of it. It
is looked up at most once a second per process, so that a deleted one stops working at once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import request

from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.tokens import EVALUATING, Role, Token
from tidegate_server.errors import Forbidden, StoreUnavailable, Unauthenticated
from tidegate_server.store import Store
from tidegate_server.web import token_secrets
from tidegate_server.web.settings import ApiSettings

SERVER = ""
"""The scope of what belongs to the server itself."""

RANK = {Role.READER: 1, Role.WRITER: 2, Role.ADMIN: 3}
MOST_CACHED = 1_000

NO_TOKEN = "Send the header Authorization: Bearer <token>; `tidegate token create` makes one."  # noqa: S105
WRONG_TOKEN = "This token is not known here, or was deleted; ask an admin for another."  # noqa: S105


@dataclass(frozen=True, slots=True)
class _Known:
    token: Token
    until: float


class Authenticator:
    """Finds the token that a request presents."""

    def __init__(self, store: Store, settings: ApiSettings) -> None:
        self._store = store
        self._settings = settings
        self._known: dict[str, _Known] = {}
        self._matched: dict[str, Token] = {}
        """Tokens that were presented and matched, so that this is computed once."""

    def token_of_request(self, key_header: str | None = None) -> Token:
        """The token in the present request's ``Authorization`` header.

        Args:
            key_header: another header that may hold it, alone, where that one is missing.

        Raises:
            Unauthenticated: there is none, or it is not known.
        """
        given = request.headers.get("Authorization")
        if given is None and key_header is not None:
            alone = request.headers.get(key_header, "").strip()
            if alone:
                return self.token_of(alone)
        scheme, _, presented = (given or "").partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise Unauthenticated(NO_TOKEN)
        return self.token_of(presented.strip())

    def token_of(self, presented: str) -> Token:
        """The record of a token; raises ``Unauthenticated`` when it is not a known one."""
        matched = self._matched.get(presented)
        if matched is not None:
            present = self._look_up(matched.id)
            if present is not None and present.digest == matched.digest:
                return present
            self._matched.pop(presented, None)
        read = token_secrets.read(presented)
        token = self._look_up(read.id) if read is not None else None
        if read is None or token is None:
            raise Unauthenticated(WRONG_TOKEN)
        if not token_secrets.matches(self._settings.secret_key, read.secret, token.digest):
            raise Unauthenticated(WRONG_TOKEN)
        if len(self._matched) >= MOST_CACHED:
            self._matched.clear()
        self._matched[presented] = token
        return token

    def token_with(self, id: str) -> Token:
        """The record of a token that somebody speaks for; raises ``Unauthenticated``."""
        token = self._look_up(id)
        if token is None:
            raise Unauthenticated(WRONG_TOKEN)
        return token

    def still_good(self, token: Token) -> bool:
        """Whether a token has not been deleted since it was found.

        An outage of the store does not make it bad, and costs nobody a stream.
        """
        try:
            found = self._look_up(token.id, fresh=True)
        except StoreUnavailable:
            return True
        return found is not None and found.digest == token.digest

    def _look_up(self, id: str, *, fresh: bool = False) -> Token | None:
        now = time.monotonic()
        known = self._known.get(id)
        if known is not None and now < known.until and not fresh:
            return known.token
        try:
            stored = self._store.get(SERVER, Address(Kind.TOKEN, id))
        except StoreUnavailable:
            if known is None:
                raise
            # While the store is away nobody deletes a token; evaluations go on meanwhile, and
            # not each of them shall wait for the store.
            return self._keep(known.token)
        if stored is None:
            self._known.pop(id, None)
            return None
        if len(self._known) >= MOST_CACHED:
            self._known.clear()
        return self._keep(stored.document)

    def _keep(self, token: Token) -> Token:
        until = time.monotonic() + self._settings.token_cache_seconds
        self._known[token.id] = _Known(token, until)
        return token


def actor(token: Token) -> str:
    """How the audit log names who did something: the token's name and its id."""
    return f"{token.name} ({token.id})"


def require(token: Token, role: Role, project: str | None, environment: str | None) -> None:
    """Insist that a token may act in a role on a project, an environment, or the server.

    A token limited to an environment may read what its project shares, and change only what
    belongs to the environment.

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
            "This touches every environment of the project; the token is for environment "
            f"{token.environment!r} only."
        )


def require_evaluating(token: Token) -> tuple[str, str]:
    """The project and environment in which a token may ask for evaluations.

    Raises:
        Forbidden: the token has a role that names no environment.
    """
    if token.role not in EVALUATING or token.project is None or token.environment is None:
        raise Forbidden(
            "Evaluations need a token of the role sdk or client, which names its environment: "
            "`tidegate token create web --role client --environment production` makes one."
        )
    return token.project, token.environment


def require_sdk(token: Token) -> tuple[str, str]:
    """The project and environment of an SDK's token.

    Raises:
        Forbidden: the token has another role, which names no environment.
    """
    if token.role is not Role.SDK or token.project is None or token.environment is None:
        raise Forbidden(
            "Snapshots, streams and reports need an sdk token, which names its environment: "
            "`tidegate token create --role sdk --environment production` makes one."
        )
    return token.project, token.environment
