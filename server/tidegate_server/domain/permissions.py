"""Permissions, the roles that are named sets of them, and where they hold.

A grant gives permissions within a scope: the whole server, one project, or one environment of a
project. A token has one grant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Permission(StrEnum):
    """What somebody may do. Every route of the API names the one that it needs."""

    READ = "read"
    WRITE = "write"
    RELEASE = "release"
    APPROVE = "approve"
    KILL = "kill"
    ADMINISTER = "administer"
    CODE = "code"
    SDK = "sdk"
    EVALUATE = "evaluate"


EVALUATION = frozenset({Permission.SDK, Permission.EVALUATE})
"""Permissions that only applications need. Their tokens have no others."""


class Role(StrEnum):
    """A named set of permissions, or a kind of token that evaluates flags.

    ``READER`` and ``WRITER`` are names of earlier versions.
    """

    ADMIN = "admin"
    RELEASE_MANAGER = "release_manager"
    DEVELOPER = "developer"
    RESPONDER = "responder"
    VIEWER = "viewer"
    CUSTOM = "custom"
    WRITER = "writer"
    READER = "reader"
    SDK = "sdk"
    CLIENT = "client"


EVALUATING = frozenset({Role.SDK, Role.CLIENT})
"""Roles whose tokens evaluate flags and do nothing else; these belong to one environment."""

_VIEWER = frozenset({Permission.READ})
_ADMIN = frozenset(Permission) - EVALUATION
_RELEASE_MANAGER = _ADMIN - {Permission.ADMINISTER}

PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = MappingProxyType(
    {
        Role.ADMIN: _ADMIN,
        Role.RELEASE_MANAGER: _RELEASE_MANAGER,
        Role.DEVELOPER: _VIEWER | {Permission.WRITE, Permission.CODE},
        Role.RESPONDER: _VIEWER | {Permission.KILL},
        Role.VIEWER: _VIEWER,
        Role.CUSTOM: frozenset(),
        Role.WRITER: _RELEASE_MANAGER,
        Role.READER: _VIEWER,
        Role.SDK: EVALUATION,
        Role.CLIENT: frozenset({Permission.EVALUATE}),
    }
)
"""The permissions of each role; those of ``CUSTOM`` are listed where it is given."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Permissions within a scope.

    Attributes:
        permissions: what it allows.
        project: the only project; None: the whole server.
        environment: the only environment of the project; None: all of them.
        role: the role that gave it, for messages.
    """

    permissions: frozenset[Permission]
    project: str | None = None
    environment: str | None = None
    role: str = field(default="", compare=False)

    @property
    def administers_server(self) -> bool:
        """Whether it allows to administer the whole server."""
        return Permission.ADMINISTER in self.permissions and self.project is None

    @property
    def place(self) -> str:
        """The scope in words."""
        if self.project is None:
            return "the whole server"
        if self.environment is None:
            return f"project {self.project!r}"
        return f"environment {self.environment!r} of project {self.project!r}"

    def covers(self, project: str | None, environment: str | None) -> bool:
        """Return whether a place lies within the scope.

        Args:
            project: None: the whole server.
            environment: None: the whole project.
        """
        if self.project is None:
            return True
        if project != self.project:
            return False
        return self.environment is None or environment == self.environment

    def allows(self, permission: Permission, project: str | None, environment: str | None) -> bool:
        """Return whether it allows to do something in a place.

        Who may see one environment may also see what all environments of the project share.
        """
        if permission not in self.permissions:
            return False
        shared = permission is Permission.READ and environment is None and project is not None
        return self.covers(project, environment) or (shared and project == self.project)


def roles_with(permission: Permission) -> list[Role]:
    """Return the roles that have a permission, the least powerful first, without old names."""
    return sorted(
        (
            role
            for role, permissions in PERMISSIONS.items()
            if permission in permissions and role not in (Role.WRITER, Role.READER)
        ),
        key=lambda role: len(PERMISSIONS[role]),
    )


def in_order(permissions: Iterable[Permission]) -> tuple[Permission, ...]:
    """Return permissions without repetition, in the order in which they are defined."""
    given = frozenset(permissions)
    return tuple(each for each in Permission if each in given)
