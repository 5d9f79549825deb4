"""Read the documents that a request needs, or say which one is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cached_property

from flask import g, has_request_context

from tidegate_server.domain.change import Address, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.errors import NotFound
from tidegate_server.near_misses import similar
from tidegate_server.store import Store
from tidegate_server.store.document_cache import targeting_index

UNNAMED = (Kind.RELEASE, Kind.HOOK, Kind.SHARE, Kind.PROGRESS, Kind.PERSON)
"""What people know by generated ids, which have no near misses."""

OF_PROJECT = (
    *(Kind.ENVIRONMENT, Kind.FLAG, Kind.SEGMENT, Kind.POLICY),
    *(Kind.WEBHOOK, Kind.HOOK, Kind.CONTEXT),
)
"""The kinds of documents that every environment of a project shares."""

SERVER = ""
"""The scope of projects and tokens."""


def read_project(store: Store, project: str) -> Stored:
    """Return a project; raises ``NotFound``."""
    stored = store.get(SERVER, Address(Kind.PROJECT, project))
    if stored is None:
        # Who may read one project does not learn the names of others.
        server_wide = (
            has_request_context() and "caller" in g and g.caller.allows(Permission.READ, None, None)
        )
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
        if project:
            read_project(store, project)
        if address.environment:
            read_environment(store, project, address.environment)
        raise missing_document(store, project, address)
    return stored


def missing_document(store: Store, project: str, address: Address) -> NotFound:
    """Return the error that says that a document does not exist, and what does.

    Whoever may ask for one document of a project may list them all.
    """
    kind = "flag" if address.kind is Kind.TARGETING else address.kind.words
    where = f"environment {address.environment!r} of " if address.environment else ""
    place = f" in {where}project {project!r}" if project else ""
    known: list[str] = []
    if address.kind not in UNNAMED:
        known = store.keys(project, address.kind, address.environment)
    return NotFound(
        f"There is no {kind} {address.key!r}{place}.",
        similar(address.key, known),
    )


def read_project_documents(store: Store, project: str) -> ProjectDocuments:
    """Return everything that a project holds, without the releases that have ended.

    Raises:
        NotFound: there is no such project.
    """
    read_project(store, project)
    environments, flags, segments, policies, webhooks, hooks, contexts = store.cached_all(
        project, [(kind, "") for kind in OF_PROJECT]
    )
    names = list(environments.stored)
    targetings = store.cached_all(project, [(Kind.TARGETING, name) for name in names])
    indexes = {name: targeting_index(each) for name, each in zip(names, targetings, strict=True)}
    return ProjectDocuments(
        project=project,
        environments=environments.stored,
        flags=flags.stored,
        segments=segments.stored,
        policies=policies.stored,
        webhooks=webhooks.stored,
        hooks=hooks.stored,
        contexts=contexts.stored,
        targetings={name: each.stored for name, each in zip(names, targetings, strict=True)},
        releases={
            name: ActiveReleases(store, project, name, frozenset(index.released.values()))
            for name, index in indexes.items()
        },
        indexes=indexes,
        read=environments.moment,
    )


def read_flag_documents(
    store: Store, project: str, environment: str, flag: str
) -> ProjectDocuments:
    """Return what a kill or a release action needs: one flag in one environment.

    The policies are read when somebody asks for them: a kill of a flag without a release does.

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
    release: str | None = targeting.document.release
    active = frozenset(() if release is None else (release,))
    return ProjectDocuments(
        project=project,
        environments={environment: stored_environment},
        flags={flag: definition},
        targetings={environment: {flag: targeting}},
        policies=Policies(store, project),
        releases={environment: ActiveReleases(store, project, environment, active)},
    )


class Policies(Mapping[str, Stored]):
    """The policies of a project, read together when one is asked for."""

    def __init__(self, store: Store, project: str) -> None:
        self._store = store
        self._project = project

    @cached_property
    def _all(self) -> Mapping[str, Stored]:
        return self._store.all(self._project, Kind.POLICY)

    def __getitem__(self, key: str) -> Stored:
        return self._all[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


class ActiveReleases(Mapping[str, Stored]):
    """The releases that the targetings of an environment name, each read when it is asked for.

    Whoever looks through them reads all at once, those of whoever asks for one only that one.

    Args:
        store, project, environment: where they are.
        ids: theirs.
    """

    def __init__(self, store: Store, project: str, environment: str, ids: Set[str]) -> None:
        self._store = store
        self._project = project
        self._environment = environment
        self._ids = ids
        self._read: dict[str, Stored | None] = {}

    def __getitem__(self, id: str) -> Stored:
        stored = self._find([id]).get(id) if id in self._ids else None
        if stored is None:
            raise KeyError(id)
        return stored

    def __iter__(self) -> Iterator[str]:
        found = self._find(sorted(self._ids))
        return iter([id for id, stored in found.items() if stored is not None])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _find(self, ids: Sequence[str]) -> Mapping[str, Stored | None]:
        missing = [id for id in ids if id not in self._read]
        if missing:
            addresses = [Address(Kind.RELEASE, id, self._environment) for id in missing]
            found = self._store.get_many(self._project, addresses)
            self._read.update(zip(missing, found, strict=True))
        return self._read
