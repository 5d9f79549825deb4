"""Changes to access tokens: create and revoke."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tidegate_server.domain.change import Address, Change, Guard, Kind, Stored
from tidegate_server.domain.document_changes import delete_document_change, put_document_change
from tidegate_server.domain.field_problems import raise_problems
from tidegate_server.domain.tokens import EVALUATING, Role, Token
from tidegate_server.errors import FieldProblem, NotFound, NotPossible


def token_address(token_id: str) -> Address:
    """Return the address of a token."""
    return Address(Kind.TOKEN, token_id)


def new_token(token: Token, *, actor: str, reason: str = "") -> Change:
    """Create a token (scope ``""``).

    Raises:
        Invalid: its role does not fit its scope or its rate limit.
    """
    raise_problems(f"token {token.name}", _token_problems(token))
    return put_document_change(
        "",
        token_address(token.id),
        None,
        token,
        actor=actor,
        reason=reason,
        environment=token.environment or "",
        details=_details(token),
    )


def delete_token(
    tokens: Mapping[str, Stored], token_id: str, *, actor: str, reason: str = ""
) -> Change:
    """Revoke a token (scope ``""``).

    Args:
        tokens: every token by id.
        token_id: the one to revoke.
        actor: who.
        reason: why.

    Raises:
        NotFound: there is no token with this id.
        NotPossible: it is the last token that may administer the whole server.
    """
    if token_id not in tokens:
        raise NotFound(f"There is no token {token_id!r}.")
    before = tokens[token_id]
    token: Token = before.document
    return delete_document_change(
        "",
        token_address(token_id),
        before,
        actor=actor,
        reason=reason,
        environment=token.environment or "",
        details=_details(token),
        writes=_guard_another_server_admin(tokens, token_id),
    )


def _guard_another_server_admin(tokens: Mapping[str, Stored], token_id: str) -> Iterator[Guard]:
    """Guard another server admin's token: two admins may revoke each other at once."""
    if not _is_server_admin(tokens[token_id].document):
        return
    for other, stored in tokens.items():
        if other != token_id and _is_server_admin(stored.document):
            yield Guard(token_address(other), stored.revision)
            return
    raise NotPossible(
        "This is the last token that may administer the whole server. Create another one first."
    )


def _is_server_admin(token: Token) -> bool:
    return token.role is Role.ADMIN and token.project is None


def _token_problems(token: Token) -> Iterator[FieldProblem]:
    if not token.name.strip():
        yield FieldProblem("/name", "Give the token a name that says who uses it.")
    if token.environment is not None and token.project is None:
        yield FieldProblem("/project", "A token for an environment needs its project too.")
    if token.role in EVALUATING:
        users = "an SDK" if token.role is Role.SDK else "clients"
        if token.project is None:
            yield FieldProblem("/project", f"A token for {users} belongs to one project.")
        if token.environment is None:
            yield FieldProblem("/environment", f"A token for {users} belongs to one environment.")
    elif token.rate_limit is not None:
        yield FieldProblem(
            "/rate_limit",
            "A rate limit applies to evaluations, and only sdk and client tokens evaluate flags; "
            "leave it out.",
        )


def _details(token: Token) -> dict[str, object]:
    return {"name": token.name, "role": str(token.role), "project": token.project}
