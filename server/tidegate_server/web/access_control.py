"""What the token of a request may do, and where."""

from __future__ import annotations

from tidegate_server.domain.permissions import EVALUATING, Permission, roles_with
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import Forbidden


def actor_name(token: Token) -> str:
    """Return the name of a token in the audit log: its name and its id."""
    return f"{token.name} ({token.id})"


def require_permission(
    token: Token, permission: Permission, project: str | None, environment: str | None
) -> None:
    """Check that a token may do something in a project, an environment, or the whole server.

    A token for one environment may read what the whole project shares, but change only what
    belongs to its environment.

    Args:
        token: the token.
        permission: what it needs.
        project: None: the whole server.
        environment: None: the whole project.

    Raises:
        Forbidden: the permission is missing or the scope too narrow; the message says which.
    """
    grant = token.grant
    if grant.allows(permission, project, environment):
        return
    if token.role in EVALUATING:
        raise Forbidden(
            "A token of the role sdk or client gets evaluations only; "
            "use a token of a person or a program that may read or change flags."
        )
    if permission not in grant.permissions:
        roles = " or ".join(role.value for role in roles_with(permission))
        raise Forbidden(
            f"This needs the permission {permission.value}, which the roles {roles} have; the "
            f"token's role is {token.role.value}."
        )
    if project is None:
        raise Forbidden(
            f"This needs a token for the whole server; this one is for project {token.project!r}."
        )
    if project != token.project:
        raise Forbidden(f"The token is for project {token.project!r}, not {project!r}.")
    if environment is not None:
        raise Forbidden(f"The token is for environment {token.environment!r}, not {environment!r}.")
    raise Forbidden(
        "This changes every environment of the project; the token is for environment "
        f"{token.environment!r} only."
    )


def evaluation_environment(token: Token) -> tuple[str, str]:
    """Return the project and environment in which a token may evaluate flags.

    Raises:
        Forbidden: the token's role is not sdk or client.
    """
    if (
        Permission.EVALUATE not in token.grant.permissions
        or token.project is None
        or token.environment is None
    ):
        raise Forbidden(
            "Evaluations need a token of the role sdk or client, which names its environment: "
            "`tidegate token create web --role client --environment production` makes one."
        )
    return token.project, token.environment


def sdk_environment(token: Token) -> tuple[str, str]:
    """Return the project and environment of an SDK token.

    Raises:
        Forbidden: the token's role is not sdk.
    """
    if (
        Permission.SDK not in token.grant.permissions
        or token.project is None
        or token.environment is None
    ):
        raise Forbidden(
            "Snapshots, streams and reports need an sdk token, which names its environment: "
            "`tidegate token create --role sdk --environment production` makes one."
        )
    return token.project, token.environment
