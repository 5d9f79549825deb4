"""Schedule changes, list them, and cancel them."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import read_document, read_project
from tidegate_server.admin.planning import (
    Conflict,
    conflicts,
    make_plan,
    may_see_bodies,
    oldest_beyond,
)
from tidegate_server.admin.rehearsal import find_route
from tidegate_server.domain import scheduled_changes
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Audit, Change, Delete, Put, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.planned_operations import PlannedOperation, owner_of
from tidegate_server.domain.scheduled_changes import (
    ENDED_KEPT,
    FURTHEST_MS,
    MOST_ACTIVE,
    OnConflict,
    Recurrence,
    ScheduledChange,
    instant_ms,
    next_occurrence,
    put_scheduled_change,
    scheduled_change_address,
    zone_of,
)
from tidegate_server.errors import FieldProblem, Forbidden, Invalid, NotPossible
from tidegate_server.store import Store
from tidegate_server.web import token_secrets
from tidegate_server.web.etags import IfMatch

BLUEPRINT = "scheduled changes"


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """What somebody schedules; ``at`` and ``until`` are times as text."""

    reason: str
    operations: tuple[PlannedOperation, ...]
    if_match: tuple[str | None, ...]
    timezone: str
    at: str | None
    every: Recurrence | None
    until: str | None
    on_conflict: OnConflict
    late_limit_ms: int


@dataclass(frozen=True, slots=True)
class ScheduledChangeWithConflicts(Stored):
    """A scheduled change with what changed since, and its operations as the caller may see them."""

    conflicts: tuple[Conflict, ...]
    may_see_bodies: bool

    @property
    def operations(self) -> tuple[PlannedOperation, ...]:
        """Its operations."""
        schedule: ScheduledChange = self.document
        plan = schedule.plan
        return plan.operations if self.may_see_bodies else plan.operations_without_bodies()


def create(store: Store, project: str, new: NewSchedule, caller: Caller) -> Stored:
    """Schedule a change.

    Raises:
        Invalid: the time is none or has passed, an operation cannot be scheduled, or ``if_match``
            is missing.
        NotPossible: it would change nothing now, or too many are scheduled.
        ApprovalRequired: a protected environment lets other people approve it.
        TidegateError: as its operations raise it now.
    """
    read_project(store, project)
    for index, operation in enumerate(new.operations):
        route = find_route(operation, index)
        if route.blueprint == BLUEPRINT or route.shows_secret:
            message = (
                "An operation that makes a secret, or schedules another one, cannot be scheduled: "
                "nobody would get its answer."
            )
            raise Invalid(message, FieldProblem(f"/operations/{index}/path", message))
    plan = make_plan(store, project, new.operations, caller, new.reason, new.if_match)
    id = f"sc_{token_secrets.new_id()}"
    address = scheduled_change_address(id)

    def make_change() -> Change:
        now_ms = store.now_ms()
        first, until_ms = _times(new, now_ms)
        schedule = ScheduledChange(
            id=id,
            reason=new.reason,
            owner=owner_of(caller),
            plan=plan,
            timezone=new.timezone,
            on_conflict=new.on_conflict,
            late_limit_ms=new.late_limit_ms,
            created_ms=now_ms,
            next_run_ms=first,
            every=new.every,
            until_ms=until_ms,
        )
        forgotten = _oldest_ended(store, project)
        audit = audit_entry(schedule, "create", caller.name, new.reason)
        return Change(project, (Put(address, schedule, 0), *forgotten), audit=audit)

    return commit_with_retry(store, make_change).stored(address)


def _times(new: NewSchedule, now_ms: int) -> tuple[int, int | None]:
    """Return the first run, and after which time there is none; raises ``Invalid``."""
    zone = zone_of(new.timezone)
    until_ms = None if new.until is None else instant_ms(new.until, zone, "/until")
    if new.at is not None:
        first, pointer = instant_ms(new.at, zone, "/at"), "/at"
    else:
        assert new.every is not None
        pointer = "/every"
        found = next_occurrence(new.every, zone, now_ms)
        if found is None:
            raise _invalid(pointer, "No day within the next two years is like this.")
        first = found
    if first <= now_ms:
        raise _invalid(pointer, "This time has passed; give one in the future.")
    if first - now_ms > FURTHEST_MS:
        raise _invalid(pointer, "This is more than two years ahead; check the year.")
    if until_ms is not None and until_ms < first:
        raise _invalid("/until", "This is before the first run.")
    return first, until_ms


def _invalid(pointer: str, message: str) -> Invalid:
    return Invalid(message, FieldProblem(pointer, message))


def _oldest_ended(store: Store, project: str) -> list[Delete]:
    """Return the deletions that make room for another one; raises if too many are active."""
    stored = store.all(project, Kind.SCHEDULED_CHANGE).values()
    ended = [each for each in stored if each.document.next_run_ms is None]
    if len(stored) - len(ended) >= MOST_ACTIVE:
        raise NotPossible(f"{MOST_ACTIVE:,} changes are scheduled. Cancel some first.")
    ended.sort(key=lambda each: each.updated_ms)
    return oldest_beyond(Kind.SCHEDULED_CHANGE, ended, ENDED_KEPT)


def audit_entry(schedule: ScheduledChange, verb: str, actor: str, reason: str = "") -> Audit:
    """Return the audit entry about a scheduled change."""
    environments = {each.environment for each in schedule.plan.actions}
    actions = ", ".join(each.summary for each in schedule.plan.actions)
    environment = environments.pop() if len(environments) == 1 else ""
    return Audit(
        actor,
        f"scheduled_change.{verb}",
        schedule.id,
        environment,
        reason,
        {"operations": actions, "next_run_ms": schedule.next_run_ms},
    )


def read(store: Store, project: str, id: str) -> Stored:
    """Return a scheduled change; raises ``NotFound``."""
    return read_document(store, project, scheduled_change_address(id))


def shown(
    store: Store, project: str, stored: Stored, caller: Caller, *, compared: bool = False
) -> ScheduledChangeWithConflicts:
    """Return a scheduled change as a caller may see it; ``compared``: with its conflicts."""
    schedule: ScheduledChange = stored.document
    active = schedule.next_run_ms is not None
    return ScheduledChangeWithConflicts(
        schedule,
        stored.revision,
        stored.updated_ms,
        conflicts(store, project, schedule.plan.made_against) if compared and active else (),
        may_see_bodies(schedule.owner, project, caller),
    )


def cancel(
    store: Store, project: str, id: str, caller: Caller, reason: str, if_match: IfMatch
) -> Stored:
    """Cancel the runs that a scheduled change still has.

    Raises:
        NotFound: there is no such scheduled change.
        NotPossible: it has no run any more.
        Forbidden: the caller neither owns it nor may write in the places that it concerns.
        StaleRevision: ``if_match`` names another revision.
    """
    address = scheduled_change_address(id)

    def make_change() -> Change:
        before = read(store, project, id)
        if_match.check(before.revision, f"scheduled change {id}")
        schedule: ScheduledChange = before.document
        if not schedule.owner.is_behind(caller):
            for environment in {each.environment for each in schedule.plan.actions}:
                if not caller.allows(Permission.WRITE, project, environment or None):
                    raise Forbidden(
                        f"Only {schedule.owner.name}, who scheduled it, or who may write in "
                        f"{environment or 'the whole project'} may cancel it."
                    )
        after = scheduled_changes.cancel(schedule, caller.name, store.now_ms(), reason)
        audit = audit_entry(after, "cancel", caller.name, reason)
        return Change(project, (put_scheduled_change(before, after),), audit=audit)

    return commit_with_retry(store, make_change).stored(address)
