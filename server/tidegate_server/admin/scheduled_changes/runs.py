"""The runs of scheduled changes, for the policy job.

A run is one commit: the change and the mark that it was made. So it is made once, whatever ends a
process, and a job that no longer leads makes none.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog
from flask import Flask

from tidegate_server.admin.planning import commit_plan, conflict_text, conflicts
from tidegate_server.admin.rehearsal import NothingToChange
from tidegate_server.admin.scheduled_changes.service import audit_entry
from tidegate_server.domain.calendar import utc_text
from tidegate_server.domain.change import Change, Fence, Put, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.scheduled_changes import (
    OnConflict,
    Run,
    RunOutcome,
    ScheduledChange,
    held,
    latest_occurrence,
    put_scheduled_change,
    scheduled_change_address,
    with_made_run,
    with_run,
)
from tidegate_server.errors import (
    LeaseLost,
    NotPossible,
    StaleRevision,
    StoreUnavailable,
    TidegateError,
)
from tidegate_server.store import Store
from tidegate_server.web.backend import EXTENSION

ACTOR = "schedule"
"""The actor of entries about runs that changed nothing."""

VERBS = {RunOutcome.DONE: "run", RunOutcome.FAILED: "fail", RunOutcome.MISSED: "miss"}
"""What the audit log calls a run that changed nothing."""

log = structlog.stdlib.get_logger("tidegate.policy_job")


class ScheduledRuns:
    """Makes the runs of scheduled changes that are due.

    Args:
        app: the application whose routes carry out the operations.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app

    def run(self, project: str, id: str, now_ms: int, fence: Fence) -> None:
        """Make the run of a scheduled change that is due, or note why it is not made.

        Args:
            project, id: the scheduled change.
            now_ms: the store's time.
            fence: of the policy job.

        Raises:
            LeaseLost: this process no longer leads; nothing was written.
            StoreUnavailable: the run may or may not have been made; try again.
        """
        with self._app.app_context():
            store: Store = self._app.extensions[EXTENSION].store
            _run(store, project, id, now_ms, fence)

    def close(self) -> None:
        """End the services of the application."""
        self._app.extensions[EXTENSION].close()


def _run(store: Store, project: str, id: str, now_ms: int, fence: Fence) -> None:
    stored = store.get(project, scheduled_change_address(id))
    if stored is None:
        return
    schedule: ScheduledChange = stored.document
    if schedule.next_run_ms is None or schedule.next_run_ms > now_ms:
        return  # cancelled, or made by another process
    if _is_held(store, project, stored, now_ms, fence):
        return
    due_ms, missed = latest_occurrence(schedule, now_ms)
    late_ms = now_ms - max(due_ms, schedule.held_until_ms or 0)
    note = f"{missed} earlier runs were missed." if missed else ""

    def end(outcome: RunOutcome, message: str) -> None:
        _note(store, project, stored, Run(due_ms, now_ms, outcome, message), fence)

    if late_ms > schedule.late_limit_ms:
        words = f"It was due at {utc_text(due_ms)}, longer ago than its limit allows. {note}"
        end(RunOutcome.MISSED, words.strip())
        return
    try:
        _carry_out(store, project, stored, Run(due_ms, now_ms, RunOutcome.DONE, note), fence)
    except (LeaseLost, StoreUnavailable):
        raise
    except StaleRevision as error:
        log.info("scheduled_change_collided", scope=project, schedule=id, problem=error.message)
    except NothingToChange as error:
        end(RunOutcome.DONE, error.message)
    except TidegateError as error:
        end(RunOutcome.FAILED, error.message)
    except Exception:
        log.exception("scheduled_change_failed", scope=project, schedule=id)
        end(RunOutcome.FAILED, "The server failed; its log says more.")


STOPPING = frozenset({"flag.kill", "tag.kill", "release.pause", "release.rollback"})
"""What no freeze holds."""


def _is_held(store: Store, project: str, stored: Stored, now_ms: int, fence: Fence) -> bool:
    """Return whether a freeze holds a run, and write down until when it does."""
    schedule: ScheduledChange = stored.document
    actions = schedule.plan.actions
    if all(each.action in STOPPING for each in actions):
        return False
    environments = store.cached(project, Kind.ENVIRONMENT).stored
    concerned = {each.environment for each in actions}
    for key, environment in sorted(environments.items()):
        # An action without an environment changes something in all of them.
        freeze = environment.document.freeze_at(now_ms)
        if freeze is None or freeze.until_ms is None or not {key, ""} & concerned:
            continue
        after = held(schedule, freeze.until_ms, f"environment {key} is {freeze.text}")
        if after == schedule:
            return True
        audit = audit_entry(after, "hold", ACTOR, after.held_because)
        put = put_scheduled_change(stored, after)
        with suppress(StaleRevision):
            store.commit(Change(project, (put,), audit=audit, fence=fence))
        return True
    return False


def _carry_out(store: Store, project: str, stored: Stored, run: Run, fence: Fence) -> None:
    schedule: ScheduledChange = stored.document

    def mark_done(change: Change) -> tuple[Put, dict[str, Any]]:
        before = store.get(project, scheduled_change_address(schedule.id))
        if before is None or before.revision != stored.revision:
            raise StaleRevision(f"Scheduled change {schedule.id} has changed.")
        found = conflicts(store, project, schedule.plan.made_against)
        if found and schedule.on_conflict is OnConflict.FAIL:
            raise NotPossible(
                f"What it changes was changed since: {conflict_text(found)}. Schedule it again."
            )
        after = with_made_run(schedule, run, change)
        return put_scheduled_change(before, after), {"scheduled_change": schedule.id}

    commit_plan(
        store,
        project,
        schedule.plan.operations,
        schedule.owner,
        schedule.reason,
        schedule.approvers,
        mark_done,
        fence,
        "scheduled_change.run",
    )
    log.info("scheduled_change_made", scope=project, schedule=schedule.id)


def _note(store: Store, project: str, stored: Stored, run: Run, fence: Fence) -> None:
    """Write down that a run changed nothing, and why."""
    schedule: ScheduledChange = stored.document
    after = with_run(schedule, run)
    verb = VERBS[run.outcome]
    audit = audit_entry(after, verb, ACTOR, run.message)
    audit = replace(audit, details={**audit.details, "owner": schedule.owner.name})
    change = Change(project, (put_scheduled_change(stored, after),), audit=audit, fence=fence)
    try:
        store.commit(change)
    except StaleRevision:
        return  # somebody cancelled it meanwhile
    log.warning(
        "scheduled_change_not_made", scope=project, schedule=schedule.id, problem=run.message
    )
