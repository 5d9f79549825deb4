"""Making tokens, listing those that one may see, deleting them."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import SERVER
from tidegate_server.admin.tokens.schemas import TokenRequest
from tidegate_server.domain import token_edits
from tidegate_server.domain.change import Address, Change, Kind, Stored
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import FieldProblem, Forbidden, Invalid, NotFound
from tidegate_server.store import Store
from tidegate_server.web import token_secrets
from tidegate_server.web.access_control import actor_name
from tidegate_server.web.etags import require_if_match


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made, with the secret that is not kept."""

    stored: Stored
    secret: str


def create(store: Store, secret_key: bytes, asked: TokenRequest, by: Token) -> NewToken:
    """Make a token within the scope of the one that asks.

    Raises:
        Forbidden: it would reach further than the token that asks.
        Invalid: there is no such project or environment, or an sdk token names none.
    """
    if not _within(by, asked.project, asked.environment):
        raise Forbidden(
            f"The token is for {_scope(by)}, so it makes tokens for that only; "
            "name it as the new token's project and environment."
        )
    _refuse_missing_places(store, asked)
    id, secret = token_secrets.new_id(), token_secrets.new_secret()
    token = Token(
        id=id,
        name=asked.name,
        role=asked.role,
        digest=token_secrets.secret_digest(secret_key, secret),
        created_by=actor_name(by),
        created_ms=store.now_ms(),
        project=asked.project,
        environment=asked.environment,
        rate_limit=asked.rate_limit,
    )
    settled = commit_with_retry(store, lambda: token_edits.new_token(token, actor=actor_name(by)))
    stored = settled.stored(token_edits.token_address(id))
    return NewToken(stored, token_secrets.format_token(asked.role, id, secret))


def visible(store: Store, by: Token) -> dict[str, Stored]:
    """The tokens within a token's own scope, by id."""
    return {
        id: stored
        for id, stored in store.all(SERVER, Kind.TOKEN).items()
        if _within(by, stored.document.project, stored.document.environment)
    }


def one(store: Store, id: str, by: Token) -> Stored:
    """A token within the scope of the one that asks; raises ``NotFound``."""
    stored = visible(store, by).get(id)
    if stored is None:
        raise NotFound(f"There is no token {id!r}.")
    return stored


def delete(store: Store, id: str, by: Token) -> None:
    """Delete a token; raises ``NotFound``, and ``NotPossible`` for the last server admin's."""

    def make() -> Change:
        require_if_match(one(store, id, by).revision, f"token {id}")
        tokens = store.all(SERVER, Kind.TOKEN)
        return token_edits.delete_token(tokens, id, actor=actor_name(by))

    commit_with_retry(store, make)


def _within(by: Token, project: str | None, environment: str | None) -> bool:
    if by.project is None:
        return True
    return project == by.project and by.environment in (None, environment)


def _scope(by: Token) -> str:
    where = f"environment {by.environment!r} of " if by.environment is not None else ""
    return f"{where}project {by.project!r}"


def _refuse_missing_places(store: Store, asked: TokenRequest) -> None:
    if asked.project is None:
        return
    if store.get(SERVER, Address(Kind.PROJECT, asked.project)) is None:
        message = f"There is no project {asked.project!r}; create it first."
        raise Invalid(message, FieldProblem("/project", message))
    if asked.environment is None:
        return
    if store.get(asked.project, Address(Kind.ENVIRONMENT, asked.environment)) is None:
        message = f"There is no environment {asked.environment!r}; create it first."
        raise Invalid(message, FieldProblem("/environment", message))
