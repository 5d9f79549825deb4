"""The kill switch of a flag in an environment.

A kill lasts until a person restores the flag. It is never refused because of the state of the
flag, its targeting or its release: the person on call has no time to repair them. Only a
concurrent write makes it stale; the caller then reads again and repeats it until it succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tidegate_server.domain import release_state_machine
from tidegate_server.domain.change import (
    Audit,
    Change,
    Delete,
    Guard,
    Put,
    Refresh,
    Stored,
    WebhookMessage,
)
from tidegate_server.domain.flags import Kill, Targeting
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    flag_address,
    guard,
    put,
    put_or_guard,
    release_address,
    targeting_address,
)
from tidegate_server.domain.release import Release, State
from tidegate_server.domain.release_commits import moved_by
from tidegate_server.domain.release_events import webhook_messages
from tidegate_server.domain.snapshot import snapshot_entry
from tidegate_server.errors import NotPossible


def kill(
    documents: ProjectDocuments,
    environment: str,
    flag: str,
    *,
    actor: str,
    reason: str,
    now_ms: int,
) -> Change:
    """Serve the kill variant to everyone, and stop the active release.

    A kill of a killed flag succeeds: the kill in force stays as it is, and the audit log
    names the second one too.

    Args:
        documents: holds the flag, its targeting, and its active release if there is one.
        environment: where.
        flag: the flag's key.
        actor: who.
        reason: why.
        now_ms: the store's time.

    Raises:
        NotFound: there is no such flag.
    """
    present: Targeting = documents.targeting(environment, flag).document
    release = documents.active_release(environment, flag)
    killed: Release | None = None
    if release is not None:
        killed = release_state_machine.kill(release.document, now_ms, reason)
    after = present
    if present.kill is None:
        after = replace(present, kill=Kill(actor=actor, reason=reason, at_ms=now_ms))
    details = {
        "variant": present.kill_variant or present.off_variant,
        "release": killed.id if killed is not None else None,
        "already_killed": present.kill is not None,
    }
    audit = Audit(actor, "flag.kill", flag, environment, reason, details)
    return _change(documents, environment, after, release, killed, audit)


def restore(
    documents: ProjectDocuments,
    environment: str,
    flag: str,
    *,
    actor: str,
    reason: str,
    now_ms: int,
) -> Change:
    """End a kill. The release that it stopped is paused until a person resumes it.

    Arguments as for ``kill``.

    Raises:
        NotFound: there is no such flag.
        NotPossible: the flag is not killed.
    """
    present: Targeting = documents.targeting(environment, flag).document
    if present.kill is None:
        raise NotPossible(f"Flag {flag} is not killed in {environment}; nothing to restore.")
    release = documents.active_release(environment, flag)
    restored: Release | None = release.document if release is not None else None
    if restored is not None and restored.state is State.KILLED:
        restored = release_state_machine.restore(restored, now_ms, reason)
    details: Mapping[str, object] = {
        "killed_by": present.kill.actor,
        "killed_at_ms": present.kill.at_ms,
        "killed_for_ms": max(0, now_ms - present.kill.at_ms),
        "kill_reason": present.kill.reason,
        "release": restored.id if restored is not None else None,
    }
    audit = Audit(actor, "flag.restore", flag, environment, reason, details)
    return _change(documents, environment, replace(present, kill=None), release, restored, audit)


def _change(
    documents: ProjectDocuments,
    environment: str,
    after: Targeting,
    release_before: Stored | None,
    release: Release | None,
    audit: Audit,
) -> Change:
    flag = after.flag
    definition, targeting = documents.flag(flag), documents.targeting(environment, flag)
    address = targeting_address(environment, flag)
    writes: list[Put | Delete | Guard] = []
    refreshes: tuple[Refresh, ...] = ()
    if after is targeting.document:
        writes.append(guard(address, targeting))
    else:
        writes += [put(address, targeting, after), guard(flag_address(flag), definition)]
        version = definition.revision + targeting.revision + 1
        compiled = snapshot_entry(definition.document, after, release, version)
        killed = after.kill is not None
        refreshes = (
            Refresh(
                environment,
                flags={flag: compiled},
                killed=(flag,) if killed else (),
                restored=() if killed else (flag,),
            ),
        )
    outgoing: tuple[WebhookMessage, ...] = ()
    if release_before is not None and release is not None:
        release = moved_by(audit.actor, release_before.document, release)
        writes.append(put_or_guard(release_address(environment, release), release_before, release))
        outgoing = webhook_messages(
            environment, release_before.document, release, actor=audit.actor, reason=audit.reason
        )
    return Change(
        scope=documents.project,
        writes=tuple(writes),
        refreshes=refreshes,
        audit=audit,
        outgoing=outgoing,
    )
