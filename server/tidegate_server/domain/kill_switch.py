"""The kill switch of a flag in an environment: latched, until a person restores it.

A kill is never refused for what the flag, its targeting or its release are: whoever is on
call has no time to mend them. Only a write that came first makes it stale, and the caller
then reads again and repeats it until it succeeds.
"""

from __future__ import annotations

from dataclasses import replace

from tidegate_server.domain import release_state_machine
from tidegate_server.domain.change import (
    Audit,
    Change,
    Delete,
    Guard,
    Outgoing,
    Put,
    Refresh,
    Stored,
)
from tidegate_server.domain.flags import FlagDefinition, Kill, Targeting
from tidegate_server.domain.project_documents import (
    flag_address,
    guard,
    put,
    release_address,
    targeting_address,
)
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.release_events import outgoing_of
from tidegate_server.domain.snapshot import flag_of
from tidegate_server.errors import NotPossible


def kill(
    project: str,
    environment: str,
    definition: Stored,
    targeting: Stored,
    release: Stored | None,
    *,
    actor: str,
    reason: str,
    now_ms: int,
) -> Change:
    """Serve everyone the kill variant, and stop the active release.

    Killing a killed flag succeeds: the kill in force stays as it is, and the audit log tells
    of the second one too.

    Args:
        project: the scope.
        environment: where.
        definition, targeting: the flag's documents as read.
        release: its active release (None: it has none).
        actor: who.
        reason: why.
        now_ms: store clock.
    """
    flag: FlagDefinition = definition.document
    present: Targeting = targeting.document
    where = targeting_address(environment, flag.key)
    killed = _moved(release, State.KILLED, reason, now_ms)
    details: dict[str, object] = {
        "variant": present.kill_variant or present.off_variant,
        "release": killed.id if killed is not None else None,
        "already_killed": present.kill is not None,
    }
    audit = Audit(actor, "flag.kill", flag.key, environment, reason, details)
    if present.kill is not None:
        return Change(
            scope=project,
            writes=(guard(where, targeting), *_release_write(environment, release, killed)),
            audit=audit,
            outgoing=_outgoing(environment, release, killed, actor, reason),
        )
    after = replace(present, kill=Kill(actor=actor, reason=reason, at_ms=now_ms))
    version = definition.revision + targeting.revision + 1
    return Change(
        scope=project,
        writes=(
            put(where, targeting, after),
            guard(flag_address(flag.key), definition),
            *_release_write(environment, release, killed),
        ),
        refreshes=(
            Refresh(
                environment,
                flags={flag.key: flag_of(flag, after, killed, version)},
                killed=(flag.key,),
            ),
        ),
        audit=audit,
        outgoing=_outgoing(environment, release, killed, actor, reason),
    )


def restore(
    project: str,
    environment: str,
    definition: Stored,
    targeting: Stored,
    release: Stored | None,
    *,
    actor: str,
    reason: str,
    now_ms: int,
) -> Change:
    """End a kill. The release it stopped is paused until a person resumes it.

    Raises:
        NotPossible: the flag is not killed.
    """
    flag: FlagDefinition = definition.document
    present: Targeting = targeting.document
    if present.kill is None:
        raise NotPossible(f"Flag {flag.key} is not killed in {environment}; nothing to restore.")
    after = replace(present, kill=None)
    restored = _moved(release, State.PAUSED, reason, now_ms)
    version = definition.revision + targeting.revision + 1
    return Change(
        scope=project,
        writes=(
            put(targeting_address(environment, flag.key), targeting, after),
            guard(flag_address(flag.key), definition),
            *_release_write(environment, release, restored),
        ),
        refreshes=(
            Refresh(
                environment,
                flags={flag.key: flag_of(flag, after, restored, version)},
                restored=(flag.key,),
            ),
        ),
        audit=Audit(
            actor,
            "flag.restore",
            flag.key,
            environment,
            reason,
            {
                "killed_by": present.kill.actor,
                "killed_at_ms": present.kill.at_ms,
                "killed_for_ms": max(0, now_ms - present.kill.at_ms),
                "kill_reason": present.kill.reason,
                "release": restored.id if restored is not None else None,
            },
        ),
        outgoing=_outgoing(environment, release, restored, actor, reason),
    )


def _moved(release: Stored | None, to: State, reason: str, now_ms: int) -> Release | None:
    if release is None or release.document.state not in LIVE_STATES:
        return None
    live: Release = release.document
    if to is State.KILLED:
        return release_state_machine.kill(live, now_ms, reason)
    return (
        release_state_machine.restore(live, now_ms, reason) if live.state is State.KILLED else live
    )


def _outgoing(
    environment: str, before: Stored | None, after: Release | None, actor: str, reason: str
) -> tuple[Outgoing, ...]:
    if before is None or after is None:
        return ()
    return outgoing_of(environment, before.document, after, actor=actor, reason=reason)


def _release_write(
    environment: str, before: Stored | None, after: Release | None
) -> tuple[Put | Delete | Guard, ...]:
    if before is None or after is None:
        return ()
    where = release_address(environment, after)
    if after == before.document:
        return (guard(where, before),)
    return (put(where, before, after),)
