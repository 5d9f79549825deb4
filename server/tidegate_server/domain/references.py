"""References between documents: segments, flags, variants and webhooks, and cycles of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tidegate.evaluation.conditions import segments_in
from tidegate.model import Serve

from tidegate_server.domain.change import Guard
from tidegate_server.domain.flags import SegmentDefinition, Targeting
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    flag_address,
    guards,
    segment_address,
    targeting_address,
)
from tidegate_server.domain.targeting_index import segments_of_targeting


def find_cycle(start: str, names: Callable[[str], Iterable[str]]) -> list[str]:
    """Return the shortest path from ``start`` back to itself, both ends included; else [].

    Args:
        start: a key.
        names: returns the keys that the document with a key names.
    """
    paths = [[start]]
    visited: set[str] = set()
    while paths:
        longer = []
        for path in paths:
            for key in names(path[-1]):
                if key == start:
                    return [*path, start]
                if key not in visited:
                    visited.add(key)
                    longer.append([*path, key])
        paths = longer
    return []


def reachable(start: Iterable[str], names: Callable[[str], Iterable[str]]) -> set[str]:
    """Return every key that can be reached from ``start``, those keys included."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting.extend(names(key))
    return found


def longest_path(start: str, names: Names) -> list[str]:
    """Return a longest path from a key, that key included. There must be no cycle.

    Args:
        start: a key.
        names: returns the keys that the document with a key names.
    """
    longest: dict[str, list[str]] = {}
    waiting = [start]
    while waiting:
        key = waiting[-1]
        others = [each for each in names(key) if each not in longest]
        if others:
            waiting += others
            continue
        waiting.pop()
        longest[key] = [key, *max((longest[each] for each in names(key)), key=len, default=[])]
    return longest[start]


def segments_named_by(
    documents: ProjectDocuments, changed: SegmentDefinition | None = None
) -> Names:
    """Return a function from a segment to those it names, as if ``changed`` were stored."""

    def names(key: str) -> Iterator[str]:
        if changed is not None and key == changed.key:
            return segments_in(changed.when)
        stored = documents.segments.get(key)
        return segments_in(stored.document.when if stored is not None else None)

    return names


def prerequisites_named_by(
    documents: ProjectDocuments, environment: str, changed: Targeting
) -> Names:
    """Return a function from a flag to its prerequisites, as if ``changed`` were stored."""
    targetings = documents.targetings.get(environment, {})

    def names(key: str) -> list[str]:
        if key == changed.flag:
            targeting = changed
        elif key in targetings:
            targeting = targetings[key].document
        else:
            return []
        return [each.flag for each in targeting.prerequisites]

    return names


Names = Callable[[str], Iterable[str]]


def guards_of_targeting(
    documents: ProjectDocuments, environment: str, targeting: Targeting
) -> list[Guard]:
    """Guard what a targeting names, and the targetings that could close a cycle with it."""
    required = {each.flag for each in targeting.prerequisites}
    targetings = documents.targetings.get(environment, {})
    names = prerequisites_named_by(documents, environment, targeting)
    related = reachable(required, names) - {targeting.flag}
    return [
        *guards(segment_address, documents.segments, segments_of_targeting(targeting)),
        *guards(flag_address, documents.flags, required),
        *guards(
            lambda key: targeting_address(environment, key),
            targetings,
            related & targetings.keys(),
        ),
    ]


def guards_of_segment(documents: ProjectDocuments, segment: SegmentDefinition) -> list[Guard]:
    """Guard the segments that a segment names, directly or indirectly."""
    names = segments_named_by(documents, segment)
    related = reachable(segments_in(segment.when), names) - {segment.key}
    return guards(segment_address, documents.segments, related & documents.segments.keys())


def users_of_flag(documents: ProjectDocuments, key: str) -> list[str]:
    """Describe what uses a flag."""
    users = [
        f"flag {flag} in {environment} (as a prerequisite)"
        for environment in documents.targetings
        for flag in _requiring(documents, environment, key)
        if flag != key
    ]
    users += [
        f"release {stored.document.id} in {environment}"
        for environment, stored in documents.active_releases()
        if stored.document.flag == key
    ]
    return users


@dataclass(frozen=True, slots=True)
class SegmentUse:
    """Something that uses a segment.

    Attributes:
        kind: ``rule``, ``segment``, ``policy`` or ``release``.
        key: of the flag, the segment or the policy; the id of the release.
        name: of the rule or the stage; empty for a segment.
        environment: empty for a segment and a policy.
    """

    kind: str
    key: str
    name: str = ""
    environment: str = ""

    @property
    def text(self) -> str:
        """The use in words."""
        where = f" in {self.environment}" if self.environment else ""
        match self.kind:
            case "rule":
                return f"rule {self.name} of flag {self.key}{where}"
            case "segment":
                return f"segment {self.key}"
        return f"stage {self.name} of {self.kind} {self.key}{where}"


def uses_of_segment(documents: ProjectDocuments, key: str) -> Iterator[SegmentUse]:
    """Yield what names a segment: rules, other segments, and stages of policies and releases."""
    for environment, targetings in documents.targetings.items():
        for flag in sorted(documents.index(environment).naming.get(key, ())):
            for rule in targetings[flag].document.rules:
                if key in segments_in(rule.when):
                    yield SegmentUse("rule", flag, rule.id, environment)
    for name, stored in documents.segments.items():
        if name != key and key in segments_in(stored.document.when):
            yield SegmentUse("segment", name)
    for name, stored in documents.policies.items():
        for stage in stored.document.stages:
            if key in stage.segments:
                yield SegmentUse("policy", name, stage.name)
    for environment, stored in documents.active_releases():
        for stage in stored.document.policy.stages:
            if key in stage.segments:
                yield SegmentUse("release", stored.document.id, stage.name, environment)


def users_of_webhook(
    documents: ProjectDocuments, key: str, *, confirming: bool = False
) -> list[str]:
    """Describe what uses a webhook; with ``confirming``, only what asks it for confirmations."""
    users = [
        f"policy {name}"
        for name, stored in documents.policies.items()
        if key in policy_webhooks(stored.document, confirming=confirming)
    ]
    users += [
        f"release {stored.document.id} in {environment}"
        for environment, stored in documents.active_releases()
        if key in policy_webhooks(stored.document.policy, confirming=confirming)
    ]
    return users


def policy_webhooks(policy: Policy, *, confirming: bool = False) -> set[str]:
    """Return the webhooks that a policy names; with ``confirming``, only those under confirm."""
    confirm = {each.webhook for each in policy.confirm}
    return confirm if confirming else confirm | {each.webhook for each in policy.notify}


def users_of_variant(documents: ProjectDocuments, flag: str, variant: str) -> list[str]:
    """Describe what uses one of a flag's variants."""
    users = []
    for environment, targetings in documents.targetings.items():
        if flag in targetings:
            uses = _uses(targetings[flag].document, variant)
            users += [f"{what} in {environment}" for what in uses]
        users += [
            f"the prerequisite of flag {key} in {environment}"
            for key in _requiring(documents, environment, flag)
            for each in targetings[key].document.prerequisites
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
    """Return the variants that a serve names."""
    if serve.variant is not None:
        return [serve.variant]
    return [each.variant for each in serve.split]


def _requiring(documents: ProjectDocuments, environment: str, flag: str) -> list[str]:
    """Return the flags that have a flag as a prerequisite in an environment."""
    return sorted(documents.index(environment).requiring.get(flag, ()))
