"""Access tokens: what one may do, without its secret."""

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
"""Roles of those who ask for evaluations; their tokens name one environment."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token's record. ``digest`` is hex HMAC-SHA256 of the secret; the secret is not kept.

    ``project`` limits it to one project (None: all), ``environment`` to one environment of
    it; a token with the role ``sdk`` or ``client`` has both. ``admin`` may also make tokens
    and projects. ``client`` is for pages and apps, whose users can read it: it learns how the
    flags that are available to clients evaluate, and nothing else. ``rate_limit`` is how many
    requests for evaluations a minute may be made with it (None: any number).
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
