"""Validates the gates of a policy: approvals, windows, retries, webhooks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from tidegate.evaluation.instants import parse_time

from tidegate_server.domain.calendar import freeze_bounds, time_zone
from tidegate_server.domain.field_problems import (
    MAX_DURATION_MS,
    duplicate_problems,
    duration_problems,
    missing_problems,
)
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release_gates import ApprovalGate, Freeze, RollbackTo, Windows
from tidegate_server.errors import FieldProblem

MAX_APPROVERS = 50
MAX_WINDOWS = 50
MAX_FREEZES = 200
MAX_FREEZE = timedelta(days=400)
MAX_RETRIES = 20
MAX_WEBHOOKS = 20
MINUTES_PER_DAY = 24 * 60
TIME_EXAMPLES = "2026-12-24, 2026-12-24T18:00 or 2026-12-24T18:00:00+01:00"


def gate_problems(
    policy: Policy, webhooks: Collection[str], cannot_confirm: Collection[str] = ()
) -> Iterator[FieldProblem]:
    """Yield what is wrong with a policy's gates.

    Args:
        policy: what a client wrote.
        webhooks: the keys of the project's webhooks.
        cannot_confirm: those of them that cannot answer.
    """
    for index, stage in enumerate(policy.stages):
        if stage.approval is not None:
            yield from _approval_problems(stage.approval, f"/stages/{index}/approval")
    yield from _window_problems(policy.windows)
    yield from _rollback_problems(policy)
    confirm = [each.webhook for each in policy.confirm]
    for field, keys in (("notify", [each.webhook for each in policy.notify]), ("confirm", confirm)):
        if len(keys) > MAX_WEBHOOKS:
            yield FieldProblem(
                f"/{field}", f"A policy has at most {MAX_WEBHOOKS} webhooks in {field}."
            )
        yield from missing_problems(keys, webhooks, f"/{field}/{{}}/webhook", "webhook")
    for index, key in enumerate(confirm):
        if key in webhooks and key in cannot_confirm:
            yield FieldProblem(
                f"/confirm/{index}/webhook",
                f"Webhook {key!r} cannot answer in its format; use one with the format json.",
            )


def _approval_problems(gate: ApprovalGate, pointer: str) -> Iterator[FieldProblem]:
    if len(gate.approvers) > MAX_APPROVERS:
        yield FieldProblem(
            f"{pointer}/approvers", f"A stage has at most {MAX_APPROVERS} approvers."
        )
    yield from duplicate_problems(gate.approvers, pointer + "/approvers/{}", "approvers")
    most = len(gate.approvers) or MAX_APPROVERS
    if not 1 <= gate.count <= most:
        detail = f"The count is between 1 and {most}"
        if gate.approvers:
            detail += ", the number of approvers"
        yield FieldProblem(f"{pointer}/count", f"{detail}.")
    if gate.timeout_ms is not None and not 0 < gate.timeout_ms <= MAX_DURATION_MS:
        yield FieldProblem(f"{pointer}/timeout", "A timeout is above 0s and at most 365d.")


def _window_problems(windows: Windows) -> Iterator[FieldProblem]:
    zone = time_zone(windows.timezone)
    if zone is None:
        yield FieldProblem(
            "/windows/timezone",
            f"There is no time zone {windows.timezone[:100]!r}; write an IANA name, such as "
            "Europe/Berlin.",
        )
    if len(windows.advance) > MAX_WINDOWS:
        yield FieldProblem("/windows/advance", f"There can be at most {MAX_WINDOWS} windows.")
    for index, window in enumerate(windows.advance):
        pointer = f"/windows/advance/{index}"
        if not window.days:
            yield FieldProblem(f"{pointer}/days", "Name at least one day, or leave the field out.")
        yield from duplicate_problems(window.days, pointer + "/days/{}", "entries for")
        if not 0 <= window.opens < MINUTES_PER_DAY or not 0 < window.closes <= MINUTES_PER_DAY:
            yield FieldProblem(pointer, "Times are between 00:00 and 24:00.")
        elif window.opens == window.closes:
            yield FieldProblem(
                f"{pointer}/to",
                "A window that begins and ends at the same time would never close. Choose another "
                "time, or leave from and to out for whole days.",
            )
    yield from freeze_problems(windows.freeze, zone, "/windows/freeze")


def freeze_problems(
    freezes: Sequence[Freeze], zone: ZoneInfo | None, field: str
) -> Iterator[FieldProblem]:
    """Yield what is wrong with freezes; ``field`` is the pointer of their list."""
    if len(freezes) > MAX_FREEZES:
        yield FieldProblem(field, f"There can be at most {MAX_FREEZES} freezes.")
    if zone is None:
        return
    for index, freeze in enumerate(freezes):
        pointer = f"{field}/{index}"
        unreadable = [
            name
            for name, text in (("from", freeze.begins), ("to", freeze.ends))
            if parse_time(text) is None
        ]
        for name in unreadable:
            yield FieldProblem(
                f"{pointer}/{name}", f"This must be a date or a time. Examples: {TIME_EXAMPLES}."
            )
        if unreadable:
            continue
        try:
            begins, ends = freeze_bounds(freeze, zone)
        except OverflowError:
            yield FieldProblem(pointer, "Both must be between the years 1 and 9999, in UTC.")
            continue
        if ends <= begins:
            yield FieldProblem(f"{pointer}/to", "A freeze must end after it begins.")
        elif ends - begins > MAX_FREEZE:
            yield FieldProblem(
                f"{pointer}/to",
                f"A freeze lasts at most {MAX_FREEZE.days} days; check the year. Stop a release "
                "for longer with a pause.",
            )


def _rollback_problems(policy: Policy) -> Iterator[FieldProblem]:
    rollback = policy.rollback
    if not 0 <= rollback.max_retries <= MAX_RETRIES:
        yield FieldProblem("/rollback/max_retries", f"There can be 0 to {MAX_RETRIES} retries.")
    yield from duration_problems(rollback.cooldown_ms, "/rollback/cooldown")
    if rollback.max_retries > 0 and 0 <= rollback.cooldown_ms < policy.interval_ms:
        yield FieldProblem(
            "/rollback/cooldown",
            "This must be at least the interval between evaluations; otherwise a rollback ends at "
            "the next one.",
        )
    if rollback.to is RollbackTo.PREVIOUS_STAGE and rollback.max_retries == 0:
        yield FieldProblem(
            "/rollback/to",
            "previous_stage applies to retries only; set max_retries too. Without a retry a "
            "rollback closes the release for everyone.",
        )
