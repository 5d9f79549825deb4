"""Plans: what their operations would do now, whose they are, and what changed since."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tidegate_server.admin.access_documents import read_access_documents
from tidegate_server.admin.commit_with_retry import CommittedChange, commit_with_retry
from tidegate_server.admin.guarded_changes import read_guarded_parts, require_approvals
from tidegate_server.admin.rehearsal import Rehearsal, find_route, rehearse
from tidegate_server.domain.callers import Caller, token_caller
from tidegate_server.domain.change import Address, Change, Delete, Fence, Put, Stored
from tidegate_server.domain.change_requests import Plan, places_of, required_approvals
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.people import personal_caller
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.planned_operations import (
    Approver,
    DocumentRevision,
    Owner,
    PlannedOperation,
    made_against,
)
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import FieldProblem, Invalid, NotKept, NotPossible
from tidegate_server.store import Store


def find_caller(store: Store, id: str) -> Caller | None:
    """Return a person or a token with the permissions that they have now.

    Returns:
        None: there is no such person or token, or they may do nothing any more.
    """
    access = read_access_documents(store)
    stored = access.tokens.get(id)
    if stored is None:
        person = access.people.get(id)
        active = person is not None and person.document.active
        return access.caller(person.document) if person is not None and active else None
    token: Token = stored.document
    if token.has_expired(store.now_ms()):
        return None
    if not token.person:
        return token_caller(token)
    owner = access.people.get(token.person)
    if owner is None or not owner.document.active:
        return None
    return personal_caller(token, owner.document, access)


def present_owner(store: Store, owner: Owner) -> Caller:
    """Return the owner of a plan with the permissions that they have now.

    Raises:
        NotPossible: they were deleted, or their token has expired.
    """
    caller = find_caller(store, owner.id)
    if caller is None:
        raise NotPossible(
            f"{owner.name}, who planned this, no longer has access. Somebody who has must plan it "
            "again."
        )
    return caller


def make_plan(
    store: Store,
    scope: str,
    operations: Sequence[PlannedOperation],
    caller: Caller,
    reason: str,
    if_match: Sequence[str | None],
) -> Plan:
    """Return operations with what they would do now.

    Args:
        store: where the documents are.
        scope: the project that they change, or ``""`` for the server.
        operations: in their order.
        caller: their owner.
        reason: why.
        if_match: of each operation, the revisions that its owner saw; None: it has no ``If-Match``.

    Raises:
        Invalid: an operation is none, changes nothing, or is not of the scope.
        TidegateError: as the operations raise it now.
    """
    routes = [find_route(each, index) for index, each in enumerate(operations)]
    for index, route in enumerate(routes):
        if route.project is not None and route.project != scope:
            where = f"project {scope!r}" if scope else "the whole server"
            message = f"This operation is of project {route.project!r}, and the plan of {where}."
            raise Invalid(message, FieldProblem(f"/operations/{index}/path", message))
    rehearsal = rehearse(store, operations, caller, reason, if_match)
    if rehearsal.change.scope != scope:
        owner = f"project {rehearsal.change.scope!r}" if rehearsal.change.scope else "the server"
        message = f"This changes {owner}; propose it there."
        raise Invalid(message, FieldProblem("/operations/0/path", message))
    parts, _ = read_guarded_parts(store, rehearsal.change)
    audit = rehearsal.change.audit
    return Plan(
        operations=tuple(operations),
        actions=rehearsal.actions,
        made_against=made_against(rehearsal.change),
        changes=audit.documents if audit is not None else (),
        places=places_of(parts),
        required_approvals=required_approvals(parts),
        shows_secret=any(route.shows_secret for route in routes),
    )


def may_see_bodies(owner: Owner, scope: str, caller: Caller) -> bool:
    """Return whether a caller may see the bodies of planned operations.

    Args:
        owner: of the plan.
        scope: the project that they change, or ``""`` for the server.
        caller: who wants to see them.
    """
    return owner.is_behind(caller) or any(
        caller.allows(each, scope or None, None)
        for each in (Permission.WRITE, Permission.APPROVE, Permission.ADMINISTER)
    )


def oldest_beyond(kind: Kind, ended: Sequence[Stored], kept: int) -> list[Delete]:
    """Return the deletions of the oldest plans that have ended, so that one more makes ``kept``.

    Args:
        kind: of the plans.
        ended: those that have ended, the oldest first.
        kept: how many are kept.
    """
    return [
        Delete(Address(kind, each.document.id), each.revision, before=each.document)
        for each in ended[: max(0, len(ended) - kept + 1)]
    ]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A document that changed since a plan was made.

    ``made_against`` is the revision that the plan was made against, ``revision`` the present one;
    0: the document was deleted. ``killed``: the flag is killed now, and nothing else has changed.
    """

    kind: Kind
    key: str
    environment: str
    made_against: int
    revision: int
    killed: bool = False

    @property
    def text(self) -> str:
        """The conflict in words."""
        where = f" in {self.environment}" if self.environment else ""
        name = f"{self.kind.words} {self.key}{where}"
        if not self.revision:
            return f"{name} was deleted"
        if self.killed:
            where = f"{self.key}{where}"
            return f"flag {where} is killed (revision {self.revision}, not {self.made_against})"
        return f"{name} is at revision {self.revision}, not {self.made_against}"


def conflicts(
    store: Store, scope: str, revisions: Sequence[DocumentRevision]
) -> tuple[Conflict, ...]:
    """Return the documents that changed since a plan was made against these revisions.

    A flag that was killed and restored since serves again what it did: that is no conflict. While a
    kill lasts it is one: no plan raises what somebody has stopped since.
    """
    present = store.get_many(scope, [each.address for each in revisions]) if revisions else []
    found = []
    for then, stored in zip(revisions, present, strict=True):
        if stored is not None and stored.revision == then.revision:
            continue
        is_killed = False
        if stored is not None and _has_the_same_rules(store, scope, then, stored):
            is_killed = stored.document.kill is not None
            if not is_killed:
                continue
        now = stored.revision if stored is not None else 0
        place = (then.kind, then.key, then.environment)
        found.append(Conflict(*place, then.revision, now, is_killed))
    return tuple(found)


def _has_the_same_rules(store: Store, scope: str, then: DocumentRevision, now: Stored) -> bool:
    """Return whether a flag would serve what it did at a revision, were it not for kills."""
    if not isinstance(now.document, Targeting):
        return False
    try:
        was: Targeting = store.history.version(scope, then.address, then.revision).document
    except NotKept:
        return False
    return replace(was, kill=None) == replace(now.document, kill=None)


def conflict_text(found: Sequence[Conflict]) -> str:
    """Return conflicts in words."""
    return ", ".join(each.text for each in found)


def commit_plan(
    store: Store,
    scope: str,
    operations: Sequence[PlannedOperation],
    owner: Owner,
    reason: str,
    approvers: Sequence[Approver],
    mark_done: Callable[[Change], tuple[Put, dict[str, Any]]],
    fence: Fence | None = None,
    action: str = "change_request.apply",
) -> tuple[CommittedChange, Rehearsal]:
    """Carry out operations in one atomic commit, together with the mark that they are done.

    Args:
        store: where to commit.
        scope: what the operations change.
        operations: in their order.
        owner: on whose behalf.
        reason: why.
        approvers: who approved it.
        mark_done: gets the change in each attempt, after the operations have read what they
            change; raises if the plan may not be carried out; returns the write that marks it as
            done, and what the audit entry adds.
        fence: of the policy job, if it commits.
        action: what the audit log calls several operations together.

    Raises:
        ApprovalRequired: approvals are missing.
        NotPossible: the owner no longer has access.
        TidegateError: as the operations or ``mark_done`` raise it.
    """
    rehearsals: list[Rehearsal] = []

    def make_change() -> Change:
        caller = present_owner(store, owner)
        rehearsal = rehearse(store, operations, caller, reason, action=action)
        rehearsals.append(rehearsal)
        mark, details = mark_done(rehearsal.change)
        return _with_mark(rehearsal.change, mark, details, approvers)

    def prepare(store: Store, change: Change) -> Change:
        approved = require_approvals(
            store, change, owner.answerable, approvers, partial(find_caller, store)
        )
        if approved.scope != scope:
            raise NotPossible("These operations no longer change what they were planned for.")
        for name, value in rehearsals[-1].server_values.items():
            store.put_server_value_once(name, value)
        return replace(approved, fence=fence)

    return commit_with_retry(store, make_change, prepare), rehearsals[-1]


def _with_mark(
    change: Change, mark: Put, details: dict[str, Any], approvers: Sequence[Approver]
) -> Change:
    """Return a change that also writes the mark, and whose audit entry says who approved it."""
    assert change.audit is not None
    if approvers:
        details = {**details, "approved_by": ", ".join(each.name for each in approvers)}
    audit = replace(
        change.audit,
        target=change.audit.target or mark.address.key,
        details={**change.audit.details, **details},
    )
    # A schedule that was approved keeps the approvals, for the changes that it makes.
    writes = tuple(
        replace(each, document=replace(each.document, approvers=tuple(approvers)))
        if isinstance(each, Put)
        and each.address.kind is Kind.SCHEDULED_CHANGE
        and each.before is None
        else each
        for each in change.writes
    )
    return replace(change, writes=(*writes, mark), audit=audit)
