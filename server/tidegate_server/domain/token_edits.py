"""Commits of access tokens: one is made, one is revoked."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate_server.domain.change import Address, Audit, Change, Delete, Guard, Kind, Put, Stored
from tidegate_server.domain.tokens import EVALUATING, Role, Token
from tidegate_server.errors import FieldProblem, Invalid, NotFound, NotPossible


def new_token(token: Token, *, actor: str, reason: str = "") -> Change:
    """Keep a token's record (scope ``""``).

    Raises:
        Invalid: its role and its limits do not go together.
    """
    problems = list(_problems(token))
    if problems:
        raise Invalid("This token cannot be made.", *problems)
    return Change(
        scope="",
        writes=(Put(token_address(token.id), token, 0),),
        audit=Audit(
            actor, "token.create", token.id, token.environment or "", reason, _details(token)
        ),
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
        NotFound: there is none with this id.
        NotPossible: it is the last one that may administer the whole server.
    """
    if token_id not in tokens:
        raise NotFound(f"There is no token {token_id!r}.")
    before = tokens[token_id]
    token: Token = before.document
    writes: list[Put | Delete | Guard] = [Delete(token_address(token_id), before.revision)]
    if _administers_all(token):
        left = next(
            (
                key
                for key, other in tokens.items()
                if key != token_id and _administers_all(other.document)
            ),
            None,
        )
        if left is None:
            raise NotPossible(
                "This is the last token that may administer the whole server. "
                "Make another one first."
            )
        # Two admins who revoke each other at once must not lock everyone out.
        writes.append(Guard(token_address(left), tokens[left].revision))
    return Change(
        scope="",
        writes=tuple(writes),
        audit=Audit(
            actor, "token.delete", token_id, token.environment or "", reason, _details(token)
        ),
    )


def token_address(token_id: str) -> Address:
    """Where a token's record is."""
    return Address(Kind.TOKEN, token_id)


def _administers_all(token: Token) -> bool:
    return token.role is Role.ADMIN and token.project is None


def _problems(token: Token) -> list[FieldProblem]:
    found = []
    if not token.name.strip():
        found.append(FieldProblem("/name", "Give the token a name that tells who uses it."))
    if token.environment is not None and token.project is None:
        found.append(FieldProblem("/project", "An environment needs its project named too."))
    if token.role in EVALUATING:
        whom = "an SDK" if token.role is Role.SDK else "clients"
        if token.project is None:
            found.append(FieldProblem("/project", f"A token for {whom} belongs to one project."))
        if token.environment is None:
            found.append(
                FieldProblem("/environment", f"A token for {whom} belongs to one environment.")
            )
    elif token.rate_limit is not None:
        found.append(
            FieldProblem(
                "/rate_limit",
                "Only requests for evaluations are limited, which sdk and client tokens make; "
                "leave it out.",
            )
        )
    return found


def _details(token: Token) -> dict[str, object]:
    return {"name": token.name, "role": str(token.role), "project": token.project}
