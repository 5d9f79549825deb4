"""Access tokens and their roles."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a token may do within its scope."""

    ADMIN = "admin"
    WRITER = "writer"
    READER = "reader"
    SDK = "sdk"
    CLIENT = "client"


EVALUATING = frozenset({Role.SDK, Role.CLIENT})
"""Roles whose tokens evaluate flags; these tokens belong to one environment."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, stored without its secret.

    Attributes:
        role: ``admin`` may also create tokens and projects. ``client`` is for pages and apps,
            whose users can read the token: it evaluates the flags that are available to
            clients, and nothing else.
        digest: hex HMAC-SHA256 of the secret.
        project: limits the token to one project; None: all.
        environment: limits it to one environment of the project. A token with the role
            ``sdk`` or ``client`` has a project and an environment.
        rate_limit: how many evaluation requests a minute are allowed; None: any number.
    """

    id: str
    name: str
    role: Role
    digest: str
    created_by: str
    created_ms: int
    project: str | None = None
    environment: str | None = None
    rate_limit: int | None = None
