"""The commits that move a release from one state to another; ``start`` begins one."""

from __future__ import annotations

from dataclasses import replace

from tidegate.model import Serve

from tidegate_server.domain.change import Address, Audit, Change, Guard, Kind, Refresh, Stored
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.project_documents import (
    flag_address,
    guard,
    put,
    release_address,
    targeting_address,
)
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.release_events import outgoing_of
from tidegate_server.domain.release_start import start
from tidegate_server.domain.rule_variants import with_serve
from tidegate_server.domain.snapshot import flag_of
from tidegate_server.errors import NotPossible

__all__ = ["change_of", "progress_address", "start", "targeting_after"]


def change_of(
    project: str,
    environment: str,
    definition: Stored,
    targeting: Stored,
    before: Stored,
    after: Release,
    *,
    actor: str,
    action: str,
    reason: str = "",
) -> Change:
    """The commit that takes a release from ``before`` to ``after``.

    A release that ends leaves its rule (or the default rule) serving the treatment when it
    completed, the control when it was rolled back. What its policy tells others of the move
    is queued with it. A release that did not change is only guarded, without an audit entry:
    the policy job adds what it has to write.

    Args:
        project: the scope.
        environment: where the release runs.
        definition: the flag's definition.
        targeting: the flag's targeting there, which must name this release.
        before: the release as read.
        after: what a function of ``releases`` made of it.
        actor: who; the policy job writes ``policy``.
        action: the audit's verb phrase, ``release.advance`` for example.
        reason: a person's words, or the decision's.

    Raises:
        NotPossible: the flag's targeting names another release or none.
    """
    was: Release = before.document
    where = release_address(environment, after)
    if after == was:
        return Change(scope=project, writes=(Guard(where, before.revision),))
    present: Targeting = targeting.document
    if present.release != was.id:
        raise NotPossible(
            f"Release {was.id} is not the active release of flag {was.flag} any more; "
            "read it again."
        )
    outgoing = outgoing_of(environment, was, after, actor=actor, reason=reason)
    audit = Audit(
        actor=actor,
        action=action,
        target=was.id,
        environment=environment,
        reason=reason or after.reason,
        details=_details(was, after),
    )
    targeting_where = targeting_address(environment, was.flag)
    if after.state not in LIVE_STATES:
        ended = targeting_after(present, after)
        version = definition.revision + targeting.revision + 1
        flag = flag_of(definition.document, ended, None, version)
        return Change(
            scope=project,
            writes=(
                put(where, before, after),
                put(targeting_where, targeting, ended),
                guard(flag_address(was.flag), definition),
            ),
            refreshes=(Refresh(environment, flags={was.flag: flag}),),
            audit=audit,
            outgoing=outgoing,
        )
    version = definition.revision + targeting.revision
    flag = flag_of(definition.document, present, after, version)
    if flag == flag_of(definition.document, present, was, version):
        return Change(
            scope=project, writes=(put(where, before, after),), audit=audit, outgoing=outgoing
        )
    return Change(
        scope=project,
        writes=(
            put(where, before, after),
            guard(targeting_where, targeting),
            guard(flag_address(was.flag), definition),
        ),
        refreshes=(Refresh(environment, flags={was.flag: flag}),),
        audit=audit,
        outgoing=outgoing,
    )


def targeting_after(targeting: Targeting, release: Release) -> Targeting:
    """The targeting once a release has ended: its rule serves what the release came to."""
    variant = release.treatment if release.state is State.COMPLETED else release.control
    return replace(with_serve(targeting, release.rule, Serve(variant=variant)), release=None)


def progress_address(environment: str, release_id: str) -> Address:
    """Where the policy job keeps what it knows of a release."""
    return Address(Kind.PROGRESS, release_id, environment)


def _details(was: Release, after: Release) -> dict[str, object]:
    stages = after.policy.stages
    return {
        "flag": after.flag,
        "state_before": str(was.state),
        "state": str(after.state),
        "stage_before": was.stage,
        "stage": after.stage,
        "stage_name": stages[after.stage - 1].name,
        "percentage_before": was.open_percentage,
        "percentage": after.open_percentage,
        "step": after.step,
        "stopped": after.stopped,
    }
