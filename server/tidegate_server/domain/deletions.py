"""The deletion of an environment, and of a whole project.

One commit deletes the environment's document and writes a deletion. From that moment the store
refuses whatever would write something of the environment, so that what belongs to it can be removed
in steps, by any process, also after a crash (``store/removal.py``). The deletion stays when that is
done: it keeps late reports out until another environment gets the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidegate_server.domain.change import Address, Audit, Change, Delete, Put, Stored
from tidegate_server.domain.field_problems import raise_problems
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    environment_address,
    guards,
    targeting_address,
)
from tidegate_server.errors import FieldProblem, NotPossible

WHOLE_PROJECT = "~project"
"""The key of the deletion of a project; no environment has it."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """An environment, or a whole project, that was deleted.

    Attributes:
        project: the project's key.
        environment: the environment's key; empty: the whole project.
        actor, reason: who deleted it, and why.
        at_ms: when.
        done: whether everything that belonged to it has been removed.
    """

    project: str
    environment: str
    actor: str
    reason: str
    at_ms: int
    done: bool = False

    @property
    def name(self) -> str:
        """What was deleted, in words."""
        if self.environment:
            return f"environment {self.environment!r} of project {self.project!r}"
        return f"project {self.project!r}"


def deletion_address(environment: str = "") -> Address:
    """Return the address of a deletion in the scope of its project; empty: of all of it."""
    return Address(Kind.DELETION, environment or WHOLE_PROJECT)


def unfinished_address(project: str) -> Address:
    """Return the address of a project's deletion in the scope of the server, while it goes on."""
    return Address(Kind.DELETION, project)


def delete_environment(
    documents: ProjectDocuments,
    environment: str,
    earlier: Stored | None,
    *,
    actor: str,
    now_ms: int,
    reason: str = "",
    force: bool = False,
    confirmed: str = "",
    in_use: Sequence[str] = (),
) -> Change:
    """Delete an environment; what belongs to it is removed afterwards.

    Args:
        documents: the project as read.
        environment: the environment's key.
        earlier: the deletion of an earlier environment with this key.
        actor: who.
        now_ms: the time.
        reason: why.
        force: delete it although applications use it.
        confirmed: with ``force``, the key once more.
        in_use: who uses it, in sentences.

    Raises:
        NotFound: there is no such environment.
        NotPossible: it has an active release, or is in use; ``force`` helps against the latter.
        Invalid: ``confirmed`` is not its key.
    """
    before = documents.environment(environment)
    releasing = [
        each.document.flag for key, each in documents.active_releases() if key == environment
    ]
    _check(f"Environment {environment!r}", environment, releasing, in_use, force, confirmed)
    deletion = Deletion(documents.project, environment, actor, reason, now_ms)
    targetings = documents.targetings.get(environment, {})
    return Change(
        scope=documents.project,
        writes=(
            Delete(environment_address(environment), before.revision, before=before.document),
            Put(
                deletion_address(environment),
                deletion,
                0 if earlier is None else earlier.revision,
                before=None if earlier is None else earlier.document,
            ),
            # No release may start meanwhile.
            *guards(lambda flag: targeting_address(environment, flag), targetings),
        ),
        audit=Audit(
            actor,
            "environment.delete",
            environment,
            environment,
            reason,
            {"flags": len(targetings), "forced": bool(in_use)},
        ),
    )


def close_project(
    documents: ProjectDocuments,
    earlier: Stored | None,
    *,
    actor: str,
    now_ms: int,
    reason: str = "",
    force: bool = False,
    confirmed: str = "",
    in_use: Sequence[str] = (),
) -> Change:
    """Begin the deletion of a project: nothing can be written to it any more.

    Arguments and errors as for ``delete_environment``.
    """
    releasing = [
        f"{each.document.flag} in {environment}"
        for environment, each in documents.active_releases()
    ]
    name = f"Project {documents.project!r}"
    _check(name, documents.project, releasing, in_use, force, confirmed)
    deletion = Deletion(documents.project, "", actor, reason, now_ms)
    return Change(
        scope=documents.project,
        writes=(
            Put(
                deletion_address(),
                deletion,
                0 if earlier is None else earlier.revision,
                before=None if earlier is None else earlier.document,
            ),
            *(
                each
                for environment, targetings in documents.targetings.items()
                for each in guards(
                    lambda flag, environment=environment: targeting_address(environment, flag),  # type: ignore[misc]
                    targetings,
                )
            ),
        ),
        audit=Audit(
            actor,
            "project.delete",
            documents.project,
            "",
            reason,
            {"flags": len(documents.flags), "environments": ", ".join(documents.environments)},
        ),
    )


def delete_project(project: Stored, deletion: Deletion) -> Change:
    """Delete a closed project's document (scope ``""``)."""
    key = deletion.project
    return Change(
        scope="",
        writes=(
            Delete(Address(Kind.PROJECT, key), project.revision, before=project.document),
            Put(unfinished_address(key), deletion, 0),
        ),
        audit=Audit(deletion.actor, "project.delete", key, "", deletion.reason),
    )


def finished(stored: Stored) -> Change:
    """Note in a project's scope that everything of a deletion was removed."""
    deletion: Deletion = stored.document
    address = deletion_address(deletion.environment)
    return Change(
        scope=deletion.project,
        writes=(
            Put(address, replace(deletion, done=True), stored.revision, before=stored.document),
        ),
    )


def _check(
    name: str,
    key: str,
    releasing: Sequence[str],
    in_use: Sequence[str],
    force: bool,
    confirmed: str,
) -> None:
    if releasing:
        raise NotPossible(
            f"{name} has active releases: {', '.join(releasing[:5])}. Complete them or roll them "
            "back first."
        )
    if in_use and not force:
        raise NotPossible(
            f"{name} is in use. {' '.join(in_use)} End that first; or delete it with force."
        )
    if force and confirmed != key:
        problem = FieldProblem("/confirm", f"To delete it with force, give its key: {key}.")
        raise_problems(name, [problem])
