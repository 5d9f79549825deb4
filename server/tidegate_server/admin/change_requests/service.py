"""Propose changes, approve them, and apply them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import read_project
from tidegate_server.admin.planning import (
    Conflict,
    commit_plan,
    conflict_text,
    conflicts,
    make_plan,
    may_see_bodies,
    oldest_beyond,
    present_owner,
)
from tidegate_server.admin.rehearsal import rehearse
from tidegate_server.domain import change_requests
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Audit, Change, ChangedDocument, Delete, Put, Stored
from tidegate_server.domain.change_requests import (
    CLOSED_KEPT,
    MOST_OPEN,
    OPEN,
    ApplyWhen,
    ChangeRequest,
    RequestState,
    change_request_address,
)
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.planned_operations import PlannedOperation, owner_of
from tidegate_server.errors import Forbidden, NotFound, NotPossible, TidegateError
from tidegate_server.store import Store
from tidegate_server.web import token_secrets
from tidegate_server.web.etags import IfMatch


@dataclass(frozen=True, slots=True)
class Proposal:
    """What somebody proposes.

    Attributes:
        if_match: of each operation, its ``If-Match``; None: it has none.
    """

    reason: str
    operations: tuple[PlannedOperation, ...]
    if_match: tuple[str | None, ...]
    apply: ApplyWhen = ApplyWhen.BY_HAND
    expires_in_ms: int = change_requests.DEFAULT_EXPIRY_MS


@dataclass(frozen=True, slots=True)
class Present:
    """What a change request would do now.

    Attributes:
        conflicts: the documents that changed since.
        changes: what it would change now.
        problem: why it cannot be applied now; empty: it can.
    """

    conflicts: tuple[Conflict, ...] = ()
    changes: tuple[ChangedDocument, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RequestWithState(Stored):
    """A change request with its state now.

    Attributes:
        present: what it would do now; None: it is closed, or that was not asked.
        answers: the answers of its operations, for its owner, once, when it is applied.
        may_see_bodies: whether the caller may see the bodies of its operations.
        may: what the caller may do with it now: ``approve``, ``reject``, ``apply``, ``withdraw``.
    """

    state: RequestState
    may_see_bodies: bool
    may: tuple[str, ...] = ()
    present: Present | None = None
    answers: tuple[Any, ...] | None = None
    problem: str = ""

    @property
    def operations(self) -> tuple[PlannedOperation, ...]:
        """Its operations as the caller may see them."""
        request: ChangeRequest = self.document
        plan = request.plan
        return plan.operations if self.may_see_bodies else plan.operations_without_bodies()


def propose(store: Store, scope: str, proposal: Proposal, caller: Caller) -> Stored:
    """Create a change request.

    Raises:
        NotPossible: it would change nothing, or too many are open.
        TidegateError: as its operations raise it now.
    """
    plan = make_plan(store, scope, proposal.operations, caller, proposal.reason, proposal.if_match)
    change_requests.check_plan(plan, proposal.apply)
    id = f"cr_{token_secrets.new_id()}"
    address = change_request_address(id)

    def make_change() -> Change:
        now_ms = store.now_ms()
        request = ChangeRequest(
            id=id,
            reason=proposal.reason,
            owner=owner_of(caller),
            plan=plan,
            apply=proposal.apply,
            created_ms=now_ms,
            expires_ms=now_ms + proposal.expires_in_ms,
        )
        forgotten = _oldest_closed(store, scope, now_ms)
        audit = _audit(request, "propose", caller, proposal.reason)
        return Change(scope, (Put(address, request, 0), *forgotten), audit=audit)

    return commit_with_retry(store, make_change).stored(address)


def _oldest_closed(store: Store, scope: str, now_ms: int) -> list[Delete]:
    """Return the deletions that make room for another request; raises if too many are open."""
    stored = store.all(scope, Kind.CHANGE_REQUEST).values()
    closed = [each for each in stored if each.document.state_at(now_ms) not in OPEN]
    if len(stored) - len(closed) >= MOST_OPEN:
        raise NotPossible(
            f"{MOST_OPEN:,} change requests are open. Reject, withdraw or apply some first."
        )
    closed.sort(key=lambda each: each.document.ended_ms)
    return oldest_beyond(Kind.CHANGE_REQUEST, closed, CLOSED_KEPT)


def _audit(request: ChangeRequest, verb: str, caller: Caller, reason: str = "") -> Audit:
    places = {place.environment for place in request.plan.places}
    details = {
        "operations": ", ".join(each.summary for each in request.plan.actions),
        "edition": request.edition,
    }
    environment = places.pop() if len(places) == 1 else ""
    return Audit(caller.name, f"change_request.{verb}", request.id, environment, reason, details)


def readable(store: Store, scope: str, caller: Caller) -> dict[str, Stored]:
    """Return the change requests that a caller may see, by id.

    Those of the server are seen by who may read the whole server or every place they concern, and
    by their owners.
    """
    if scope:
        read_project(store, scope)
    return {
        id: stored
        for id, stored in store.all(scope, Kind.CHANGE_REQUEST).items()
        if _may_read(stored.document, scope, caller)
    }


def _may_read(request: ChangeRequest, scope: str, caller: Caller) -> bool:
    places = request.plan.places
    return (
        caller.allows(Permission.READ, scope or None, None)
        or request.owner.is_behind(caller)
        or (
            bool(places)
            and all(
                caller.allows(Permission.READ, place.project, place.environment) for place in places
            )
        )
    )


def read(store: Store, scope: str, id: str, caller: Caller) -> Stored:
    """Return a change request; raises ``NotFound`` also if the caller may not see it."""
    stored = store.get(scope, change_request_address(id))
    if stored is None or not _may_read(stored.document, scope, caller):
        if scope:
            read_project(store, scope)
        raise NotFound(f"There is no change request {id!r}.")
    return stored


def with_state(
    store: Store,
    scope: str,
    stored: Stored,
    caller: Caller,
    now_ms: int,
    *,
    rehearsed: bool = False,
    answers: tuple[Any, ...] | None = None,
    problem: str = "",
) -> RequestWithState:
    """Return a change request with its state, and if ``rehearsed`` with what it would do now."""
    request: ChangeRequest = stored.document
    state = request.state_at(now_ms)
    present = _present(store, scope, request) if rehearsed and state in OPEN else None
    return RequestWithState(
        stored.document,
        stored.revision,
        stored.updated_ms,
        state,
        may_see_bodies(request.owner, scope, caller) or _may_approve(request, caller, scope),
        _possible_acts(request, state, caller, scope),
        present,
        answers,
        problem,
    )


def _possible_acts(
    request: ChangeRequest, state: RequestState, caller: Caller, scope: str
) -> tuple[str, ...]:
    """Return what a caller may do with a request now, as the paths of the API name it."""
    if state not in OPEN:
        return ()
    own = request.owner.is_behind(caller)
    judges = _may_approve(request, caller, scope)
    approved = any(each.answerable == caller.answerable for each in request.approvals)
    applies = own or (judges and not request.plan.shows_secret)
    possible = {
        "approve": judges and not own and not approved,
        "reject": judges,
        "apply": applies and state is RequestState.APPROVED,
        "withdraw": own,
    }
    return tuple(name for name, holds in possible.items() if holds)


def _may_approve(request: ChangeRequest, caller: Caller, scope: str) -> bool:
    try:
        change_requests.check_may_approve(request.plan, caller, scope or None)
    except Forbidden:
        return False
    return True


def _present(store: Store, scope: str, request: ChangeRequest) -> Present:
    found = conflicts(store, scope, request.plan.made_against)
    try:
        owner = present_owner(store, request.owner)
        rehearsal = rehearse(store, request.plan.operations, owner, request.reason)
    except TidegateError as error:
        return Present(found, problem=error.message)
    audit = rehearsal.change.audit
    changes = audit.documents if audit is not None else ()
    return Present(found, changes, _conflict(found) if found else "")


def _conflict(found: tuple[Conflict, ...]) -> str:
    if all(each.killed for each in found):
        return f"What it changes has changed: {conflict_text(found)}. Restore it first."
    return (
        f"This was proposed against other revisions: {conflict_text(found)}. Look at the change "
        "as it would be now, and propose it again."
    )


def revise(
    store: Store, scope: str, id: str, proposal: Proposal, caller: Caller, if_match: IfMatch
) -> Stored:
    """Replace what a request would do; its approvals end.

    Raises:
        Forbidden: the caller did not propose it.
        RevisionRequired, StaleRevision: ``if_match`` does not accept its revision.
    """
    plan = make_plan(store, scope, proposal.operations, caller, proposal.reason, proposal.if_match)
    change_requests.check_plan(plan, proposal.apply)

    def transition(request: ChangeRequest, now_ms: int) -> ChangeRequest:
        _check_own(request, caller)
        expires_ms = now_ms + proposal.expires_in_ms
        revised = change_requests.revise(
            request, plan, proposal.reason, proposal.apply, expires_ms, now_ms
        )
        # What is done later is done as who wrote it.
        return replace(revised, owner=owner_of(caller))

    return act(store, scope, id, "revise", caller, if_match, transition, required=True)


def _check_own(request: ChangeRequest, caller: Caller) -> None:
    if not request.owner.is_behind(caller):
        raise Forbidden(f"Only {request.owner.name}, who proposed it, may do this.")


def withdraw(
    store: Store, scope: str, id: str, caller: Caller, reason: str, if_match: IfMatch
) -> Stored:
    """Withdraw a request; raises ``Forbidden`` if the caller did not propose it."""

    def transition(request: ChangeRequest, now_ms: int) -> ChangeRequest:
        _check_own(request, caller)
        return change_requests.withdraw(request, caller.name, now_ms, reason)

    return act(store, scope, id, "withdraw", caller, if_match, transition, reason)


def approve(
    store: Store, scope: str, id: str, caller: Caller, comment: str, if_match: IfMatch
) -> Stored:
    """Approve a request as it was read; raises as ``change_requests.approve`` does."""

    def transition(request: ChangeRequest, now_ms: int) -> ChangeRequest:
        return change_requests.approve(request, caller, scope or None, now_ms, comment)

    return act(store, scope, id, "approve", caller, if_match, transition, comment, required=True)


def reject(
    store: Store, scope: str, id: str, caller: Caller, reason: str, if_match: IfMatch
) -> Stored:
    """Reject a request; raises ``Forbidden`` if the caller may not approve it."""

    def transition(request: ChangeRequest, now_ms: int) -> ChangeRequest:
        change_requests.check_may_approve(request.plan, caller, scope or None)
        return change_requests.reject(request, caller.name, now_ms, reason)

    return act(store, scope, id, "reject", caller, if_match, transition, reason)


def comment(
    store: Store, scope: str, id: str, caller: Caller, text: str, if_match: IfMatch
) -> Stored:
    """Add a comment."""

    def transition(request: ChangeRequest, now_ms: int) -> ChangeRequest:
        return change_requests.comment(request, caller.name, now_ms, text)

    return act(store, scope, id, "comment", caller, if_match, transition, text)


def act(
    store: Store,
    scope: str,
    id: str,
    verb: str,
    caller: Caller,
    if_match: IfMatch,
    transition: Callable[[ChangeRequest, int], ChangeRequest],
    reason: str = "",
    *,
    required: bool = False,
) -> Stored:
    """Commit what a transition makes of a request.

    Args:
        store, scope, id: the request.
        verb: what the audit log calls it.
        caller: who.
        if_match: the revisions that may be changed.
        transition: returns the request as it will be.
        reason: why.
        required: whether ``If-Match`` must be given.

    Raises:
        NotFound: there is no such request.
        RevisionRequired, StaleRevision: ``if_match`` does not accept its revision.
    """
    address = change_request_address(id)

    def make_change() -> Change:
        before = read(store, scope, id, caller)
        check = if_match.require if required else if_match.check
        check(before.revision, f"change request {id}")
        after = transition(before.document, store.now_ms())
        put = Put(address, after, before.revision, before=before.document)
        return Change(scope, (put,), audit=_audit(after, verb, caller, reason))

    return commit_with_retry(store, make_change).stored(address)


def apply(
    store: Store, scope: str, id: str, caller: Caller, reason: str, if_match: IfMatch
) -> tuple[Stored, tuple[Any, ...] | None]:
    """Make the change of an approved request, in the same commit that marks it as applied.

    ``reason`` says why it is applied now; the change itself has the reason of the request.

    Returns:
        The request, and the answers of its operations if the caller is its owner.

    Raises:
        Forbidden: the caller neither proposed it nor may approve it.
        NotPossible: it is not approved, what it changes was changed meanwhile, or its owner no
            longer has access.
        TidegateError: as its operations raise it now.
    """
    first = read(store, scope, id, caller)
    if_match.check(first.revision, f"change request {id}")
    request: ChangeRequest = first.document
    own = request.owner.is_behind(caller)
    if not own:
        change_requests.check_may_approve(request.plan, caller, scope or None)
        if request.plan.shows_secret:
            raise Forbidden(
                f"This makes a secret, which only {request.owner.name} may see, so they apply it."
            )
    change_requests.check_approved(request, store.now_ms())

    def mark_applied(_: Change) -> tuple[Put, dict[str, Any]]:
        before = read(store, scope, id, caller)
        now: ChangeRequest = before.document
        now_ms = store.now_ms()
        if now.edition != request.edition:
            raise NotPossible(f"Change request {id} was changed meanwhile; read it again.")
        change_requests.check_approved(now, now_ms)
        found = conflicts(store, scope, now.plan.made_against)
        if found:
            raise NotPossible(_conflict(found))
        after = change_requests.applied(now, caller.name, now_ms, reason)
        mark = Put(change_request_address(id), after, before.revision, before=now)
        return mark, {"change_request": id, "applied_by": caller.name}

    committed, rehearsal = commit_plan(
        store,
        scope,
        request.plan.operations,
        request.owner,
        request.reason,
        request.approvals,
        mark_applied,
    )
    stored = committed.stored(change_request_address(id))
    return stored, rehearsal.answers if own else None
