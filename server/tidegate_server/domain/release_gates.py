"""The gates of a policy: approvals, windows and confirmations; also retries and events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OnTimeout(StrEnum):
    """What happens when approvals are not given in time."""

    HOLD = "hold"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class ApprovalGate:
    """People who must approve before the release leaves a stage.

    Attributes:
        approvers: who may approve: emails of people and names of tokens; empty: everyone with the
            permission ``approve``.
        count: how many different people must approve.
        timeout_ms: how long to wait for them; None: without limit.
        on_timeout: what happens after the timeout.
        not_the_starter: whether the person who started the release may not approve it.
    """

    approvers: tuple[str, ...] = ()
    count: int = 1
    timeout_ms: int | None = None
    on_timeout: OnTimeout = OnTimeout.HOLD
    not_the_starter: bool = False


class Day(StrEnum):
    """A day of the week."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


EVERY_DAY = tuple(Day)


@dataclass(frozen=True, slots=True)
class AdvanceWindow:
    """Hours of some weekdays in which a percentage may be raised.

    ``opens`` and ``closes`` are minutes after midnight on the wall clock of the time zone. If
    ``closes`` is not after ``opens``, the window ends on the next day.
    """

    days: tuple[Day, ...] = EVERY_DAY
    opens: int = 0
    closes: int = 24 * 60


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time in which no percentage is raised.

    ``begins`` and ``ends`` are dates, local times, or times with an offset. An end
    that is a date includes that day.
    """

    begins: str
    ends: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Windows:
    """When a percentage may be raised: in any of ``advance`` (empty: always), outside every
    freeze."""

    timezone: str = "UTC"
    advance: tuple[AdvanceWindow, ...] = ()
    freeze: tuple[Freeze, ...] = ()


class RollbackTo(StrEnum):
    """What stays open during a cooldown: nothing, or the previous stage."""

    ZERO = "zero"
    PREVIOUS_STAGE = "previous_stage"


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a failure does to a release.

    While retries are left, the release closes to ``to``, waits for ``cooldown_ms``, and tries
    again with the same users. After the last retry it closes permanently.
    """

    to: RollbackTo = RollbackTo.ZERO
    cooldown_ms: int = 30 * 60_000
    max_retries: int = 0


class Event(StrEnum):
    """An event of a release, of which webhooks can be notified."""

    STARTED = "started"
    ADVANCED = "advanced"
    HELD = "held"
    WENT_ON = "went_on"
    PAUSED = "paused"
    RESUMED = "resumed"
    APPROVAL_NEEDED = "approval_needed"
    APPROVED = "approved"
    WARNED = "warned"
    RETREATED = "retreated"
    ROLLED_BACK = "rolled_back"
    RETRIED = "retried"
    COMPLETED = "completed"
    KILLED = "killed"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class Notification:
    """A webhook, by its key in the project, and its events (empty: all)."""

    webhook: str
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A webhook, by its key in the project, that must agree before a percentage is raised."""

    webhook: str
