"""Create, find and delete tokens within the scope of another token."""

from __future__ import annotations

from dataclasses import replace

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_commits import StoredWithSecret, with_secret
from tidegate_server.admin.document_reader import SERVER
from tidegate_server.domain import token_edits
from tidegate_server.domain.change import Address, Change, Kind, Stored
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import FieldProblem, Forbidden, Invalid, NotFound
from tidegate_server.near_misses import question, similar
from tidegate_server.store import Store
from tidegate_server.web import token_secrets
from tidegate_server.web.access_control import actor_name
from tidegate_server.web.etags import IfMatch


def create_token(
    store: Store, secret_key: bytes, token: Token, creator: Token, reason: str
) -> StoredWithSecret:
    """Create a token within the scope of its creator.

    Args:
        store: where to keep it.
        secret_key: the key of the tokens' digests.
        token: the new token, without an id, a digest and a creator.
        creator: the token of the request.
        reason: why.

    Raises:
        Forbidden: the new token's scope is wider than the creator's.
        Invalid: there is no such project or environment, or an sdk token names none.
    """
    if not _is_within_scope(token, creator):
        raise Forbidden(
            f"Your token is for {_scope(creator)} and can create tokens for that only; "
            "name it as the new token's project and environment."
        )
    _check_scope_exists(store, token)
    id, secret = token_secrets.new_id(), token_secrets.new_secret()
    new = replace(
        token,
        id=id,
        digest=token_secrets.secret_digest(secret_key, secret),
        created_by=actor_name(creator),
        created_ms=store.now_ms(),
    )
    committed = commit_with_retry(
        store, lambda: token_edits.new_token(new, actor=actor_name(creator), reason=reason)
    )
    stored = committed.stored(token_edits.token_address(id))
    return with_secret(stored, token_secrets.format_token(new.role, id, secret))


def tokens_in_scope(store: Store, token: Token) -> dict[str, Stored]:
    """Return the tokens within another token's scope, by id."""
    return {
        id: stored
        for id, stored in store.all(SERVER, Kind.TOKEN).items()
        if _is_within_scope(stored.document, token)
    }


def read_token(store: Store, id: str, reader: Token) -> Stored:
    """Return a token within the reader's scope; raises ``NotFound``."""
    stored = tokens_in_scope(store, reader).get(id)
    if stored is None:
        raise NotFound(f"There is no token {id!r}.")
    return stored


def delete_token(store: Store, id: str, deleter: Token, reason: str, if_match: IfMatch) -> None:
    """Delete a token within the deleter's scope.

    Raises:
        NotFound: there is no such token in that scope.
        RevisionRequired, StaleRevision: ``if_match`` does not accept its revision.
        NotPossible: it is the last token that may administer the whole server.
    """

    def make_change() -> Change:
        if_match.require(read_token(store, id, deleter).revision, f"token {id}")
        tokens = store.all(SERVER, Kind.TOKEN)
        return token_edits.delete_token(tokens, id, actor=actor_name(deleter), reason=reason)

    commit_with_retry(store, make_change)


def _is_within_scope(token: Token, other: Token) -> bool:
    if other.project is None:
        return True
    return token.project == other.project and other.environment in (None, token.environment)


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
