"""The kill switch of a flag in an environment.

A kill lasts until a person restores the flag. It is never refused because of the state of the
flag, its targeting or its release: the person on call has no time to repair them. Only a
concurrent write makes it stale; the caller then reads again and repeats it until it succeeds.

All flags with a tag can be killed at once, in one commit and one update of the snapshot.
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
from tidegate_server.domain.flags import FlagDefinition, Kill, Targeting
from tidegate_server.domain.planned_operations import merged
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
from tidegate_server.domain.release_events import kill_messages, webhook_messages
from tidegate_server.domain.release_gates import Event
from tidegate_server.domain.snapshot import snapshot_entry
from tidegate_server.errors import NotFound, NotPossible
from tidegate_server.near_misses import similar

KILLS = ("flag.kill", "tag.kill")
RESTORES = ("flag.restore", "tag.restore")
"""The actions of the audit log that kill flags and restore them, one or all with a tag."""


def kill(
    documents: ProjectDocuments,
    environment: str,
    flag: str,
    *,
    actor: str,
    reason: str,
    now_ms: int,
    url: str = "",
    tag: str = "",
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
        url: a link to the incident.
        tag: the tag whose flags are all killed.

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
        after = replace(present, kill=Kill(actor, reason, now_ms, url, tag))
    details = {
        "variant": present.kill_variant or present.off_variant,
        "release": killed.id if killed is not None else None,
        "already_killed": present.kill is not None,
        **_given(url=url, tag=tag),
    }
    audit = Audit(actor, "flag.kill", flag, environment, reason, details)
    return _change(documents, environment, after, release, killed, audit, url, now_ms)


def kill_tagged(
    documents: ProjectDocuments,
    environment: str,
    tag: str,
    *,
    actor: str,
    reason: str,
    now_ms: int,
    url: str = "",
) -> Change:
    """Kill every flag with a tag, all of them or none.

    Arguments as for ``kill``; ``documents`` holds every flag of the project.

    Raises:
        NotFound: no flag has the tag.
    """
    flags = [key for key in tagged(documents, tag) if key in documents.targetings[environment]]
    changes = [
        kill(
            documents,
            environment,
            flag,
            actor=actor,
            reason=reason,
            now_ms=now_ms,
            url=url,
            tag=tag,
        )
        for flag in flags
    ]
    details = {"flags": ", ".join(flags), **_given(url=url)}
    return _together(changes, Audit(actor, "tag.kill", tag, environment, reason, details))


def tagged(documents: ProjectDocuments, tag: str) -> list[str]:
    """Return the keys of the flags with a tag, without archived ones.

    Raises:
        NotFound: there is none.
    """
    present: dict[str, FlagDefinition] = {
        key: stored.document
        for key, stored in sorted(documents.flags.items())
        if stored.document.archived is None
    }
    found = [key for key, flag in present.items() if tag in flag.tags]
    if not found:
        tags = {each for flag in present.values() for each in flag.tags}
        raise NotFound(
            f"No flag of project {documents.project!r} has the tag {tag!r}.", similar(tag, tags)
        )
    return found


def restore(
    documents: ProjectDocuments,
    environment: str,
    flag: str,
    *,
    actor: str,
    reason: str,
    now_ms: int,
    url: str = "",
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
        **_given(url=url),
    }
    audit = Audit(actor, "flag.restore", flag, environment, reason, details)
    after = replace(present, kill=None)
    return _change(documents, environment, after, release, restored, audit, url, now_ms)


def restore_tagged(
    documents: ProjectDocuments,
    environment: str,
    tag: str,
    *,
    actor: str,
    reason: str,
    now_ms: int,
    url: str = "",
) -> Change:
    """Restore every flag that was killed with a tag, all of them or none.

    A flag of the tag that was killed by itself stays killed. Arguments as for ``restore``.

    Raises:
        NotPossible: no flag is killed with this tag.
    """
    flags = killed_with_tag(documents, environment, tag)
    if not flags:
        raise NotPossible(f"No flag is killed with the tag {tag} in {environment}.")
    changes = [
        restore(documents, environment, flag, actor=actor, reason=reason, now_ms=now_ms, url=url)
        for flag in flags
    ]
    details = {"flags": ", ".join(flags), **_given(url=url)}
    return _together(changes, Audit(actor, "tag.restore", tag, environment, reason, details))


def killed_with_tag(documents: ProjectDocuments, environment: str, tag: str) -> list[str]:
    """Return the keys of the flags that were killed with a tag and are not restored yet."""
    targetings = documents.targetings.get(environment, {})
    return [
        flag
        for flag in sorted(documents.index(environment).killed)
        if targetings[flag].document.kill.tag == tag
    ]


def _together(changes: list[Change], audit: Audit) -> Change:
    """Return changes as one; the audit log names the whole first, then each flag."""
    each = tuple(change.audit for change in changes if change.audit is not None)
    return replace(merged(changes, audit), audit=audit, more_audit=each)


def _given(**texts: str) -> dict[str, object]:
    return {name: text for name, text in texts.items() if text}


def _change(
    documents: ProjectDocuments,
    environment: str,
    after: Targeting,
    release_before: Stored | None,
    release: Release | None,
    audit: Audit,
    url: str,
    now_ms: int,
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
            environment,
            release_before.document,
            release,
            actor=audit.actor,
            reason=audit.reason,
            url=url,
        )
    elif refreshes:
        outgoing = kill_messages(
            (stored.document for _, stored in sorted(documents.policies.items())),
            environment,
            flag,
            Event.RESTORED if after.kill is None else Event.KILLED,
            actor=audit.actor,
            reason=audit.reason,
            now_ms=now_ms,
            url=url,
        )
    return Change(
        scope=documents.project,
        writes=tuple(writes),
        refreshes=refreshes,
        audit=audit,
        outgoing=outgoing,
    )
