"""Flags, segments and releases as the snapshot of an environment contains them.

A flag's version is the revision of its definition plus the revision of its targeting, both
after the change. Each only grows, so the version never decreases while the flag exists. The
start and end of a release, a kill and a restore rewrite the targeting. In between, a release
moves under the same version; its ``stage`` and ``step`` show the difference. A flag that is
deleted and created again starts from the beginning.
"""

from __future__ import annotations

from tidegate import model

from tidegate_server.domain.flags import FlagDefinition, KeySet, SegmentDefinition, Targeting
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import LIVE_STATES, Release

MIN_REPORT_INTERVAL = 0.5
MAX_REPORT_INTERVAL = 10.0


def snapshot_flag(
    definition: FlagDefinition, targeting: Targeting, release: Release | None, version: int
) -> model.Flag:
    """Return a flag as the snapshot of an environment contains it.

    Args:
        definition: the flag in its project.
        targeting: the flag in the environment.
        release: the flag's active release there; one that has ended is ignored.
        version: the revision of the definition plus that of the targeting.
    """
    killed = None
    if targeting.kill is not None:
        killed = targeting.kill_variant or targeting.off_variant
    return model.Flag(
        key=definition.key,
        type=definition.type,
        version=version,
        salt=definition.salt,
        variants=definition.variants,
        enabled=targeting.enabled,
        off_variant=targeting.off_variant,
        default=targeting.default,
        rules=targeting.rules,
        prerequisites=targeting.prerequisites,
        killed=killed,
        release=snapshot_release(release),
        client_side=definition.client_side,
        metadata=definition.metadata,
    )


def snapshot_entry(
    definition: FlagDefinition, targeting: Targeting, release: Release | None, version: int
) -> model.Flag | None:
    """Return what a snapshot has of a flag: None if it is archived.

    Arguments as for ``snapshot_flag``.
    """
    if definition.archived is not None:
        return None
    return snapshot_flag(definition, targeting, release, version)


def snapshot_release(release: Release | None) -> model.ActiveRelease | None:
    """Return a release as its flag contains it, or None if it has ended."""
    if release is None or release.state not in LIVE_STATES:
        return None
    return model.ActiveRelease(
        id=release.id,
        rule=release.rule,
        control=release.control,
        treatment=release.treatment,
        salt=release.salt,
        stage=release.stage,
        step=release.step,
        openings=present_openings(release),
        report_interval=report_interval(release.policy),
        measures=release.policy.distributions,
        local_breaker=release.policy.breaker_tolerance,
    )


def snapshot_segment(definition: SegmentDefinition) -> model.Segment:
    """Return a segment as the snapshot contains it.

    A snapshot has uploaded keys as conditions, not in fields of their own: an SDK that does not
    know them refuses the segment, and does not serve the wrong users as if they were not there.
    """
    when, included = definition.when, definition.included
    either: list[model.Condition] = []
    if definition.included_set is not None:
        either.append(_in_key_set(definition.included_set))
    if definition.excluded_set is not None and included:
        # Excluded keys are excluded although they are included.
        either.append(model.Comparison("targetingKey", "in", included))
        included = ()
    if either and when is not None:
        either.append(when)
    if either:
        when = model.AnyOf(tuple(either))
    if definition.excluded_set is not None:
        allowed = model.NoneOf((_in_key_set(definition.excluded_set),))
        when = model.All((allowed, model.AnyOf(()) if when is None else when))
    return model.Segment(
        key=definition.key, when=when, included=included, excluded=definition.excluded
    )


def _in_key_set(keys: KeySet) -> model.InKeySet:
    return model.InKeySet(keys.digest, keys.salt, keys.count)


def present_openings(release: Release) -> tuple[model.Opening, ...]:
    """Return who gets the treatment of a release now.

    A closed release (a draft, or one in a cooldown) gives everyone the control and counts them
    as stratum 0.
    """
    if release.closed:
        return (model.Opening(stage=0, percentage=0.0),)
    return openings(release.policy, release.stage)


def openings(policy: Policy, stage: int) -> tuple[model.Opening, ...]:
    """Return the openings at a stage (from 1): its own and those of all stages before it.

    An opening that another one includes (at least as many of the same users) is left out.
    """
    result: list[model.Opening] = []
    for number, at in enumerate(policy.stages[:stage], start=1):
        present = model.Opening(
            stage=number, percentage=policy.opened(number), segments=at.segments
        )
        result = [opening for opening in result if not _includes(present, opening)]
        result.append(present)
    return tuple(result)


def _includes(wide: model.Opening, narrow: model.Opening) -> bool:
    same_users = not wide.segments or (
        bool(narrow.segments) and set(narrow.segments) <= set(wide.segments)
    )
    return same_users and wide.percentage >= narrow.percentage


def report_interval(policy: Policy) -> float:
    """Return the seconds between reports: half of the policy's interval, within bounds."""
    half = policy.interval_ms / 2_000
    return min(max(half, MIN_REPORT_INTERVAL), MAX_REPORT_INTERVAL)
