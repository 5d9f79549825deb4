"""What the caller of a request may do, and where."""

from __future__ import annotations

from tidegate_server.domain.callers import Caller
from tidegate_server.domain.permissions import EVALUATION, Grant, Permission, roles_with
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import Forbidden


def require_permission(
    caller: Caller, permission: Permission, project: str | None, environment: str | None
) -> None:
    """Check that a caller may do something in a project, an environment, or the whole server.

    A caller of one environment may read what the whole project shares, but change only what
    belongs to the environment.

    Args:
        caller: who makes the request.
        permission: what they need.
        project: None: the whole server.
        environment: None: the whole project.

    Raises:
        Forbidden: the permission is missing or its scope too narrow; the message says which.
    """
    if caller.allows(permission, project, environment):
        return
    require_anywhere(caller, permission)
    given = [grant.place for grant in caller.grants if permission in grant.permissions]
    where = ", ".join(dict.fromkeys(given))
    if project is None:
        needed = "for the whole server"
    elif environment is None and caller.has_anywhere(permission, project):
        needed = f"for every environment of project {project!r}"
    else:
        needed = f"in {Grant(frozenset(), project, environment).place}"
    raise Forbidden(
        f"This needs the permission {permission.value} {needed}; you have it in {where}."
    )


def require_anywhere(caller: Caller, permission: Permission, project: str | None = None) -> None:
    """Check that a caller has a permission in some place; raise ``Forbidden`` if not.

    With a ``project``, in some place of that.
    """
    if caller.has_anywhere(permission, project):
        return
    if project is not None and caller.has_anywhere(permission):
        require_permission(caller, permission, project, None)
    if caller.grants and all(grant.permissions <= EVALUATION for grant in caller.grants):
        raise Forbidden(
            "A token of the role sdk or client gets evaluations only; "
            "use a token of a person or a program that may read or change flags."
        )
    roles = " or ".join(role.value for role in roles_with(permission))
    own = ", ".join(dict.fromkeys(f"{grant.role} ({grant.place})" for grant in caller.grants))
    raise Forbidden(
        f"This needs the permission {permission.value}, which the roles {roles} have; "
        f"you have {own or 'no role'}."
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
