"""What an environment's snapshot says of a flag and of a segment.

A flag's version is the revision of its definition plus that of its targeting, both as they
are after the change. Each of them only grows, so the version never goes back while the flag
exists. A release's start and end, a kill and a restore rewrite the targeting; between them
a release moves under the same version, and its ``stage`` and ``step`` tell the difference.
A flag that is deleted and made again starts anew.
"""

from __future__ import annotations

from tidegate import model

from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition, Targeting
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import LIVE_STATES, Release

SHORTEST_REPORT_INTERVAL = 0.5
LONGEST_REPORT_INTERVAL = 10.0


def snapshot_flag(
    definition: FlagDefinition, targeting: Targeting, release: Release | None, version: int
) -> model.Flag:
    """A flag as the snapshot of an environment holds it.

    Args:
        definition: the flag in its project.
        targeting: the flag in the environment.
        release: the flag's active release there; one that has ended counts as none.
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
    )


def snapshot_release(release: Release | None) -> model.ActiveRelease | None:
    """A release as a flag carries it; None once it has ended."""
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
    """A segment as the snapshot holds it."""
    return model.Segment(
        key=definition.key,
        when=definition.when,
        included=definition.included,
        excluded=definition.excluded,
    )


def present_openings(release: Release) -> tuple[model.Opening, ...]:
    """Whom a release has open now.

    A closed one (a draft, or one that cools down) gives everyone the control, and counts
    them as the stratum 0.
    """
    if release.closed:
        return (model.Opening(stage=0, percentage=0.0),)
    return openings(release.policy, release.stage)


def openings(policy: Policy, stage: int) -> tuple[model.Opening, ...]:
    """Whom a release has opened at a stage (from 1): that stage and all before it.

    An opening that another contains (as many of the same people, or more) is left out.
    """
    found: list[model.Opening] = []
    for number, at in enumerate(policy.stages[:stage], start=1):
        present = model.Opening(
            stage=number, percentage=policy.opened(number), segments=at.segments
        )
        found = [opening for opening in found if not _contains(present, opening)]
        found.append(present)
    return tuple(found)


def _contains(wide: model.Opening, narrow: model.Opening) -> bool:
    reaches = not wide.segments or (
        bool(narrow.segments) and set(narrow.segments) <= set(wide.segments)
    )
    return reaches and wide.percentage >= narrow.percentage


def report_interval(policy: Policy) -> float:
    """Seconds between the reports of an instance: two for every evaluation, within bounds."""
    half = policy.interval_ms / 2_000
    return min(max(half, SHORTEST_REPORT_INTERVAL), LONGEST_REPORT_INTERVAL)
