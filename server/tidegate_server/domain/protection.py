"""Which changes need another person: those of what a protected environment serves, and who may.

What a change writes decides, not the route that makes it. So an import, a restored version and a
schedule need the same approvals as an edit. What stops something never waits: a kill, a pause and
a rollback. Neither does what only gives back what was approved before: to restore a killed flag,
and to resume a release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from tidegate_server.domain.change import Change, Delete, Guard, Put, Stored
from tidegate_server.domain.deletions import WHOLE_PROJECT
from tidegate_server.domain.field_differences import same
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition, Targeting
from tidegate_server.domain.identity_provider_edits import grants_of_change
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.people import AccessDocuments, Person
from tidegate_server.domain.permissions import EVALUATION, Grant, Permission
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.domain.projects import Environment
from tidegate_server.domain.references import (
    reachable,
    segments_named_by,
    users_of_webhook,
)
from tidegate_server.domain.release import Release, State
from tidegate_server.domain.release_commits import targeting_after
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.domain.stale import only_variant
from tidegate_server.domain.tokens import Token

EXEMPT: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        Kind.PROJECT: "a name and a description",
        Kind.HOOK: "an alert can only pause, roll back or kill",
        Kind.SHARE: "a link shows something and changes nothing",
        Kind.PROGRESS: "only the policy job writes it",
        Kind.CONTEXT: "it is for trying flags out, and no flag depends on it",
        Kind.CHANGE_REQUEST: "it changes nothing until it is applied, which needs its approvals",
    }
)
"""The kinds of documents whose changes never wait, and why. Each other kind is guarded."""

CHANGING = frozenset(Permission) - EVALUATION - {Permission.READ}
"""The permissions with which somebody can change something."""


@dataclass(frozen=True, slots=True)
class GuardedPart:
    """A part of a change that needs approvals.

    Attributes:
        project, environment: the protected environment.
        approvals: how many people must approve.
        what: what changes, in words: ``the targeting of flag checkout``.
    """

    project: str
    environment: str
    approvals: int
    what: str


def protected(environments: Mapping[str, Stored]) -> dict[str, int]:
    """Return how many approvals each protected environment requires."""
    return {
        key: stored.document.required_approvals
        for key, stored in environments.items()
        if stored.document.required_approvals > 0
    }


def guarded_parts(
    change: Change,
    environments: Mapping[str, Stored],
    read_documents: Callable[[], ProjectDocuments],
) -> list[GuardedPart]:
    """Return the parts of a project's change that need approvals.

    Args:
        change: a change whose scope is a project.
        environments: the project's environments as stored, before the change.
        read_documents: returns the project's documents; called only if the answer depends on
            what uses a changed document.
    """
    required = protected(environments)
    if not required:
        return []
    documents: ProjectDocuments | None = None
    parts: dict[GuardedPart, None] = {}
    for write in change.writes:
        if isinstance(write, Guard) or write.address.kind in EXEMPT:
            continue
        what = _what(write)
        if write.address.kind is Kind.DELETION:
            # That of an environment comes with the deletion of its document.
            places = set(required) if write.address.key == WHOLE_PROJECT else set()
        elif write.address.kind in _OF_ENVIRONMENT:
            places = {write.address.environment or write.address.key}
            places = places if _guarded_in_environment(change, write) else set()
        elif write.address.kind is Kind.SCHEDULED_CHANGE:
            # To schedule a change is to make it later. To cancel it, or to note a run, is not.
            places = set()
            if isinstance(write, Put) and write.before is None:
                places = {place.environment for place in write.document.plan.places}
        elif write.address.kind in _USED:
            places = set()
            if _changes_what_is_used(write):
                documents = documents or read_documents()
                places = _USED[write.address.kind](documents, write.address.key)
        else:
            places = set(required) if _changes_everywhere(write) else set()
        for place in sorted(places & required.keys()):
            parts[GuardedPart(change.scope, place, required[place], what)] = None
    return list(parts)


def guarded_grants(
    change: Change,
    access: AccessDocuments,
    environments: Mapping[str, Mapping[str, Stored]],
) -> list[GuardedPart]:
    """Return the parts of the server's change that give permissions in protected environments.

    Args:
        change: a change whose scope is the server.
        access: who may do what, before the change.
        environments: the environments of each project that the grants could reach.
    """
    parts: dict[GuardedPart, None] = {}
    for write in change.writes:
        for grant in given_grants(write, access):
            for project, each in environments.items():
                for environment, approvals in protected(each).items():
                    if _may_change(grant, project, environment):
                        part = GuardedPart(project, environment, approvals, _what(write))
                        parts[part] = None
    return list(parts)


def places_to_say_why(
    change: Change,
    access: AccessDocuments,
    environments: Mapping[str, Mapping[str, Stored]],
) -> list[tuple[str, str]]:
    """Return the environments that require reasons where the server's change gives permissions.

    Args:
        change, access, environments: as for ``guarded_grants``.

    Returns:
        The project and the environment of each.
    """
    return [
        (project, environment)
        for project, each in environments.items()
        for environment, stored in each.items()
        if stored.document.require_reason
        and any(
            _may_change(grant, project, environment)
            for write in change.writes
            for grant in given_grants(write, access)
        )
    ]


GIVING = frozenset(
    {
        *(Kind.TOKEN, Kind.PERSON, Kind.GROUP, Kind.ROLE, Kind.INVITATION),
        Kind.IDENTITY_PROVIDER,
    }
)
"""The kinds of the server's documents that give permissions, or a way to use them."""


def given_grants(write: Put | Delete | Guard, access: AccessDocuments) -> tuple[Grant, ...]:
    """Return what a write gives to somebody, or to whoever learns a new secret.

    Whoever gets an invitation can sign in as the person it is for, so it gives all that they have.
    """
    if not isinstance(write, Put):
        return ()
    after: Any = write.document
    match write.address.kind:
        case Kind.TOKEN:
            token: Token = after
            # A person's own new token does nothing that they may not do.
            return () if token.person and write.before is None else (token.grant,)
        case Kind.PERSON:
            # What a provider says at a sign-in was approved with its mapping.
            provided = write.before.provided if write.before is not None else ()
            person: Person = replace(after, provided=provided)
            same_way_in = write.before is not None and (
                (write.before.email, write.before.active) == (person.email, person.active)
            )
            had = access.grants_of(write.before) if same_way_in else ()
            return tuple(each for each in access.grants_of(person) if each not in had)
        case Kind.GROUP:
            had = access.resolved(write.before.grants) if write.before is not None else ()
            return tuple(each for each in access.resolved(after.grants) if each not in had)
        case Kind.ROLE:
            given = frozenset(after.permissions) - (
                frozenset(write.before.permissions) if write.before is not None else frozenset()
            )
            owners = [*access.people.values(), *access.groups.values()]
            return tuple(
                Grant(given, each.project, each.environment)
                for owner in owners
                for each in owner.document.grants
                if each.role == after.key
            )
        case Kind.IDENTITY_PROVIDER:
            return grants_of_change(access, write.before, after)
        case Kind.INVITATION:
            stored = access.people.get(after.id)
            return access.grants_of(stored.document) if stored is not None else ()
        case _:
            return ()


def _may_change(grant: Grant, project: str, environment: str) -> bool:
    return any(grant.allows(each, project, environment) for each in CHANGING)


def _guarded_in_environment(change: Change, write: Put | Delete) -> bool:
    """Return whether a write to a document of one environment needs approvals there."""
    before, after = write.before, write.document if isinstance(write, Put) else None
    if before is None and isinstance(after, Targeting):
        # Applications may ask for a new flag already. What serves its off variant only waits not.
        return only_variant(after) != after.off_variant
    if before is None:
        # A new environment is not protected before it exists.
        return write.address.kind is Kind.RELEASE
    if write.address.kind is Kind.RELEASE:
        return after is None or _opens_more(before, after)
    if write.address.kind is Kind.ENVIRONMENT:
        return after is None or not _same_for_guards(before, after)
    if after is None:
        return True
    was: Targeting = before
    now: Targeting = after
    return not same(
        replace(was, kill=None, release=None), replace(now, kill=None, release=None)
    ) and (not _is_rolled_back(change, write.address.environment, was, now))


def _is_rolled_back(change: Change, environment: str, was: Targeting, now: Targeting) -> bool:
    """Return whether a targeting changes only because its release is rolled back."""
    return any(
        isinstance(each, Put)
        and each.address.kind is Kind.RELEASE
        and each.address.environment == environment
        and each.address.key == was.release
        and each.document.state is State.ROLLED_BACK
        and same(now, replace(targeting_after(was, each.document), kill=now.kill))
        for each in change.writes
    )


def _opens_more(before: Release, after: Release) -> bool:
    """Return whether a person opens a release further than its policy has opened it.

    A restored flag opens again what a kill closed, which was approved before.
    """
    if after.state is State.COMPLETED:
        return True
    if State.KILLED in (before.state, after.state) or after.state is State.ROLLED_BACK:
        return False
    if (before.flag, before.rule, before.treatment, before.policy) != (
        (after.flag, after.rule, after.treatment, after.policy)
    ):
        return True
    return present_openings(before) != present_openings(after) and (
        after.open_percentage > before.open_percentage or after.stage > before.stage
    )


def _same_for_guards(before: Environment, after: Environment) -> bool:
    """Return whether two environments differ at most in words and in their context keys.

    A context key that leaked is replaced at once.
    """
    return (
        replace(
            after,
            name=before.name,
            description=before.description,
            context_key_id=before.context_key_id,
            retiring_context_key_id=before.retiring_context_key_id,
            context_key_retires_ms=before.context_key_retires_ms,
        )
        == before
    )


def _changes_everywhere(write: Put | Delete) -> bool:
    """Return whether a write changes what all environments share: a flag, a policy."""
    if isinstance(write, Delete):
        return True
    if write.before is None:
        return False  # nothing uses it yet
    if write.address.kind is not Kind.FLAG:
        return not same(write.before, write.document)
    before: FlagDefinition = write.before
    after: FlagDefinition = write.document
    # These are for people, and no evaluation depends on them.
    words = {
        name: getattr(before, name)
        for name in ("name", "description", "tags", "owner", "temporary", "expected_end")
    }
    return not same(before, replace(after, **words))


def _changes_what_is_used(write: Put | Delete) -> bool:
    if write.before is None or isinstance(write, Delete):
        return False  # nothing can use what is new, and what is used is not deleted
    after: Any = write.document
    if isinstance(after, SegmentDefinition):
        after = replace(after, name=write.before.name, description=write.before.description)
    return not same(write.before, after)


def _environments_with_segment(documents: ProjectDocuments, key: str) -> set[str]:
    """Return the environments in which a rule, a release or a policy uses a segment."""
    names = segments_named_by(documents)
    if any(key in reachable(each.document.segments, names) for each in documents.policies.values()):
        return set(documents.environments)
    found = {
        environment
        for environment in documents.targetings
        if key in reachable(documents.index(environment).naming, names)
    }
    found |= {
        environment
        for environment, stored in documents.active_releases()
        if key in reachable(stored.document.policy.segments, names)
    }
    return found


def _environments_with_webhook(documents: ProjectDocuments, key: str) -> set[str]:
    """Return every environment if a policy asks a webhook for confirmations, else none."""
    asked = users_of_webhook(documents, key, confirming=True)
    return set(documents.environments) if asked else set()


_OF_ENVIRONMENT = frozenset({Kind.ENVIRONMENT, Kind.TARGETING, Kind.RELEASE})

_USED: Mapping[Kind, Callable[[ProjectDocuments, str], set[str]]] = {
    Kind.SEGMENT: _environments_with_segment,
    Kind.WEBHOOK: _environments_with_webhook,
}


def _what(write: Put | Delete | Guard) -> str:
    kind, key = write.address.kind, write.address.key
    if kind is Kind.TARGETING:
        return f"the targeting of flag {key}"
    if kind is Kind.DELETION:
        return "the deletion of the project"
    if kind is Kind.RELEASE and isinstance(write, Put):
        return f"the release of flag {write.document.flag}"
    if kind is Kind.TOKEN and isinstance(write, Put):
        return f"the permissions of token {write.document.name}"
    if kind is Kind.SCHEDULED_CHANGE and isinstance(write, Put):
        actions = write.document.plan.actions
        return "the schedule of " + ", ".join(f"{each.action} {each.target}" for each in actions)
    if kind is Kind.PERSON and isinstance(write, Put):
        return f"the permissions of {write.document.email}"
    if kind in GIVING:
        return f"the permissions of {kind.words} {key}"
    return f"{kind.words} {key}"


def described(parts: Iterator[GuardedPart] | list[GuardedPart]) -> str:
    """Return parts in words: ``production: the targeting of flag a; staging: flag b``."""
    by_place: dict[str, list[str]] = {}
    for part in parts:
        by_place.setdefault(part.environment, []).append(part.what)
    return "; ".join(f"{place}: {', '.join(what[:3])}" for place, what in by_place.items())
