"""The changes that move a release from one state to another."""

from __future__ import annotations

from dataclasses import replace

from tidegate.model import Serve

from tidegate_server.domain.change import (
    Audit,
    Change,
    Delete,
    EndedRelease,
    Guard,
    Put,
    Refresh,
    Stored,
)
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    flag_address,
    guard,
    put,
    release_address,
    targeting_address,
)
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.release_events import webhook_messages
from tidegate_server.domain.rule_variants import replace_serve
from tidegate_server.domain.snapshot import snapshot_flag
from tidegate_server.errors import NotPossible


def release_change(
    documents: ProjectDocuments,
    environment: str,
    before: Stored,
    after: Release,
    *,
    actor: str,
    action: str,
    reason: str = "",
) -> Change:
    """Return the change that takes a release from ``before`` to ``after``.

    When a release ends, its rule (or the default rule) serves the treatment if the release
    completed, the control if it was rolled back, and its evidence is deleted. The change queues
    the messages to the webhooks of the policy. A release that did not change is only guarded,
    without an audit entry; the policy job adds what it has to write.

    Args:
        documents: holds the flag's definition and its targeting in the environment.
        environment: where the release runs.
        before: the release as read.
        after: what a function of ``release_state_machine`` returned for it.
        actor: who; the policy job is ``policy``.
        action: the action in the audit log, for example ``release.advance``.
        reason: a person's words, or the decision's.

    Raises:
        NotFound: there is no such flag.
        NotPossible: the flag's targeting does not name this release.
    """
    was: Release = before.document
    after = moved_by(actor, was, after)
    address = release_address(environment, after)
    if after == was:
        return Change(scope=documents.project, writes=(guard(address, before),))
    definition = documents.flag(was.flag)
    targeting = documents.targeting(environment, was.flag)
    present: Targeting = targeting.document
    if present.release != was.id:
        raise NotPossible(
            f"Release {was.id} is no longer the active release of flag {was.flag}; read it again."
        )
    ended = after.state not in LIVE_STATES
    resulting = targeting_after(present, after) if ended else present
    version = definition.revision + targeting.revision + (1 if ended else 0)
    flag = snapshot_flag(definition.document, resulting, after, version)
    writes: list[Put | Delete | Guard] = [put(address, before, after)]
    refreshes: tuple[Refresh, ...] = ()
    if ended or flag != snapshot_flag(definition.document, present, was, version):
        where = targeting_address(environment, was.flag)
        writes += [
            put(where, targeting, resulting) if ended else guard(where, targeting),
            guard(flag_address(was.flag), definition),
        ]
        refreshes = (Refresh(environment, flags={was.flag: flag}),)
    return Change(
        scope=documents.project,
        writes=tuple(writes),
        refreshes=refreshes,
        audit=Audit(
            actor=actor,
            action=action,
            target=was.id,
            environment=environment,
            reason=reason or after.reason,
            details=_details(was, after),
        ),
        outgoing=webhook_messages(environment, was, after, actor=actor, reason=reason),
        ended=(EndedRelease(environment, was.id, after.step),) if ended else (),
    )


def moved_by(actor: str, before: Release, after: Release) -> Release:
    """Return a release with who changed its state, if somebody did."""
    if (after.state, after.stopped) == (before.state, before.stopped):
        return after
    return replace(after, state_by=actor)


def targeting_after(targeting: Targeting, release: Release) -> Targeting:
    """Return the targeting once a release has ended: its rule serves the resulting variant."""
    variant = release.treatment if release.state is State.COMPLETED else release.control
    return replace(replace_serve(targeting, release.rule, Serve(variant=variant)), release=None)


def _details(was: Release, after: Release) -> dict[str, object]:
    # The policy job does not say what it changes of the targeting, field by field.
    served = {}
    if after.state not in LIVE_STATES:
        completed = after.state is State.COMPLETED
        served = {"rule": after.rule, "serves": after.treatment if completed else after.control}
    return served | {
        "flag": after.flag,
        "state_before": str(was.state),
        "state": str(after.state),
        "stage_before": was.stage,
        "stage": after.stage,
        "stage_name": after.current_stage.name,
        "percentage_before": was.open_percentage,
        "percentage": after.open_percentage,
        "step": after.step,
        "stage_basis": None if after.stage_basis is None else str(after.stage_basis),
        "stopped": after.stopped,
    }
