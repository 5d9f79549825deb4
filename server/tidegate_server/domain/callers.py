"""Who makes a request, and what they may do.

A token and a person who has signed in are both callers. Whatever checks permissions or needs
another person looks at the caller, never at how it proved who it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.domain.permissions import Grant, Permission
from tidegate_server.domain.tokens import Token


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request.

    Attributes:
        id: the id of the token or the person.
        name: as the audit log has it: ``ci (4f2a91c07d3e)``.
        known_as: what policies call them: the name of the token, the email of the person.
        grants: what they may do, and where.
        answerable: the id of the person behind the request; ``token:<id>`` if a token has
            none. Two callers with the same one count as one person.
        person: the id of the person who makes the request, in a session or with a token of their
            own; empty: a program does.
    """

    id: str
    name: str
    known_as: str
    grants: tuple[Grant, ...]
    answerable: str
    person: str = ""

    def allows(self, permission: Permission, project: str | None, environment: str | None) -> bool:
        """Return whether they may do something in a place.

        Who may see one environment may also see what all environments of the project share.

        Args:
            permission: what they need.
            project: None: the whole server.
            environment: None: the whole project.
        """
        return any(grant.allows(permission, project, environment) for grant in self.grants)

    def holds(self, permission: Permission, project: str | None, environment: str | None) -> bool:
        """Return whether they have a permission in the whole of a place, also to give it away."""
        return any(
            permission in grant.permissions and grant.covers(project, environment)
            for grant in self.grants
        )

    def has_anywhere(self, permission: Permission, project: str | None = None) -> bool:
        """Return whether they have a permission in some place; in a project, or part of it."""
        return any(
            permission in grant.permissions
            and (project is None or grant.project in (None, project))
            for grant in self.grants
        )


def token_caller(token: Token) -> Caller:
    """Return the caller that a token stands for."""
    return Caller(
        id=token.id,
        name=f"{token.name} ({token.id})",
        known_as=token.name,
        grants=(token.grant,),
        answerable=token.made_by or f"token:{token.id}",
    )
