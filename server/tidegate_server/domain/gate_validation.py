"""What a policy's gates may say: approvals, windows, retries, and whom they ask and tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tidegate_server.domain import field_problems
from tidegate_server.domain.calendar import freeze_bounds, zone
from tidegate_server.domain.policy import DAY, Policy
from tidegate_server.domain.release_gates import ApprovalGate, RollbackTo, Windows
from tidegate_server.errors import FieldProblem

LONGEST_MS = 365 * DAY
MOST_APPROVERS = 50
MOST_WINDOWS = 50
MOST_FREEZES = 200
MOST_RETRIES = 20
MOST_WEBHOOKS = 20
MINUTES_A_DAY = 24 * 60


def of_gates(
    policy: Policy, webhooks: Collection[str], mute: Collection[str] = ()
) -> Iterator[FieldProblem]:
    """Every gate that could not be passed or kept.

    Args:
        policy: what a client wrote.
        webhooks: the keys of the project's webhooks.
        mute: those of them that are told and cannot answer.
    """
    for index, stage in enumerate(policy.stages):
        if stage.approval is not None:
            yield from _of_approval(stage.approval, f"/stages/{index}/approval")
    yield from _of_windows(policy.windows)
    yield from _of_rollback(policy)
    for name, keys in (
        ("notify", [each.webhook for each in policy.notify]),
        ("confirm", [each.webhook for each in policy.confirm]),
    ):
        if len(keys) > MOST_WEBHOOKS:
            yield FieldProblem(f"/{name}", f"There can be at most {MOST_WEBHOOKS} of them.")
        for index, key in enumerate(keys):
            if key not in webhooks:
                yield FieldProblem(
                    f"/{name}/{index}/webhook", f"There is no webhook {key!r}; create it first."
                )
            elif name == "confirm" and key in mute:
                yield FieldProblem(
                    f"/confirm/{index}/webhook",
                    f"Webhook {key!r} has Slack's format, which cannot answer; ask one whose "
                    "format is json.",
                )


def _of_approval(gate: ApprovalGate, pointer: str) -> Iterator[FieldProblem]:
    if len(gate.approvers) > MOST_APPROVERS:
        yield FieldProblem(f"{pointer}/approvers", f"At most {MOST_APPROVERS} can be named.")
    yield from field_problems.of_twice(gate.approvers, pointer + "/approvers/{}", "approvers")
    most = len(gate.approvers) or MOST_APPROVERS
    if not 1 <= gate.count <= most:
        yield FieldProblem(
            f"{pointer}/count",
            f"Between 1 and {most} approvals can be given"
            + (", since only so many people are named." if gate.approvers else "."),
        )
    if gate.timeout_ms is not None and not 0 < gate.timeout_ms <= LONGEST_MS:
        yield FieldProblem(f"{pointer}/timeout", "A time-out is above 0s and at most 365d.")


def _of_windows(windows: Windows) -> Iterator[FieldProblem]:
    local_zone = zone(windows.timezone)
    if local_zone is None:
        yield FieldProblem(
            "/windows/timezone",
            f"There is no time zone {windows.timezone[:100]!r}; write an IANA name, such as "
            "Europe/Berlin.",
        )
    if len(windows.advance) > MOST_WINDOWS:
        yield FieldProblem("/windows/advance", f"There can be at most {MOST_WINDOWS} windows.")
    for index, window in enumerate(windows.advance):
        at = f"/windows/advance/{index}"
        if not window.days:
            yield FieldProblem(f"{at}/days", "Name at least one day, or leave the field out.")
        yield from field_problems.of_twice(window.days, at + "/days/{}", "entries for")
        if not 0 <= window.opens < MINUTES_A_DAY or not 0 < window.closes <= MINUTES_A_DAY:
            yield FieldProblem(at, "Times are between 00:00 and 24:00.")
    if len(windows.freeze) > MOST_FREEZES:
        yield FieldProblem("/windows/freeze", f"There can be at most {MOST_FREEZES} freezes.")
    for index, freeze in enumerate(windows.freeze):
        at = f"/windows/freeze/{index}"
        if local_zone is None:
            continue
        try:
            begins, ends = freeze_bounds(freeze, local_zone)
        except (ValueError, OverflowError):
            yield FieldProblem(
                at, "Write both as dates or times of ISO 8601: 2026-12-24 or 2026-12-24T18:00."
            )
            continue
        if ends <= begins:
            yield FieldProblem(f"{at}/to", "A freeze ends after it begins.")


def _of_rollback(policy: Policy) -> Iterator[FieldProblem]:
    rollback = policy.rollback
    if not 0 <= rollback.max_retries <= MOST_RETRIES:
        yield FieldProblem("/rollback/max_retries", f"There can be 0 to {MOST_RETRIES} retries.")
    if not 0 <= rollback.cooldown_ms <= LONGEST_MS:
        yield FieldProblem("/rollback/cooldown", "A duration must be between 0s and 365d.")
    if rollback.to is RollbackTo.PREVIOUS_STAGE and rollback.max_retries == 0:
        yield FieldProblem(
            "/rollback/to",
            "Going back to the previous stage is for trying again; give max_retries too. "
            "Without a retry a release closes for everyone.",
        )
