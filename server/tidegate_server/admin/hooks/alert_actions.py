"""Do what a firing alert asks for: to the hook's flags, and to nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import read_flag_documents
from tidegate_server.admin.hooks.alert_payloads import Alert, AlertStatus
from tidegate_server.admin.hooks.service import AuthenticatedHook
from tidegate_server.domain import release_commits
from tidegate_server.domain.change import Change
from tidegate_server.domain.hooks import HookAction, pause_by_alert, roll_back_by_alert
from tidegate_server.domain.kill_switch import kill
from tidegate_server.domain.release import Release, State
from tidegate_server.errors import NotFound, NotPossible
from tidegate_server.store import Store
from tidegate_server.store.heard_alerts import FlagOutcome, ReceivedAlert

DONE = {
    HookAction.HOLD: "Paused until a person resumes it.",
    HookAction.ROLLBACK: "Rolled back: everyone has the control.",
    HookAction.KILL: "Killed until a person restores it.",
}

log = structlog.get_logger("tidegate.api")


def apply_alert(store: Store, authenticated: AuthenticatedHook, alert: Alert) -> ReceivedAlert:
    """Do what an alert asks for, to each of the hook's flags, if the alert fires."""
    outcomes = tuple(_outcomes(store, authenticated, alert))
    log.info(
        "alert_heard",
        hook=authenticated.hook.id,
        scope=authenticated.project,
        status=str(alert.status),
        done=[outcome.flag for outcome in outcomes if outcome.done],
    )
    received = ReceivedAlert(store.now_ms(), str(alert.status), alert.summary, outcomes)
    store.heard_alerts.note(authenticated.project, authenticated.hook.id, received)
    return received


def _outcomes(
    store: Store, authenticated: AuthenticatedHook, alert: Alert
) -> Iterator[FlagOutcome]:
    hook = authenticated.hook
    for flag in hook.flags:
        if alert.status is not AlertStatus.FIRING:
            yield FlagOutcome(flag, False, "The alert does not fire.")
        elif not hook.enabled:
            yield FlagOutcome(flag, False, "The hook is disabled.")
        else:
            yield _act_on_flag(store, authenticated, alert, flag)


def _act_on_flag(
    store: Store, authenticated: AuthenticatedHook, alert: Alert, flag: str
) -> FlagOutcome:
    project, hook = authenticated.project, authenticated.hook
    try:
        documents = read_flag_documents(store, project, hook.environment, flag)
        stored = documents.active_release(hook.environment, flag)
    except NotFound as missing:
        return FlagOutcome(flag, False, missing.message)
    release: Release | None = stored.document if stored is not None else None
    if hook.action is not HookAction.KILL and release is None:
        return FlagOutcome(flag, False, "The flag has no active release.")
    id = release.id if release is not None else None
    target = "kill" if hook.action is HookAction.KILL else str(id)
    episodes = [f"{episode} {flag} {target}" for episode in alert.episodes]
    if store.heard_alerts.heard(project, hook.id, episodes):
        return FlagOutcome(flag, False, "The hook has already acted on this alert.", id)
    reason = f"Alert: {alert.summary}"
    try:
        commit_with_retry(store, lambda: _make_change(store, authenticated, flag, reason))
        outcome = FlagOutcome(flag, True, DONE[hook.action], id)
    except NotFound as missing:
        return FlagOutcome(flag, False, missing.message, id)
    except NotPossible as refused:
        outcome = FlagOutcome(flag, False, refused.message, id)
        if release is not None and release.state is State.DRAFT:
            return outcome  # Nothing is open yet. Once it is, the alert may act.
    store.heard_alerts.remember(project, hook.id, episodes, store.now_ms())
    return outcome


def _make_change(store: Store, authenticated: AuthenticatedHook, flag: str, reason: str) -> Change:
    """Return the change that the hook's action makes to a flag as it is now.

    Raises:
        NotPossible: the change is already made, or the state or a person does not allow it.
    """
    hook = authenticated.hook
    documents = read_flag_documents(store, authenticated.project, hook.environment, flag)
    release = documents.active_release(hook.environment, flag)
    if hook.action is HookAction.KILL:
        if documents.targeting(hook.environment, flag).document.kill is not None:
            raise NotPossible(f"Flag {flag} is already killed.")
        return kill(
            documents,
            hook.environment,
            flag,
            actor=hook.actor,
            reason=reason,
            now_ms=store.now_ms(),
        )
    if release is None:
        raise NotPossible("The flag has no active release.")
    holds = hook.action is HookAction.HOLD
    move = pause_by_alert if holds else roll_back_by_alert
    return release_commits.release_change(
        documents,
        hook.environment,
        release,
        move(release.document, store.now_ms(), reason),
        actor=hook.actor,
        action="release.pause" if holds else "release.rollback",
        reason=reason,
    )
