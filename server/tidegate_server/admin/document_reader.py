"""Read the documents that a request needs, or say which one is missing."""

from __future__ import annotations

from flask import g, has_request_context

from tidegate_server.domain.change import Address, Kind, Stored
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.errors import NotFound
from tidegate_server.near_misses import similar
from tidegate_server.store import Store

UNNAMED = (Kind.RELEASE, Kind.HOOK, Kind.PROGRESS)
"""What people know by generated ids, which have no near misses."""

SERVER = ""
"""The scope of projects and tokens."""


def read_project(store: Store, project: str) -> Stored:
    """Return a project; raises ``NotFound``."""
    stored = store.get(SERVER, Address(Kind.PROJECT, project))
    if stored is None:
        # A token for one project does not learn the names of others.
        server_wide = has_request_context() and "token" in g and g.token.project is None
        known = store.projects() if server_wide else []
        raise NotFound(f"There is no project {project!r}.", similar(project, known))
    return stored


def read_environment(store: Store, project: str, environment: str) -> Stored:
    """Return an environment; raises ``NotFound`` for it or for its project."""
    return read_document(store, project, Address(Kind.ENVIRONMENT, environment))


def read_document(store: Store, project: str, address: Address) -> Stored:
    """Return one document of a project.

    Raises:
        NotFound: the document, its environment or its project does not exist.
    """
    stored = store.get(project, address)
    if stored is None:
        read_project(store, project)
        if address.environment:
            read_environment(store, project, address.environment)
        raise missing_document(store, project, address)
    return stored


def missing_document(store: Store, project: str, address: Address) -> NotFound:
    """Return the error that says that a document does not exist, and what does.

    Whoever may ask for one document of a project may list them all.
    """
    kind = "flag" if address.kind is Kind.TARGETING else address.kind.value
    where = f"environment {address.environment!r} of " if address.environment else ""
    known: list[str] = []
    if address.kind not in UNNAMED:
        known = store.keys(project, address.kind, address.environment)
    return NotFound(
        f"There is no {kind} {address.key!r} in {where}project {project!r}.",
        similar(address.key, known),
    )


def read_project_documents(store: Store, project: str) -> ProjectDocuments:
    """Return everything that a project holds, without the releases that have ended.

    Raises:
        NotFound: there is no such project.
    """
    read_project(store, project)
    environments = store.all(project, Kind.ENVIRONMENT)
    targetings = {key: store.all(project, Kind.TARGETING, key) for key in environments}
    return ProjectDocuments(
        project=project,
        environments=environments,
        flags=store.all(project, Kind.FLAG),
        segments=store.all(project, Kind.SEGMENT),
        policies=store.all(project, Kind.POLICY),
        webhooks=store.all(project, Kind.WEBHOOK),
        hooks=store.all(project, Kind.HOOK),
        targetings=targetings,
        releases={
            key: _active_releases(store, project, key, targetings[key]) for key in targetings
        },
    )


def read_flag_documents(
    store: Store, project: str, environment: str, flag: str
) -> ProjectDocuments:
    """Return what a kill or a release action needs: one flag in one environment.

    Raises:
        NotFound: there is no such project, environment or flag.
    """
    addresses = (
        Address(Kind.ENVIRONMENT, environment),
        Address(Kind.FLAG, flag),
        Address(Kind.TARGETING, flag, environment),
    )
    stored_environment, definition, targeting = store.get_many(project, addresses)
    if stored_environment is None:
        stored_environment = read_environment(store, project, environment)
    if definition is None or targeting is None:
        raise missing_document(store, project, Address(Kind.FLAG, flag))
    targetings = {flag: targeting}
    return ProjectDocuments(
        project=project,
        environments={environment: stored_environment},
        flags={flag: definition},
        targetings={environment: targetings},
        releases={environment: _active_releases(store, project, environment, targetings)},
    )


def _active_releases(
    store: Store, project: str, environment: str, targetings: dict[str, Stored]
) -> dict[str, Stored]:
    ids = [
        each.document.release for each in targetings.values() if each.document.release is not None
    ]
    if not ids:
        return {}
    releases = store.get_many(project, [Address(Kind.RELEASE, id, environment) for id in ids])
    return {id: stored for id, stored in zip(ids, releases, strict=True) if stored is not None}
