"""Making hooks, and doing what an alert asks for: to the hook's flags, and to nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import document_of, one_flag, whole_project
from tidegate_server.admin.hooks.alert_payloads import Alert, AlertStatus
from tidegate_server.admin.hooks.schemas import HookRequest
from tidegate_server.domain import hook_edits, release_commits
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.hook_edits import hook_address
from tidegate_server.domain.hooks import (
    Hook,
    HookAction,
    paused_by_alert,
    rolled_back_by_alert,
)
from tidegate_server.domain.kill_switch import kill
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.domain.release import Release, State
from tidegate_server.errors import NotFound, NotPossible, TooManyAlerts, Unauthenticated
from tidegate_server.store import Store
from tidegate_server.web import token_secrets
from tidegate_server.web.etags import require_if_match

PREFIX = "tgh_"
CALLS = 60
CALLS_SECONDS = 60
"""A hook is called at most so often in so many seconds."""

NOT_ADMITTED = (
    "Send the hook's own secret, as Authorization: Bearer <secret> or as the password of Basic "
    "authentication."
)

DONE = {
    HookAction.HOLD: "Paused until a person resumes it.",
    HookAction.ROLLBACK: "Rolled back: everyone has the control.",
    HookAction.KILL: "Killed until a person restores it.",
}

log = structlog.get_logger("tidegate.api")


@dataclass(frozen=True, slots=True)
class NewHook:
    """A hook that was just made, with the secret that is not kept."""

    stored: Stored
    secret: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """A hook whose secret was presented, and its project."""

    project: str
    hook: Hook


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an alert did to one flag; ``done`` says whether it changed anything."""

    flag: str
    done: bool
    outcome: str
    release: str | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """How an alert was understood, and what it did."""

    status: AlertStatus
    summary: str
    outcomes: tuple[Outcome, ...]


def create(
    store: Store, secret_key: bytes, project: str, asked: HookRequest, actor: str
) -> NewHook:
    """Create a hook; raises ``Invalid``."""
    id, secret = f"hook_{token_secrets.new_id()}", PREFIX + token_secrets.new_secret()
    digest = token_secrets.secret_digest(secret_key, secret)
    hook = _hook(asked, id, digest, actor, store.now_ms())

    def make() -> Change:
        change = hook_edits.new_hook(whole_project(store, project), hook, actor=actor)
        # Calls name the hook alone. Written first: a hook that nobody finds would be silent.
        store.put_value_once(_value(id), project)
        return change

    return NewHook(commit_with_retry(store, make).stored(hook_address(id)), secret)


def replace_one(store: Store, project: str, id: str, asked: HookRequest, actor: str) -> Stored:
    """Change what a hook does; raises ``NotFound`` and ``Invalid``."""

    def make() -> Change:
        before = document_of(store, project, hook_address(id))
        require_if_match(before.revision, f"hook {id}")
        after = _hook(asked, id, "", "", 0)
        return hook_edits.edit_hook(whole_project(store, project), before, after, actor=actor)

    return commit_with_retry(store, make).stored(hook_address(id))


def delete(store: Store, project: str, id: str, actor: str) -> None:
    """Delete a hook; raises ``NotFound``."""

    def make() -> Change:
        before = document_of(store, project, hook_address(id))
        require_if_match(before.revision, f"hook {id}")
        return hook_edits.delete_hook(project, before, actor=actor)

    commit_with_retry(store, make)


def admit(store: Store, secret_key: bytes, id: str, presented: str) -> Admitted:
    """The hook of an address, if its secret is presented.

    Raises:
        NotFound: there is no such hook.
        Unauthenticated: the secret is another one.
        TooManyAlerts: the hook is called too often. Monitoring systems try again after an
            answer of 5xx only, so this is one: an alert is late then, and not lost.
    """
    project = store.get_value(_value(id))
    stored = store.get(project, hook_address(id)) if project is not None else None
    if project is None or stored is None:
        raise NotFound("There is no such hook; it may have been deleted.")
    hook: Hook = stored.document
    if not token_secrets.secret_matches(secret_key, presented, hook.digest):
        raise Unauthenticated(NOT_ADMITTED)
    if store.alerts().count_call(project, id, CALLS_SECONDS) > CALLS:
        raise TooManyAlerts(
            f"Hook {hook.name} is called more than {CALLS} times in {CALLS_SECONDS} seconds; "
            "let the monitoring system group its alerts."
        )
    return Admitted(project, hook)


def hear(store: Store, admitted: Admitted, alert: Alert) -> Heard:
    """Do what a firing alert asks for, to each of the hook's flags."""
    outcomes = tuple(_outcomes(store, admitted, alert))
    log.info(
        "alert heard",
        hook=admitted.hook.id,
        scope=admitted.project,
        status=str(alert.status),
        done=[each.flag for each in outcomes if each.done],
    )
    return Heard(alert.status, alert.summary, outcomes)


def _outcomes(store: Store, admitted: Admitted, alert: Alert) -> Iterator[Outcome]:
    hook = admitted.hook
    for flag in hook.flags:
        if alert.status is not AlertStatus.FIRING:
            yield Outcome(flag, False, "Only an alert that fires does anything.")
        elif not hook.enabled:
            yield Outcome(flag, False, "The hook is disabled.")
        else:
            yield _act(store, admitted, alert, flag)


def _act(store: Store, admitted: Admitted, alert: Alert, flag: str) -> Outcome:
    project, hook = admitted.project, admitted.hook
    try:
        documents = one_flag(store, project, hook.environment, flag)
        release = _release_of(documents, hook, flag)
    except NotFound as missing:
        return Outcome(flag, False, missing.message)
    if hook.action is not HookAction.KILL and release is None:
        return Outcome(flag, False, "No release is under way.")
    id = release.id if release is not None else None
    of_what = "kill" if hook.action is HookAction.KILL else str(id)
    episodes = [f"{episode} {flag} {of_what}" for episode in alert.episodes]
    if store.alerts().heard(project, hook.id, episodes):
        return Outcome(flag, False, "This alert has done its part already.", id)
    reason = f"Alert: {alert.summary}"
    try:
        commit_with_retry(store, lambda: _change(store, admitted, flag, reason))
        outcome = Outcome(flag, True, DONE[hook.action], id)
    except NotFound as missing:
        return Outcome(flag, False, missing.message, id)
    except NotPossible as refused:
        outcome = Outcome(flag, False, refused.message, id)
        if release is not None and release.state is State.DRAFT:
            return outcome  # nothing is open yet; once it is, the alert counts
    store.alerts().note(project, hook.id, episodes, store.now_ms())
    return outcome


def _change(store: Store, admitted: Admitted, flag: str, reason: str) -> Change:
    """What the hook does to a flag, as the flag is now.

    Raises:
        NotPossible: it is so already, or the state or a person does not allow it.
    """
    project, hook = admitted.project, admitted.hook
    documents = one_flag(store, project, hook.environment, flag)
    release = documents.active_release(hook.environment, flag)
    if hook.action is HookAction.KILL:
        if documents.targeting(hook.environment, flag).document.kill is not None:
            raise NotPossible(f"Flag {flag} is killed already.")
        return kill(
            documents,
            hook.environment,
            flag,
            actor=hook.actor,
            reason=reason,
            now_ms=store.now_ms(),
        )
    if release is None:
        raise NotPossible("No release is under way.")
    holds = hook.action is HookAction.HOLD
    move = paused_by_alert if holds else rolled_back_by_alert
    return release_commits.release_change(
        documents,
        hook.environment,
        release,
        move(release.document, store.now_ms(), reason),
        actor=hook.actor,
        action="release.pause" if holds else "release.rollback",
        reason=reason,
    )


def _release_of(documents: ProjectDocuments, hook: Hook, flag: str) -> Release | None:
    stored = documents.active_release(hook.environment, flag)
    return stored.document if stored is not None else None


def _hook(asked: HookRequest, id: str, digest: str, created_by: str, created_ms: int) -> Hook:
    return Hook(
        id=id,
        name=asked.name,
        kind=asked.kind,
        action=asked.action,
        environment=asked.environment,
        flags=asked.flags,
        digest=digest,
        created_by=created_by,
        created_ms=created_ms,
        enabled=asked.enabled,
        description=asked.description,
    )


def _value(id: str) -> str:
    return f"hook-{id}"
