"""Change requests: operations that wait until other people approve them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Address, ChangedDocument
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.planned_operations import (
    Approver,
    DocumentRevision,
    Owner,
    PlannedAction,
    PlannedOperation,
)
from tidegate_server.domain.protection import GuardedPart
from tidegate_server.errors import Forbidden, NotPossible

MAX_COMMENTS = 200
MOST_OPEN = 1_000
"""How many change requests of one project may be open at a time."""

CLOSED_KEPT = 1_000
"""How many closed change requests of a project are kept."""

DEFAULT_EXPIRY_MS = 14 * 24 * 60 * 60 * 1000
LEAST_EXPIRY_MS = 60 * 60 * 1000
MOST_EXPIRY_MS = 90 * 24 * 60 * 60 * 1000


class RequestState(StrEnum):
    """The state of a change request. Only the first two are open."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    APPLIED = "applied"
    EXPIRED = "expired"


OPEN = frozenset({RequestState.PROPOSED, RequestState.APPROVED})


class ApplyWhen(StrEnum):
    """When an approved change request is applied."""

    BY_HAND = "by_hand"
    ON_APPROVAL = "on_approval"


@dataclass(frozen=True, slots=True)
class Place:
    """A protected environment that a change request concerns."""

    project: str
    environment: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations with what they would do, and the documents they were made against.

    Attributes:
        changes: what they change, field by field, as in the audit log.
        places: the protected environments.
        required_approvals: at least 1.
        shows_secret: whether an answer has a secret, which only the owner may see.
    """

    operations: tuple[PlannedOperation, ...]
    actions: tuple[PlannedAction, ...]
    made_against: tuple[DocumentRevision, ...]
    changes: tuple[ChangedDocument, ...]
    places: tuple[Place, ...]
    required_approvals: int = 1
    shows_secret: bool = False

    def operations_without_bodies(self) -> tuple[PlannedOperation, ...]:
        """Return the operations for those who may not see their bodies."""
        return tuple(replace(each, body=None) for each in self.operations)


@dataclass(frozen=True, slots=True)
class Comment:
    """Words about a change request."""

    actor: str
    at_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Closing:
    """How a change request ended: rejected, withdrawn or applied."""

    state: RequestState
    actor: str
    at_ms: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """Operations that wait for approvals. Times are the store's.

    Attributes:
        edition: rises with each change of the plan; approvals are of the present one.
        closed: None while it is open, and after it has expired.
    """

    id: str
    reason: str
    owner: Owner
    plan: Plan
    apply: ApplyWhen
    created_ms: int
    expires_ms: int
    edition: int = 1
    approvals: tuple[Approver, ...] = ()
    comments: tuple[Comment, ...] = ()
    closed: Closing | None = None

    def state_at(self, now_ms: int) -> RequestState:
        """Return its state at a time."""
        if self.closed is not None:
            return self.closed.state
        if now_ms >= self.expires_ms:
            return RequestState.EXPIRED
        if len(self.approvals) >= self.plan.required_approvals:
            return RequestState.APPROVED
        return RequestState.PROPOSED

    @property
    def ended_ms(self) -> int:
        """When it was closed or expires."""
        return self.expires_ms if self.closed is None else self.closed.at_ms


def change_request_address(id: str) -> Address:
    """Return the address of a change request."""
    return Address(Kind.CHANGE_REQUEST, id)


def check_open(request: ChangeRequest, now_ms: int) -> None:
    """Raise ``NotPossible`` if a change request is not open."""
    state = request.state_at(now_ms)
    if state not in OPEN:
        raise NotPossible(
            f"Change request {request.id} is {state.value}, so nothing more can be done with it. "
            "Propose the change again."
        )


def check_approved(request: ChangeRequest, now_ms: int) -> None:
    """Raise ``NotPossible`` if a change request cannot be applied because of its state."""
    check_open(request, now_ms)
    missing = request.plan.required_approvals - len(request.approvals)
    if missing > 0:
        people = "another person" if missing == 1 else f"{missing} other people"
        raise NotPossible(f"Change request {request.id} is not approved: {people} must approve it.")


def approve(
    request: ChangeRequest, caller: Caller, project: str | None, now_ms: int, comment: str = ""
) -> ChangeRequest:
    """Add an approval.

    Args:
        request: the request.
        caller: who approves.
        project: where the request is; None: the server.
        now_ms: the store's time.
        comment: their words.

    Raises:
        NotPossible: it is not open, or the caller has approved it.
        Forbidden: the caller proposed it, or may not approve in every place.
    """
    check_open(request, now_ms)
    if request.owner.is_behind(caller):
        raise Forbidden(
            "You proposed this change, so another person must approve it. Your other tokens count "
            "as you."
        )
    check_may_approve(request.plan, caller, project)
    if any(each.answerable == caller.answerable for each in request.approvals):
        raise NotPossible(f"You have approved change request {request.id} already.")
    approver = Approver(caller.id, caller.name, caller.answerable, now_ms, comment)
    return replace(request, approvals=(*request.approvals, approver))


def check_may_approve(plan: Plan, caller: Caller, project: str | None) -> None:
    """Raise ``Forbidden`` if a caller may not approve in every place that a plan concerns."""
    places = plan.places
    if not places and not caller.allows(Permission.APPROVE, project, None):
        where = f"project {project!r}" if project is not None else "the whole server"
        raise Forbidden(f"This needs the permission approve for {where}.")
    for place in places:
        if not caller.allows(Permission.APPROVE, place.project, place.environment):
            raise Forbidden(
                f"This needs the permission approve in environment {place.environment!r} of "
                f"project {place.project!r}."
            )


def reject(request: ChangeRequest, actor: str, now_ms: int, reason: str) -> ChangeRequest:
    """Close a request: it will not be applied. Raises ``NotPossible`` if it is not open."""
    check_open(request, now_ms)
    return replace(request, closed=Closing(RequestState.REJECTED, actor, now_ms, reason))


def withdraw(request: ChangeRequest, actor: str, now_ms: int, reason: str) -> ChangeRequest:
    """Close a request for its owner. Raises ``NotPossible`` if it is not open."""
    check_open(request, now_ms)
    return replace(request, closed=Closing(RequestState.WITHDRAWN, actor, now_ms, reason))


def applied(request: ChangeRequest, actor: str, now_ms: int, reason: str) -> ChangeRequest:
    """Close a request whose change is made in the same commit."""
    check_open(request, now_ms)
    return replace(request, closed=Closing(RequestState.APPLIED, actor, now_ms, reason))


def comment(request: ChangeRequest, actor: str, now_ms: int, text: str) -> ChangeRequest:
    """Add words to a request, whatever its state.

    Raises:
        NotPossible: it has too many.
    """
    if len(request.comments) >= MAX_COMMENTS:
        raise NotPossible(f"A change request has at most {MAX_COMMENTS} comments.")
    return replace(request, comments=(*request.comments, Comment(actor, now_ms, text)))


def revise(
    request: ChangeRequest, plan: Plan, reason: str, apply: ApplyWhen, expires_ms: int, now_ms: int
) -> ChangeRequest:
    """Change what a request would do. Its approvals end: they were of something else."""
    check_open(request, now_ms)
    return replace(
        request,
        plan=plan,
        reason=reason,
        apply=apply,
        expires_ms=expires_ms,
        edition=request.edition + 1,
        approvals=(),
    )


def check_plan(plan: Plan, apply: ApplyWhen) -> None:
    """Raise ``NotPossible`` if a plan cannot be applied when it should be."""
    if plan.shows_secret and apply is ApplyWhen.ON_APPROVAL:
        raise NotPossible(
            "This makes a secret, which only you may see, so you apply it yourself once it is "
            "approved: use apply by_hand."
        )


def required_approvals(parts: list[GuardedPart]) -> int:
    """Return how many people must approve a change with these guarded parts: at least one."""
    return max([1, *(part.approvals for part in parts)])


def places_of(parts: list[GuardedPart]) -> tuple[Place, ...]:
    """Return the protected environments of guarded parts."""
    return tuple(dict.fromkeys(Place(part.project, part.environment) for part in parts))
