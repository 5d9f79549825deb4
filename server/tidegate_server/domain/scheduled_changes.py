"""Scheduled changes: operations that are carried out at a time, once or again and again.

Times of day are on the wall clock of a named time zone. A time that daylight-saving time skips is
the moment of the clock change; a time that occurs twice is the first of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import islice

from tidegate.evaluation.instants import parse_time

from tidegate_server.domain.calendar import time_zone
from tidegate_server.domain.change import Address, Change, Put, Stored
from tidegate_server.domain.change_requests import Plan
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.planned_operations import (
    Approver,
    DocumentRevision,
    Owner,
)
from tidegate_server.domain.release_gates import EVERY_DAY, Day
from tidegate_server.errors import FieldProblem, Invalid, NotPossible

_DAYS = tuple(Day)

MOST_ACTIVE = 1_000
"""How many scheduled changes of one project may still have a run before them."""

ENDED_KEPT = 500
"""How many ended ones of a project are kept."""

RUNS_KEPT = 50
FURTHEST_MS = 2 * 366 * 24 * 60 * 60 * 1000
"""How far ahead a time may be."""

SEARCH_DAYS = 2 * 366
DEFAULT_LATE_LIMIT_MS = 60 * 60 * 1000
MOST_LATE_LIMIT_MS = 30 * 24 * 60 * 60 * 1000


class OnConflict(StrEnum):
    """What a run does if what it changes was changed since."""

    FAIL = "fail"
    GO_ON = "go_on"


class RunOutcome(StrEnum):
    """How a run ended."""

    DONE = "done"
    FAILED = "failed"
    MISSED = "missed"


class ScheduleState(StrEnum):
    """The state of a scheduled change. The first one has a run before it."""

    SCHEDULED = "scheduled"
    DONE = "done"
    FAILED = "failed"
    MISSED = "missed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Which days, and when.

    Attributes:
        time: minutes after midnight on the wall clock.
        days: the weekdays.
        month_days: only on these days of a month, 1 to 31; empty: on all.
    """

    time: int
    days: tuple[Day, ...] = EVERY_DAY
    month_days: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """A run: when it was due, when it was made, how it ended, and why in words."""

    due_ms: int
    at_ms: int
    outcome: RunOutcome
    message: str = ""


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Who cancelled a scheduled change, when and why."""

    actor: str
    at_ms: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ScheduledChange:
    """Operations to carry out at a time. Times are the store's.

    Attributes:
        every: when it is repeated; None: it runs once.
        until_ms: no run is due after this; None: without end.
        next_run_ms: when the next run is due; None: there is none any more.
        late_limit_ms: how late a run may be made; a later one is missed.
        approvers: who approved it, if a protected environment asked for that.
        held_until_ms: until when a freeze holds the next run; None: it does not.
        runs: the last ``RUNS_KEPT``.
    """

    id: str
    reason: str
    owner: Owner
    plan: Plan
    timezone: str
    on_conflict: OnConflict
    late_limit_ms: int
    created_ms: int
    next_run_ms: int | None
    every: Recurrence | None = None
    until_ms: int | None = None
    approvers: tuple[Approver, ...] = ()
    held_until_ms: int | None = None
    held_because: str = ""
    runs: tuple[Run, ...] = ()
    cancelled: Cancellation | None = None

    @property
    def state(self) -> ScheduleState:
        """Its state."""
        if self.cancelled is not None:
            return ScheduleState.CANCELLED
        if self.next_run_ms is not None:
            return ScheduleState.SCHEDULED
        return ScheduleState(self.runs[-1].outcome.value) if self.runs else ScheduleState.DONE

    @property
    def last_run(self) -> Run | None:
        """Its last run; None: none was due yet."""
        return self.runs[-1] if self.runs else None

    @property
    def next_runs(self) -> tuple[int, ...]:
        """Its next five runs."""
        if self.next_run_ms is None:
            return ()
        later = () if self.every is None else self._later_runs(self.next_run_ms)
        return (self.next_run_ms, *islice(later, 4))

    def _later_runs(self, after_ms: int) -> Iterator[int]:
        while (following := self.run_after(after_ms)) is not None:
            yield following
            after_ms = following

    def run_after(self, after_ms: int) -> int | None:
        """Return the first run after a time; None: there is none."""
        if self.every is None:
            return None
        following = next_occurrence(self.every, zone_of(self.timezone), after_ms)
        if following is None or (self.until_ms is not None and following > self.until_ms):
            return None
        return following


def scheduled_change_address(id: str) -> Address:
    """Return the address of a scheduled change."""
    return Address(Kind.SCHEDULED_CHANGE, id)


def zone_of(name: str) -> tzinfo:
    """Return a time zone; raises ``Invalid`` if there is none of this name."""
    zone = time_zone(name)
    if zone is None:
        message = (
            f"There is no time zone {name[:100]!r}; write an IANA name, such as Europe/Berlin."
        )
        raise Invalid(message, FieldProblem("/timezone", message))
    return zone


def instant_ms(text: str, zone: tzinfo, pointer: str) -> int:
    """Return the time that a text names: on the wall clock of the zone, unless it has an offset.

    Raises:
        Invalid: it is no time.
    """
    moment = parse_time(text)
    try:
        if moment is not None and moment.tzinfo is None:
            return _instant(moment, zone)
        if moment is not None:
            return _milliseconds(moment)
    except (OverflowError, ValueError):
        pass
    message = "Write a time like 2026-05-01T09:00 or 2026-05-01T09:00:00+02:00."
    raise Invalid(message, FieldProblem(pointer, message))


def next_occurrence(every: Recurrence, zone: tzinfo, after_ms: int) -> int | None:
    """Return the first time after another one; None: there is none within two years."""
    first = datetime.fromtimestamp(after_ms / 1000, tz=UTC).astimezone(zone).date()
    for days in range(-1, SEARCH_DAYS):
        day = first + timedelta(days=days)
        if not _matches(every, day):
            continue
        moment = datetime(day.year, day.month, day.day) + timedelta(minutes=every.time)
        found = _instant(moment, zone)
        if found > after_ms:
            return found
    return None


def latest_occurrence(schedule: ScheduledChange, now_ms: int) -> tuple[int, int]:
    """Return the latest run that is due by a time, and how many earlier ones were missed."""
    assert schedule.next_run_ms is not None
    latest, missed = schedule.next_run_ms, 0
    while (following := schedule.run_after(latest)) is not None and following <= now_ms:
        latest, missed = following, missed + 1
    return latest, missed


def _matches(every: Recurrence, day: date) -> bool:
    return _DAYS[day.weekday()] in every.days and (
        not every.month_days or day.day in every.month_days
    )


def _instant(moment: datetime, zone: tzinfo) -> int:
    """Return the time at which the wall clock of a zone first shows a moment, or has passed it."""
    local = moment.replace(tzinfo=zone, fold=0)
    at = local.astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == moment:
        return _milliseconds(at)
    # The clock skips it. The change lies between its two readings.
    later, earlier = at, local.replace(fold=1).astimezone(UTC)
    offset = earlier.astimezone(zone).utcoffset()
    while later - earlier > timedelta(seconds=1):
        middle = earlier + (later - earlier) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            earlier = middle
        else:
            later = middle
    return _milliseconds(later.replace(microsecond=0))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def with_run(schedule: ScheduledChange, run: Run) -> ScheduledChange:
    """Return a scheduled change after a run, whatever became of it."""
    return replace(
        schedule,
        runs=(*schedule.runs, run)[-RUNS_KEPT:],
        next_run_ms=schedule.run_after(max(run.due_ms, run.at_ms)),
        held_until_ms=None,
        held_because="",
    )


def with_made_run(schedule: ScheduledChange, run: Run, change: Change) -> ScheduledChange:
    """Return a scheduled change after a run that changed something.

    The next run is made against what this one leaves.
    """
    after = with_run(schedule, run)
    left = {
        write.address: write.expected + 1
        for write in change.writes
        if isinstance(write, Put) and write.expected
    }
    revisions = tuple(
        DocumentRevision(
            each.kind, each.key, each.environment, left.get(each.address, each.revision)
        )
        for each in schedule.plan.made_against
    )
    return replace(after, plan=replace(schedule.plan, made_against=revisions))


def held(schedule: ScheduledChange, until_ms: int, because: str) -> ScheduledChange:
    """Return a scheduled change whose next run a freeze holds."""
    return replace(schedule, held_until_ms=until_ms, held_because=because)


def cancel(schedule: ScheduledChange, actor: str, now_ms: int, reason: str) -> ScheduledChange:
    """Return a scheduled change without further runs; raises ``NotPossible`` if it has none."""
    if schedule.next_run_ms is None:
        raise NotPossible(
            f"Scheduled change {schedule.id} is {schedule.state.value}; there is nothing to cancel."
        )
    return replace(schedule, next_run_ms=None, cancelled=Cancellation(actor, now_ms, reason))


def put_scheduled_change(stored: Stored, after: ScheduledChange) -> Put:
    """Return the write that replaces a scheduled change."""
    return Put(scheduled_change_address(after.id), after, stored.revision, before=stored.document)
