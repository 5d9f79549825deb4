"""Refuses changes that need approvals, before they are committed.

Every administrative change passes here (``commit_with_retry``). The policy job's decisions do not:
they follow a policy whose changes are guarded. Neither do the first token of a server and a
recovered one, which need the host of the data folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TypeAlias

from tidegate_server.admin.access_documents import read_access_documents
from tidegate_server.admin.document_reader import SERVER, read_project_documents
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Change, KindGuard, Put, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.people import AccessDocuments
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.planned_operations import Approver
from tidegate_server.domain.protection import (
    GIVING,
    GuardedPart,
    described,
    given_grants,
    guarded_grants,
    guarded_parts,
    places_to_say_why,
)
from tidegate_server.errors import ApprovalRequired, ReasonRequired
from tidegate_server.store import Store

FindCaller: TypeAlias = Callable[[str], Caller | None]
Environments: TypeAlias = Mapping[str, Mapping[str, Stored]]

WITHOUT_REASON = frozenset({"person.accept_invitation", "person.use_sign_in_link"})
"""What people do to their own account: whoever invited them said why."""


def read_guarded_parts(store: Store, change: Change) -> tuple[list[GuardedPart], Change]:
    """Return the parts of a change that need approvals, and the change to commit.

    The commit also guards the project's environments, so that none becomes protected between
    this reading and the commit.
    """
    if change.scope == SERVER:
        return guarded_grants(change, *_reach(store, change)), change
    cached = store.cached(change.scope, Kind.ENVIRONMENT)
    environments = cached.stored
    read_documents = cache(partial(read_project_documents, store, change.scope))
    parts = guarded_parts(change, environments, read_documents)
    others = KindGuard(Kind.ENVIRONMENT, "", cached.moment)
    return parts, replace(change, kind_guards=(*change.kind_guards, others))


def _reach(store: Store, change: Change) -> tuple[AccessDocuments, Environments]:
    """Return who may do what, and the environments where the server's change gives permissions."""
    kinds = {write.address.kind for write in change.writes if isinstance(write, Put)}
    people = kinds & (GIVING - {Kind.TOKEN})
    access = read_access_documents(store) if people else AccessDocuments()
    grants = [grant for write in change.writes for grant in given_grants(write, access)]
    projects = {grant.project for grant in grants}
    reached = store.projects() if None in projects else sorted(filter(None, projects))
    return access, {each: store.cached(each, Kind.ENVIRONMENT).stored for each in reached}


def _require_reason(store: Store, change: Change) -> None:
    """Raise ``ReasonRequired`` if a change gives permissions where every change needs a reason."""
    audit = change.audit
    if change.scope != SERVER or audit is None or audit.reason or audit.action in WITHOUT_REASON:
        return
    places = places_to_say_why(change, *_reach(store, change))
    if places:
        project, environment = places[0]
        raise ReasonRequired(
            f"Environment {environment!r} of project {project!r} requires a reason for every "
            "change of who may change something there. Send the header Tidegate-Reason; on the "
            "command line use --reason."
        )


def require_approvals(
    store: Store,
    change: Change,
    answerable: str = "",
    approvers: Sequence[Approver] = (),
    find_caller: FindCaller | None = None,
) -> Change:
    """Return a change to commit that has the approvals it needs.

    Args:
        store: where to commit.
        change: what to commit.
        answerable: of whom makes the change; their own approval does not count.
        approvers: who approved it.
        find_caller: returns an approver as the caller that they are now; None: they may do
            nothing any more.

    Raises:
        ReasonRequired: it gives permissions where every change needs a reason, and has none.
        ApprovalRequired: it needs more; says how to propose it.
    """
    _require_reason(store, change)
    parts, guarded = read_guarded_parts(store, change)
    if not parts:
        return guarded
    valid = {
        each.answerable
        for each in approvers
        if each.answerable != answerable
        and find_caller is not None
        and (caller := find_caller(each.id)) is not None
        and all(caller.allows(Permission.APPROVE, part.project, part.environment) for part in parts)
    }
    count = max(part.approvals for part in parts)
    if len(valid) >= count:
        return guarded
    places = list(dict.fromkeys(part.environment for part in parts))
    where = f"Environment {places[0]} is" if len(places) == 1 else f"{', '.join(places)} are"
    people = "another person" if count == 1 else f"{count} other people"
    start = f"{where} protected: {people} must approve this change ({described(parts)}). "
    if approvers:
        raise ApprovalRequired(
            f"{start}Of those who approved it, {len(valid)} may still do so. Nothing changed. Let "
            "more people approve it, or propose it again."
        )
    raise ApprovalRequired(
        f"{start}Nothing changed. Propose it: send the same request with the header "
        'Tidegate-Propose: <why>; on the command line add --propose "<why>".'
    )
