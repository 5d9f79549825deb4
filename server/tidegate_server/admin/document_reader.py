"""Reading a project's documents for the pure functions that make changes of them."""

from __future__ import annotations

from tidegate_server.domain.change import Address, Kind, Stored
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.errors import NotFound
from tidegate_server.store import Store

SERVER = ""
"""The scope of projects and tokens."""


def project_of(store: Store, project: str) -> Stored:
    """A project; raises ``NotFound``."""
    stored = store.get(SERVER, Address(Kind.PROJECT, project))
    if stored is None:
        raise NotFound(f"There is no project {project!r}.")
    return stored


def document_of(store: Store, project: str, address: Address) -> Stored:
    """One document of a project; raises ``NotFound`` naming what is missing."""
    stored = store.get(project, address)
    if stored is None:
        project_of(store, project)
        if address.environment:
            environment_of(store, project, address.environment)
        kind = "flag" if address.kind is Kind.TARGETING else address.kind.value
        where = f"environment {address.environment!r} of " if address.environment else ""
        raise NotFound(f"There is no {kind} {address.key!r} in {where}project {project!r}.")
    return stored


def environment_of(store: Store, project: str, environment: str) -> Stored:
    """An environment; raises ``NotFound`` for it or its project."""
    stored = store.get(project, Address(Kind.ENVIRONMENT, environment))
    if stored is None:
        project_of(store, project)
        raise NotFound(f"There is no environment {environment!r} in project {project!r}.")
    return stored


def whole_project(store: Store, project: str) -> ProjectDocuments:
    """Everything that a project holds, releases that ended left out.

    Raises:
        NotFound: there is no such project.
    """
    project_of(store, project)
    environments = store.all(project, Kind.ENVIRONMENT)
    targetings = {key: store.all(project, Kind.TARGETING, key) for key in environments}
    return ProjectDocuments(
        project=project,
        environments=environments,
        flags=store.all(project, Kind.FLAG),
        segments=store.all(project, Kind.SEGMENT),
        policies=store.all(project, Kind.POLICY),
        webhooks=store.all(project, Kind.WEBHOOK),
        targetings=targetings,
        releases={key: _active(store, project, key, targetings[key]) for key in targetings},
    )


def one_flag(store: Store, project: str, environment: str, flag: str) -> ProjectDocuments:
    """As much of a project as a kill or a release's action rests on: one flag, one environment.

    Raises:
        NotFound: there is no such project, environment or flag.
    """
    addresses = (
        Address(Kind.ENVIRONMENT, environment),
        Address(Kind.FLAG, flag),
        Address(Kind.TARGETING, flag, environment),
    )
    place, definition, targeting = store.get_many(project, addresses)
    if place is None:
        environment_of(store, project, environment)
    if definition is None or targeting is None or place is None:
        raise NotFound(f"There is no flag {flag!r} in project {project!r}.")
    targetings = {flag: targeting}
    return ProjectDocuments(
        project=project,
        environments={environment: place},
        flags={flag: definition},
        targetings={environment: targetings},
        releases={environment: _active(store, project, environment, targetings)},
    )


def _active(
    store: Store, project: str, environment: str, targetings: dict[str, Stored]
) -> dict[str, Stored]:
    ids = [found for each in targetings.values() if (found := each.document.release) is not None]
    if not ids:
        return {}
    read = store.get_many(project, [Address(Kind.RELEASE, id, environment) for id in ids])
    return {id: stored for id, stored in zip(ids, read, strict=True) if stored is not None}
