"""Changes to access tokens: create, rotate and revoke."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tidegate_server.domain.change import Address, Change, Guard, Stored
from tidegate_server.domain.document_changes import delete_document_change, put_document_change
from tidegate_server.domain.field_problems import raise_problems
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import EVALUATING, EVALUATION, Permission, Role
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import FieldProblem, NotFound, NotPossible

MAX_NETWORKS = 50
MAX_OVERLAP_MS = 30 * 24 * 60 * 60 * 1000
"""How long two secrets of one token may work side by side."""


def token_address(token_id: str) -> Address:
    """Return the address of a token."""
    return Address(Kind.TOKEN, token_id)


def new_token(token: Token, *, actor: str, reason: str = "") -> Change:
    """Create a token (scope ``""``).

    Raises:
        Invalid: its fields do not fit each other.
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


def rotate_token(
    before: Stored, digest: str, *, now_ms: int, overlap_ms: int, actor: str, reason: str = ""
) -> Change:
    """Give a token another secret (scope ``""``).

    Args:
        before: the token.
        digest: of the new secret.
        now_ms: store clock.
        overlap_ms: how long the present secret still works; 0: not at all.
        actor: who.
        reason: why.

    Raises:
        Invalid: the overlap is out of range.
    """
    if not 0 <= overlap_ms <= MAX_OVERLAP_MS:
        problem = FieldProblem("/overlap", "Two secrets may work side by side for at most 30d.")
        raise_problems("token", [problem])
    token: Token = before.document
    rotated = replace(
        token,
        digest=digest,
        previous_digest=token.digest if overlap_ms else "",
        previous_until_ms=now_ms + overlap_ms if overlap_ms else None,
    )
    return put_document_change(
        "",
        token_address(token.id),
        before,
        rotated,
        actor=actor,
        reason=reason,
        environment=token.environment or "",
        action="token.rotate",
        details=_details(token),
    )


def delete_token(
    tokens: Mapping[str, Stored],
    token_id: str,
    *,
    now_ms: int,
    actor: str,
    reason: str = "",
) -> Change:
    """Revoke a token (scope ``""``).

    Args:
        tokens: every token by id.
        token_id: the one to revoke.
        now_ms: store clock.
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
        writes=_guard_another_server_admin(tokens, token_id, now_ms),
    )


def _guard_another_server_admin(
    tokens: Mapping[str, Stored], token_id: str, now_ms: int
) -> Iterator[Guard]:
    """Guard another server admin's token: two admins may revoke each other at once."""
    if not _is_server_admin(tokens[token_id].document, now_ms):
        return
    for other, stored in tokens.items():
        if other != token_id and _is_server_admin(stored.document, now_ms):
            yield Guard(token_address(other), stored.revision)
            return
    raise NotPossible(
        "This is the last token that may administer the whole server. Create another one first."
    )


def _is_server_admin(token: Token, now_ms: int) -> bool:
    return administers_server(token) and not token.has_expired(now_ms)


def administers_server(token: Token) -> bool:
    """Return whether a token may administer the whole server, until it expires.

    A person's own token does not count: it can do no more than the person can.
    """
    return token.grant.administers_server and not token.person


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
    yield from _permission_problems(token)
    if token.expires_ms is not None and token.has_expired(token.created_ms):
        yield FieldProblem("/expires_at", "This time has passed; give one in the future.")
    yield from _network_problems(token)


def _permission_problems(token: Token) -> Iterator[FieldProblem]:
    if token.role is not Role.CUSTOM:
        if token.permissions:
            yield FieldProblem(
                "/permissions",
                f"The role {token.role} has its own permissions. To list them, use the role "
                "custom.",
            )
        return
    if not token.permissions:
        yield FieldProblem("/permissions", "List what a token with the role custom may do.")
    for index, permission in enumerate(token.permissions):
        if permission in EVALUATION:
            role = Role.SDK if permission is Permission.SDK else Role.CLIENT
            yield FieldProblem(
                f"/permissions/{index}", f"Only a token with the role {role} may do this."
            )


def _network_problems(token: Token) -> Iterator[FieldProblem]:
    if len(token.networks) > MAX_NETWORKS:
        yield FieldProblem("/networks", f"A token has at most {MAX_NETWORKS} networks.")
    for index, network in enumerate(token.networks):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            yield FieldProblem(
                f"/networks/{index}",
                f"{network!r} is no network; write one like 10.0.0.0/8 or 2001:db8::/32, with "
                "zeros after the prefix.",
            )


def _details(token: Token) -> dict[str, object]:
    return {"name": token.name, "role": str(token.role), "project": token.project}
