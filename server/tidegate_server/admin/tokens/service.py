"""Create, find, rotate and delete tokens within the scope of another token."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import SERVER
from tidegate_server.admin.tokens.schemas import NewToken
from tidegate_server.domain import token_edits
from tidegate_server.domain.change import Address, Change, Kind, Stored
from tidegate_server.domain.permissions import EVALUATING, in_order
from tidegate_server.domain.tokens import Token, TokenUse
from tidegate_server.errors import (
    FieldProblem,
    Forbidden,
    Invalid,
    NotFound,
    StoreUnavailable,
)
from tidegate_server.near_misses import question, similar
from tidegate_server.store import Store
from tidegate_server.web import token_secrets
from tidegate_server.web.access_control import actor_name
from tidegate_server.web.etags import IfMatch


@dataclass(frozen=True, slots=True)
class TokenWithUse(Stored):
    """A stored token and its last use; the secret is in one answer only."""

    last_used_ms: int | None
    last_used_from: str | None
    secret: str = ""


def create_token(
    store: Store, secret_key: bytes, new: NewToken, creator: Token, reason: str
) -> TokenWithUse:
    """Create a token within the scope of its creator.

    Args:
        store: where to keep it.
        secret_key: the key of the tokens' digests.
        new: the new token, without an id, a digest and a creator.
        creator: the token of the request.
        reason: why.

    Raises:
        Forbidden: the new token could do more than its creator, or elsewhere.
        Invalid: there is no such project or environment, or its fields do not fit each other.
    """
    token = new.token
    _check_within(token, creator)
    _check_scope_exists(store, token)
    id, secret = token_secrets.new_id(), token_secrets.new_secret()
    now_ms = store.now_ms()
    created = replace(
        token,
        id=id,
        digest=token_secrets.secret_digest(secret_key, secret),
        created_by=actor_name(creator),
        created_ms=now_ms,
        expires_ms=None if new.expires_in_ms is None else now_ms + new.expires_in_ms,
        permissions=in_order(token.permissions),
    )
    committed = commit_with_retry(
        store, lambda: token_edits.new_token(created, actor=actor_name(creator), reason=reason)
    )
    stored = committed.stored(token_edits.token_address(id))
    return _with_use(stored, None, token_secrets.format_token(token.role, id, secret))


def rotate_token(
    store: Store, secret_key: bytes, id: str, overlap_ms: int, rotator: Token, reason: str
) -> TokenWithUse:
    """Give a token within the rotator's scope another secret.

    Args:
        store: where it is kept.
        secret_key: the key of the tokens' digests.
        id: the token.
        overlap_ms: how long the present secret still works.
        rotator: the token of the request.
        reason: why.

    Raises:
        NotFound: there is no such token in that scope.
        Invalid: the overlap is out of range.
    """
    secret = token_secrets.new_secret()
    digest = token_secrets.secret_digest(secret_key, secret)

    def make_change() -> Change:
        stored = _read(store, id, rotator)
        return token_edits.rotate_token(
            stored,
            digest,
            now_ms=store.now_ms(),
            overlap_ms=overlap_ms,
            actor=actor_name(rotator),
            reason=reason,
        )

    stored = commit_with_retry(store, make_change).stored(token_edits.token_address(id))
    token: Token = stored.document
    use = store.token_uses.read().get(id)
    return _with_use(stored, use, token_secrets.format_token(token.role, id, secret))


def tokens_in_scope(store: Store, token: Token) -> dict[str, Stored]:
    """Return the tokens within another token's scope, by id."""
    return {
        id: stored
        for id, stored in store.all(SERVER, Kind.TOKEN).items()
        if _is_in_scope(stored.document, token)
    }


def with_uses(store: Store, tokens: list[Stored]) -> list[TokenWithUse]:
    """Return tokens with their last uses."""
    uses: Mapping[str, TokenUse] = store.token_uses.read()
    return [_with_use(stored, uses.get(stored.document.id)) for stored in tokens]


def read_token(store: Store, id: str, reader: Token) -> TokenWithUse:
    """Return a token within the reader's scope; raises ``NotFound``."""
    [found] = with_uses(store, [_read(store, id, reader)])
    return found


def delete_token(store: Store, id: str, deleter: Token, reason: str, if_match: IfMatch) -> None:
    """Delete a token within the deleter's scope.

    Raises:
        NotFound: there is no such token in that scope.
        RevisionRequired, StaleRevision: ``if_match`` does not accept its revision.
        NotPossible: it is the last token that may administer the whole server.
    """

    def make_change() -> Change:
        if_match.require(_read(store, id, deleter).revision, f"token {id}")
        tokens = store.all(SERVER, Kind.TOKEN)
        return token_edits.delete_token(
            tokens, id, now_ms=store.now_ms(), actor=actor_name(deleter), reason=reason
        )

    commit_with_retry(store, make_change)
    with suppress(StoreUnavailable):
        store.token_uses.forget(id)


def _read(store: Store, id: str, reader: Token) -> Stored:
    stored = tokens_in_scope(store, reader).get(id)
    if stored is None:
        raise NotFound(f"There is no token {id!r}.")
    return stored


def _with_use(stored: Stored, use: TokenUse | None, secret: str = "") -> TokenWithUse:
    return TokenWithUse(
        stored.document,
        stored.revision,
        stored.updated_ms,
        use.at_ms if use is not None else None,
        use.address or None if use is not None else None,
        secret,
    )


def _is_in_scope(token: Token, other: Token) -> bool:
    return other.grant.covers(token.project, token.environment)


def _check_within(token: Token, creator: Token) -> None:
    """Refuse a token that could do what its creator cannot.

    Who administers a place may make tokens for the applications in it.
    """
    if not _is_in_scope(token, creator):
        raise Forbidden(
            f"Your token is for {_scope(creator)} and can create tokens for that only; "
            "name it as the new token's project and environment."
        )
    missing = token.grant.permissions - creator.grant.permissions
    if missing and token.role not in EVALUATING:
        names = ", ".join(each.value for each in in_order(missing))
        raise Forbidden(
            f"Your token lacks the permissions {names}, so it cannot give them to another one."
        )


def _scope(token: Token) -> str:
    where = f"environment {token.environment!r} of " if token.environment is not None else ""
    return f"{where}project {token.project!r}"


def _check_scope_exists(store: Store, token: Token) -> None:
    if token.project is None:
        return
    if store.get(SERVER, Address(Kind.PROJECT, token.project)) is None:
        known = similar(token.project, store.projects())
        message = f"There is no project {token.project!r}; create it first.{question(known)}"
        raise Invalid(message, FieldProblem("/project", message, known))
    if token.environment is None:
        return
    if store.get(token.project, Address(Kind.ENVIRONMENT, token.environment)) is None:
        known = similar(token.environment, store.keys(token.project, Kind.ENVIRONMENT))
        message = (
            f"There is no environment {token.environment!r}; create it first.{question(known)}"
        )
        raise Invalid(message, FieldProblem("/environment", message, known))
