"""What else stands between a stage and the next: approvals, windows, webhooks, retries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OnTimeout(StrEnum):
    """What an approval that nobody gave in time asks for."""

    HOLD = "hold"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class ApprovalGate:
    """People who must agree before the release leaves a stage.

    Attributes:
        approvers: names of tokens whose holders may approve; empty: everyone who may write.
        count: how many different ones must.
        timeout_ms: how long to wait for them; None: for ever.
        on_timeout: what then.
        not_the_starter: whether who started the release is barred from approving it.
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
    """Hours of some days in which a percentage may be raised.

    ``opens`` and ``closes`` are minutes after midnight on the wall clock of the time zone.
    A window that closes at or before it opens goes on into the next day.
    """

    days: tuple[Day, ...] = EVERY_DAY
    opens: int = 0
    closes: int = 24 * 60


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time in which no percentage is raised.

    ``begins`` and ``ends`` are ISO 8601 dates or local times, or times with an offset; an
    end that is a date includes that day.
    """

    begins: str
    ends: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Windows:
    """When a percentage may be raised: in any of ``advance`` (none given: always), outside
    of every freeze."""

    timezone: str = "UTC"
    advance: tuple[AdvanceWindow, ...] = ()
    freeze: tuple[Freeze, ...] = ()


class RollbackTo(StrEnum):
    """Where a release goes when it fails and may try again."""

    ZERO = "zero"
    PREVIOUS_STAGE = "previous_stage"


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a failure does to a release.

    While retries remain it closes to ``to``, waits for ``cooldown_ms``, and tries again with
    the same users; after the last one it closes for good.
    """

    to: RollbackTo = RollbackTo.ZERO
    cooldown_ms: int = 30 * 60_000
    max_retries: int = 0


class Event(StrEnum):
    """What happens to a release that others may want to hear of."""

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
    """A webhook, by its key in the project, and the events it is told (none given: all)."""

    webhook: str
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A webhook, by its key in the project, that is asked before a percentage is raised."""

    webhook: str
