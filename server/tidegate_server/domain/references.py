"""Who names whom: the segments, flags and variants that documents rest on, and cycles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tidegate.model import All, AnyOf, Condition, InSegment, NoneOf, Serve

from tidegate_server.domain.change import Guard
from tidegate_server.domain.flags import SegmentDefinition, Targeting
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    flag_address,
    guard,
    segment_address,
    targeting_address,
)


def find_cycle(start: str, names: Callable[[str], Iterable[str]]) -> list[str]:
    """The shortest way from ``start`` back to itself, both ends included; else empty.

    Args:
        start: a key.
        names: the keys that the thing with a key names.
    """
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        longer = []
        for way in ways:
            for key in names(way[-1]):
                if key == start:
                    return [*way, start]
                if key not in seen:
                    seen.add(key)
                    longer.append([*way, key])
        ways = longer
    return []


def reached(start: Iterable[str], names: Callable[[str], Iterable[str]]) -> set[str]:
    """Every key that can be reached from some, those included."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting.extend(names(key))
    return found


def segments_in(condition: Condition | None) -> Iterator[str]:
    """The segments that a condition names, in its order."""
    match condition:
        case InSegment(segment):
            yield segment
        case All(parts) | AnyOf(parts) | NoneOf(parts):
            for part in parts:
                yield from segments_in(part)
        case _:
            return


def segments_of_targeting(targeting: Targeting) -> set[str]:
    """The segments that a targeting's rules name."""
    return {key for rule in targeting.rules for key in segments_in(rule.when)}


def segments_named_by(
    documents: ProjectDocuments, changed: SegmentDefinition | None = None
) -> Names:
    """What each segment names, as if ``changed`` were written already."""

    def names(key: str) -> Iterator[str]:
        if changed is not None and key == changed.key:
            return segments_in(changed.when)
        held = documents.segments.get(key)
        return segments_in(held.document.when if held is not None else None)

    return names


def prerequisites_named_by(
    documents: ProjectDocuments, environment: str, changed: Targeting
) -> Names:
    """What each flag asks for in an environment, as if ``changed`` were written already."""
    held = documents.targetings.get(environment, {})

    def names(key: str) -> list[str]:
        if key == changed.flag:
            targeting = changed
        elif key in held:
            targeting = held[key].document
        else:
            return []
        return [each.flag for each in targeting.prerequisites]

    return names


Names = Callable[[str], Iterable[str]]


def guards_of_targeting(
    documents: ProjectDocuments, environment: str, targeting: Targeting
) -> list[Guard]:
    """Guards on what a targeting names, and on all that keeps it free of cycles."""
    asked = {each.flag for each in targeting.prerequisites}
    names = prerequisites_named_by(documents, environment, targeting)
    held = documents.targetings.get(environment, {})
    return [
        *(
            guard(segment_address(key), documents.segments[key])
            for key in sorted(segments_of_targeting(targeting))
        ),
        *(guard(flag_address(key), documents.flags[key]) for key in sorted(asked)),
        *(
            guard(targeting_address(environment, key), held[key])
            for key in sorted(reached(asked, names) - {targeting.flag})
            if key in held
        ),
    ]


def guards_of_segment(documents: ProjectDocuments, segment: SegmentDefinition) -> list[Guard]:
    """Guards on the segments that a segment names, directly or not."""
    names = segments_named_by(documents, segment)
    return [
        guard(segment_address(key), documents.segments[key])
        for key in sorted(reached(segments_in(segment.when), names) - {segment.key})
        if key in documents.segments
    ]


def guards_of_other_targetings(documents: ProjectDocuments, flag: str | None = None) -> list[Guard]:
    """Guards on every targeting in every environment, but those of one flag."""
    return [
        guard(targeting_address(environment, key), stored)
        for environment, targetings in documents.targetings.items()
        for key, stored in targetings.items()
        if key != flag
    ]


def users_of_flag(documents: ProjectDocuments, key: str) -> list[str]:
    """What would break without the flag, in words."""
    users = [
        f"flag {flag} in {environment} (as a prerequisite)"
        for environment, targeting, flag in _targetings(documents)
        if flag != key and any(each.flag == key for each in targeting.prerequisites)
    ]
    users += [
        f"release {stored.document.id} in {environment}"
        for environment, stored in documents.active_releases()
        if stored.document.flag == key
    ]
    return users


def users_of_segment(documents: ProjectDocuments, key: str) -> list[str]:
    """What would break without the segment, in words."""
    users = [
        f"rule {rule.id} of flag {flag} in {environment}"
        for environment, targeting, flag in _targetings(documents)
        for rule in targeting.rules
        if key in segments_in(rule.when)
    ]
    users += [
        f"segment {name}"
        for name, stored in documents.segments.items()
        if name != key and key in segments_in(stored.document.when)
    ]
    users += [
        f"stage {stage.name} of policy {name}"
        for name, stored in documents.policies.items()
        for stage in stored.document.stages
        if key in stage.segments
    ]
    users += [
        f"stage {stage.name} of release {stored.document.id} in {environment}"
        for environment, stored in documents.active_releases()
        for stage in stored.document.policy.stages
        if key in stage.segments
    ]
    return users


def users_of_webhook(documents: ProjectDocuments, key: str, *, asked: bool = False) -> list[str]:
    """What names the webhook, in words; with ``asked``, only what waits for its answers."""
    users = [
        f"policy {name}"
        for name, stored in documents.policies.items()
        if key in webhooks_of(stored.document, asked=asked)
    ]
    users += [
        f"release {stored.document.id} in {environment}"
        for environment, stored in documents.active_releases()
        if key in webhooks_of(stored.document.policy, asked=asked)
    ]
    return users


def webhooks_of(policy: Policy, *, asked: bool = False) -> set[str]:
    """The webhooks that a policy names; with ``asked``, only those it asks to confirm."""
    confirming = {each.webhook for each in policy.confirm}
    return confirming if asked else confirming | {each.webhook for each in policy.notify}


def users_of_variant(documents: ProjectDocuments, flag: str, variant: str) -> list[str]:
    """What would break without one of a flag's variants, in words."""
    users = []
    for environment, targeting, key in _targetings(documents):
        if key == flag:
            users += [f"{what} in {environment}" for what in _uses(targeting, variant)]
        users += [
            f"the prerequisite of flag {key} in {environment}"
            for each in targeting.prerequisites
            if each.flag == flag and variant in each.variants
        ]
    users += [
        f"release {stored.document.id} in {environment}"
        for environment, stored in documents.active_releases()
        if stored.document.flag == flag
        and variant in (stored.document.control, stored.document.treatment)
    ]
    return users


def _uses(targeting: Targeting, variant: str) -> Iterator[str]:
    if targeting.off_variant == variant:
        yield "the off variant"
    if targeting.kill_variant == variant:
        yield "the kill variant"
    if variant in variants_of(targeting.default):
        yield "the default rule"
    for rule in targeting.rules:
        if variant in variants_of(rule.serve):
            yield f"rule {rule.id}"


def variants_of(serve: Serve) -> list[str]:
    """The variants that a serve names."""
    if serve.variant is not None:
        return [serve.variant]
    return [each.variant for each in serve.split]


def _targetings(documents: ProjectDocuments) -> Iterator[tuple[str, Targeting, str]]:
    for environment, targetings in documents.targetings.items():
        for flag, stored in targetings.items():
            yield environment, stored.document, flag
