"""Create hooks, and check the secret of a call."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegate_server.admin.document_commits import (
    StoredWithSecret,
    create_document,
    with_secret,
)
from tidegate_server.domain import hook_edits
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Change
from tidegate_server.domain.hook_edits import hook_address
from tidegate_server.domain.hooks import Hook
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.errors import NotFound, TooManyAlerts, Unauthenticated
from tidegate_server.store import Store
from tidegate_server.web import token_secrets
from tidegate_server.web.access_control import require_permission
from tidegate_server.web.backend import Backend, current_caller

SECRET_PREFIX = "tgh_"  # noqa: S105 - not a secret itself
CALL_LIMIT = 60
CALL_LIMIT_SECONDS = 60
"""A hook may be called ``CALL_LIMIT`` times in this time."""

UNAUTHENTICATED = (
    "Send the hook's own secret, as Authorization: Bearer <secret> or as the password of Basic "
    "authentication."
)


@dataclass(frozen=True, slots=True)
class AuthenticatedHook:
    """A hook that was called with its secret, and its project."""

    project: str
    hook: Hook


def require_its_permission(caller: Caller, project: str, hook: Hook) -> None:
    """Check that a caller may do themselves what a hook does: pause, roll back and kill.

    Raises:
        Forbidden: they may not, in the hook's environment.
    """
    require_permission(caller, Permission.KILL, project, hook.environment)


def put_hook(documents: ProjectDocuments, hook: Hook, *, actor: str, reason: str) -> Change:
    """Create or replace a hook for the current caller.

    Raises:
        Forbidden: as ``require_its_permission``.
        Invalid: the hook is not valid.
    """
    require_its_permission(current_caller(), documents.project, hook)
    return hook_edits.put_hook(documents, hook, actor=actor, reason=reason)


def create_hook(
    store: Store, secret_key: bytes, project: str, hook: Hook, actor: str, reason: str
) -> StoredWithSecret:
    """Create a hook with a new id and secret; raises as ``put_hook``."""
    id, secret = f"hook_{token_secrets.new_id()}", SECRET_PREFIX + token_secrets.new_secret()
    digest = token_secrets.secret_digest(secret_key, secret)
    new = replace(hook, id=id, digest=digest, created_by=actor, created_ms=store.now_ms())

    def make_change(documents: ProjectDocuments) -> Change:
        change = put_hook(documents, new, actor=actor, reason=reason)
        # A call names only the hook, not its project. Written first: a hook that calls cannot
        # find would be silent.
        store.put_server_value_once(_project_name(id), project)
        return change

    return with_secret(create_document(store, project, hook_address(id), make_change), secret)


def authenticate_hook(backend: Backend, id: str, presented_secret: str) -> AuthenticatedHook:
    """Return a hook if the caller presents its secret, and count the call.

    Raises:
        NotFound: there is no such hook.
        Unauthenticated: the secret is wrong.
        RateLimited: it is wrong, and so were many others from this address.
        TooManyAlerts: the hook is called too often. Monitoring systems retry only after a 5xx
            status, so this is one: the alert is late, but not lost.
    """
    store = backend.store
    project = store.get_server_value(_project_name(id))
    stored = store.get(project, hook_address(id)) if project is not None else None
    if project is None or stored is None:
        raise NotFound("There is no such hook; it may have been deleted.")
    hook: Hook = stored.document
    secret_key = backend.settings.secret_key
    if not token_secrets.secret_matches(secret_key, presented_secret, hook.digest):
        if presented_secret:
            backend.authenticator.count_guess(UNAUTHENTICATED)
        raise Unauthenticated(UNAUTHENTICATED)
    if store.heard_alerts.count_call(project, id, CALL_LIMIT_SECONDS) > CALL_LIMIT:
        raise TooManyAlerts(
            f"Hook {hook.name} was called more than {CALL_LIMIT} times in "
            f"{CALL_LIMIT_SECONDS} seconds; let the monitoring system group its alerts."
        )
    return AuthenticatedHook(project, hook)


def _project_name(id: str) -> str:
    """Return the name under which the store keeps the project of a hook."""
    return f"hook-{id}"
