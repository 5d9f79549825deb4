"""Read the documents that say who may do what, and check the places that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flask import g

from tidegate_server.admin.document_reader import SERVER
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.people import ACCESS_KINDS, AccessDocuments, Identity, RoleGrant
from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.near_misses import question, similar
from tidegate_server.store import Store


def read_access_documents(store: Store, _: str = SERVER) -> AccessDocuments:
    """Return everything that says who may do what."""
    return AccessDocuments(*store.all_of(SERVER, [(kind, "") for kind in ACCESS_KINDS]))


def present_access(store: Store) -> AccessDocuments:
    """Return the same, read once for the current request: for what it shows, not what it changes.

    What the ``Authenticator`` knows may be a second old, and would not show a change just made.
    """
    if "access_documents" not in g:
        kinds = (store.cached(SERVER, kind).stored for kind in ACCESS_KINDS)
        g.access_documents = AccessDocuments(*kinds)
    access: AccessDocuments = g.access_documents
    return access


def present_identities(access: AccessDocuments) -> Mapping[str, tuple[Identity, ...]]:
    """Return the identities of each person who has some, sorted once for the current request."""
    if "identities_of_people" not in g:
        found: dict[str, tuple[Identity, ...]] = {}
        for each in access.identities.values():
            identity: Identity = each.document
            found[identity.person] = (*found.get(identity.person, ()), identity)
        g.identities_of_people = found
    identities: Mapping[str, tuple[Identity, ...]] = g.identities_of_people
    return identities


def check_place_exists(
    store: Store, project: str | None, environment: str | None, pointer: str = ""
) -> None:
    """Check that a project and an environment exist; None: there is none to check.

    Raises:
        Invalid: one does not exist; the pointer begins with ``pointer``.
    """
    problem = next(_missing_places(store, project, environment, pointer), None)
    if problem is not None:
        raise Invalid(problem.detail, problem)


def check_grants_exist(store: Store, grants: Iterable[RoleGrant]) -> None:
    """Check that the places of grants exist; raises ``Invalid`` as ``check_place_exists``."""
    for index, grant in enumerate(grants):
        check_place_exists(store, grant.project, grant.environment, f"/grants/{index}")


def _missing_places(
    store: Store, project: str | None, environment: str | None, pointer: str
) -> Iterator[FieldProblem]:
    if project is None:
        return
    if store.get(SERVER, Address(Kind.PROJECT, project)) is None:
        known = similar(project, store.projects())
        message = f"There is no project {project!r}; create it first.{question(known)}"
        yield FieldProblem(f"{pointer}/project", message, known)
    elif (
        environment is not None
        and store.get(project, Address(Kind.ENVIRONMENT, environment)) is None
    ):
        known = similar(environment, store.keys(project, Kind.ENVIRONMENT))
        message = f"There is no environment {environment!r}; create it first.{question(known)}"
        yield FieldProblem(f"{pointer}/environment", message, known)
