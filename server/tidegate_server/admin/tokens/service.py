"""Create, find, rotate and delete tokens within the scope of another token."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from tidegate_server.admin.access_documents import check_place_exists
from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import SERVER
from tidegate_server.admin.tokens.schemas import NewToken
from tidegate_server.domain import token_edits
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import EVALUATING, Permission, in_order
from tidegate_server.domain.tokens import Token, TokenUse
from tidegate_server.errors import (
    Forbidden,
    NotFound,
    StoreUnavailable,
)
from tidegate_server.store import Store
from tidegate_server.web import token_secrets
from tidegate_server.web.etags import IfMatch


@dataclass(frozen=True, slots=True)
class TokenWithUse(Stored):
    """A stored token and its last use; the secret is in one answer only."""

    last_used_ms: int | None
    last_used_from: str | None
    rotatable: bool
    secret: str = ""


def create_token(
    store: Store, secret_key: bytes, new: NewToken, creator: Caller, reason: str
) -> TokenWithUse:
    """Create a token within the scope of its creator.

    Args:
        store: where to keep it.
        secret_key: the key of the tokens' digests.
        new: the new token, without an id, a digest and a creator.
        creator: who makes the request.
        reason: why.

    Raises:
        Forbidden: the new token could do more than its creator, or elsewhere.
        Invalid: there is no such project or environment, or its fields do not fit each other.
    """
    token = new.token
    _check_within(token, creator)
    check_place_exists(store, token.project, token.environment)
    id, secret = token_secrets.new_id(), token_secrets.new_secret()
    now_ms = store.now_ms()
    created = replace(
        token,
        id=id,
        digest=token_secrets.secret_digest(secret_key, secret),
        created_by=creator.name,
        made_by="" if creator.answerable == f"token:{creator.id}" else creator.answerable,
        created_ms=now_ms,
        expires_ms=None if new.expires_in_ms is None else now_ms + new.expires_in_ms,
        permissions=in_order(token.permissions),
    )
    committed = commit_with_retry(
        store, lambda: token_edits.new_token(created, actor=creator.name, reason=reason)
    )
    stored = committed.stored(token_edits.token_address(id))
    return _with_use(stored, None, creator, token_secrets.format_token(token.role, id, secret))


def rotate_token(
    store: Store, secret_key: bytes, id: str, overlap_ms: int, rotator: Caller, reason: str
) -> TokenWithUse:
    """Give a token within the rotator's scope another secret.

    Args:
        store: where it is kept.
        secret_key: the key of the tokens' digests.
        id: the token.
        overlap_ms: how long the present secret still works.
        rotator: who makes the request.
        reason: why.

    Raises:
        NotFound: there is no such token in that scope.
        Forbidden: the token may do what the rotator may not, or is another person's own.
        Invalid: the overlap is out of range.
    """
    secret = token_secrets.new_secret()
    digest = token_secrets.secret_digest(secret_key, secret)

    def make_change() -> Change:
        stored = _read(store, id, rotator)
        _check_may_have_secret(stored.document, rotator)
        return token_edits.rotate_token(
            stored,
            digest,
            now_ms=store.now_ms(),
            overlap_ms=overlap_ms,
            actor=rotator.name,
            reason=reason,
        )

    stored = commit_with_retry(store, make_change).stored(token_edits.token_address(id))
    token: Token = stored.document
    use = store.token_uses.read().get(id)
    return _with_use(stored, use, rotator, token_secrets.format_token(token.role, id, secret))


def tokens_in_scope(store: Store, caller: Caller) -> dict[str, Stored]:
    """Return the tokens within what a caller administers, by id."""
    return {
        id: stored
        for id, stored in store.all(SERVER, Kind.TOKEN).items()
        if _is_in_scope(stored.document, caller)
    }


def with_uses(store: Store, tokens: list[Stored], reader: Caller) -> list[TokenWithUse]:
    """Return tokens with their last uses, and whether their reader may rotate them."""
    uses: Mapping[str, TokenUse] = store.token_uses.read()
    return [_with_use(stored, uses.get(stored.document.id), reader) for stored in tokens]


def read_token(store: Store, id: str, reader: Caller) -> TokenWithUse:
    """Return a token within the reader's scope; raises ``NotFound``."""
    [found] = with_uses(store, [_read(store, id, reader)], reader)
    return found


def delete_token(store: Store, id: str, deleter: Caller, reason: str, if_match: IfMatch) -> None:
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
            tokens, id, now_ms=store.now_ms(), actor=deleter.name, reason=reason
        )

    commit_with_retry(store, make_change)
    with suppress(StoreUnavailable):
        store.token_uses.forget(id)


def _read(store: Store, id: str, reader: Caller) -> Stored:
    stored = tokens_in_scope(store, reader).get(id)
    if stored is None:
        raise NotFound(f"There is no token {id!r}.")
    return stored


def _with_use(
    stored: Stored, use: TokenUse | None, reader: Caller, secret: str = ""
) -> TokenWithUse:
    return TokenWithUse(
        stored.document,
        stored.revision,
        stored.updated_ms,
        use.at_ms if use is not None else None,
        use.address or None if use is not None else None,
        _may_have_secret(stored.document, reader),
        secret,
    )


def _is_in_scope(token: Token, caller: Caller) -> bool:
    return caller.holds(Permission.ADMINISTER, token.project, token.environment)


def _check_may_have_secret(token: Token, caller: Caller) -> None:
    """Refuse to show the secret of a token to who could do more with it."""
    if token.person and token.person != caller.person:
        raise Forbidden("This is a person's own token; only they can rotate it.")
    if not token.person:
        _check_within(token, caller)


def _may_have_secret(token: Token, caller: Caller) -> bool:
    try:
        _check_may_have_secret(token, caller)
    except Forbidden:
        return False
    return _is_in_scope(token, caller)


def _check_within(token: Token, creator: Caller) -> None:
    """Refuse a token that could do what its creator cannot.

    Who administers a place may make tokens for the applications in it.
    """
    if not _is_in_scope(token, creator):
        places = [
            grant.place for grant in creator.grants if Permission.ADMINISTER in grant.permissions
        ]
        raise Forbidden(
            f"You can create tokens for {', '.join(dict.fromkeys(places))} only; name it as the "
            "new token's project and environment."
        )
    place = (token.project, token.environment)
    missing = [each for each in token.grant.permissions if not creator.holds(each, *place)]
    if missing and token.role not in EVALUATING:
        names = ", ".join(each.value for each in in_order(missing))
        raise Forbidden(
            f"You lack the permissions {names} there, so you cannot give them to a token."
        )
