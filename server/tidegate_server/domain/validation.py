"""What flags, targetings and segments may say.

Every check names all that is wrong at once, by pointers into what the client wrote, and
raises ``Invalid``. Policies have a module of their own, ``policy_rules``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from tidegate.model import FLAG_TYPES, FlagType, Json, Prerequisite, Serve

from tidegate_server.domain import field_problems, references
from tidegate_server.domain.condition_validation import problems_of_condition
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition, Targeting
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.domain.release import Release
from tidegate_server.domain.rule_variants import find_serve
from tidegate_server.errors import FieldProblem

MOST_VARIANTS = 100
MOST_KEYS = 10_000
"""Explicit keys of a segment: every SDK holds them in memory and receives them anew."""


def check_key(key: str) -> None:
    """Refuse a key that could not stand in an address."""
    field_problems.refuse("it", field_problems.of_key(key))


def check_definition(definition: FlagDefinition) -> None:
    """Refuse a flag that cannot be, or that no release could ever change."""
    field_problems.refuse(f"flag {definition.key}", _of_definition(definition))


def check_definition_change(
    before: FlagDefinition, after: FlagDefinition, documents: ProjectDocuments
) -> None:
    """Refuse what would break the flag's targetings, prerequisites and releases."""
    field_problems.refuse(f"flag {after.key}", _of_definition_change(before, after, documents))


def check_targeting(
    definition: FlagDefinition, targeting: Targeting, documents: ProjectDocuments, environment: str
) -> None:
    """Refuse a targeting that names what is not there, or that would go in circles."""
    field_problems.refuse(
        f"the targeting of {targeting.flag}",
        [
            *_of_serves(definition, targeting),
            *_of_rules(targeting, documents.segments.keys()),
            *_of_prerequisites(targeting, documents, environment),
        ],
    )


def check_released_rule(targeting: Targeting, release: Release) -> None:
    """Refuse a targeting that takes the ground from under its active release."""
    field_problems.refuse(
        f"the targeting of {targeting.flag}", _of_released_rule(targeting, release)
    )


def check_segment(segment: SegmentDefinition, documents: ProjectDocuments) -> None:
    """Refuse a segment that names what is not there, or that would contain itself."""
    field_problems.refuse(f"segment {segment.key}", _of_segment(segment, documents))


def _of_definition(definition: FlagDefinition) -> Iterator[FieldProblem]:
    yield from field_problems.of_key(definition.key)
    if definition.type not in FLAG_TYPES:
        yield FieldProblem("/type", f"A flag's type is one of: {', '.join(FLAG_TYPES)}.")
        return
    variants = definition.variants
    if not 2 <= len(variants) <= MOST_VARIANTS:
        yield FieldProblem(
            "/variants",
            f"A flag has 2 to {MOST_VARIANTS} variants; this one has {len(variants)}.",
        )
    yield from field_problems.of_twice(
        [each.key for each in variants], "/variants/{}/key", "variants"
    )
    for index, variant in enumerate(variants):
        yield from field_problems.of_name(variant.key, f"/variants/{index}/key")
        if not _fits(definition.type, variant.value):
            yield FieldProblem(
                f"/variants/{index}/value",
                f"The value of a {definition.type} flag must be {_VALUES[definition.type]}.",
            )
    if definition.type == "boolean" and not _of_both(definition):
        yield FieldProblem("/variants", "A boolean flag needs a variant for true and for false.")


_VALUES: dict[FlagType, str] = {
    "boolean": "true or false",
    "string": "a string",
    "number": "a finite number",
    "object": "an object or a list",
}


def _fits(type_: FlagType, value: Json) -> bool:
    if value is None:
        return True  # this variant leaves the value to the code that asks
    match type_:
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                return False
            return isinstance(value, int) or math.isfinite(value)
        case "object":
            return isinstance(value, dict | list)


def _of_both(definition: FlagDefinition) -> bool:
    values = [each.value for each in definition.variants]
    return any(value is True for value in values) and any(value is False for value in values)


def _of_definition_change(
    before: FlagDefinition, after: FlagDefinition, documents: ProjectDocuments
) -> Iterator[FieldProblem]:
    if after.type != before.type:
        yield FieldProblem(
            "/type",
            f"The type stays {before.type}: code asks for it. Make a new flag instead.",
        )
    if after.salt != before.salt:
        yield FieldProblem(
            "/salt",
            f"The salt stays {before.salt!r}: another would give users other variants.",
        )
    for key in removed_variants(before, after):
        users = references.users_of_variant(documents, after.key, key)
        if users:
            yield FieldProblem(
                "/variants",
                f"Variant {key!r} cannot go: it is used by {', '.join(users)}. Change that first.",
            )


def removed_variants(before: FlagDefinition, after: FlagDefinition) -> list[str]:
    """The variants that a definition loses."""
    left = {each.key for each in after.variants}
    return [each.key for each in before.variants if each.key not in left]


def _of_serves(definition: FlagDefinition, targeting: Targeting) -> Iterator[FieldProblem]:
    known = [variant.key for variant in definition.variants]
    yield from _of_variant(targeting.off_variant, "/off_variant", known)
    if targeting.kill_variant is not None:
        yield from _of_variant(targeting.kill_variant, "/kill_variant", known)
    yield from _of_serve(targeting.default, "/default", known)
    for index, rule in enumerate(targeting.rules):
        yield from _of_serve(rule.serve, f"/rules/{index}/serve", known)


def _of_variant(variant: str, pointer: str, known: list[str]) -> Iterator[FieldProblem]:
    if variant not in known:
        yield FieldProblem(
            pointer, f"There is no variant {variant!r}; the flag has {', '.join(known)}."
        )


def _of_serve(serve: Serve, pointer: str, known: list[str]) -> Iterator[FieldProblem]:
    if (serve.variant is None) == (not serve.split):
        yield FieldProblem(pointer, "Give either a variant or a split.")
        return
    if serve.variant is not None:
        yield from _of_variant(serve.variant, f"{pointer}/variant", known)
        return
    at = f"{pointer}/split"
    wrong: list[FieldProblem] = []
    for index, part in enumerate(serve.split):
        yield from _of_variant(part.variant, f"{at}/{index}/variant", known)
        wrong += field_problems.of_percentage(part.weight, f"{at}/{index}/weight")
    yield from wrong
    yield from field_problems.of_twice(
        [part.variant for part in serve.split], at + "/{}/variant", "parts for"
    )
    total = sum(field_problems.exact(part.weight) for part in serve.split) if not wrong else 100
    if total != 100:
        yield FieldProblem(at, f"The weights sum to {total:f}; they must sum to exactly 100.")


def _of_rules(targeting: Targeting, segments: Collection[str]) -> Iterator[FieldProblem]:
    yield from field_problems.of_twice(
        [rule.id for rule in targeting.rules], "/rules/{}/id", "rules"
    )
    for index, rule in enumerate(targeting.rules):
        yield from field_problems.of_name(rule.id, f"/rules/{index}/id")
        yield from problems_of_condition(rule.when, f"/rules/{index}/when", segments)


def _of_prerequisites(
    targeting: Targeting, documents: ProjectDocuments, environment: str
) -> Iterator[FieldProblem]:
    asked = [each.flag for each in targeting.prerequisites]
    yield from field_problems.of_twice(asked, "/prerequisites/{}/flag", "prerequisites for")
    for index, each in enumerate(targeting.prerequisites):
        at = f"/prerequisites/{index}"
        if each.flag == targeting.flag:
            yield FieldProblem(f"{at}/flag", "A flag cannot be its own prerequisite.")
        elif each.flag not in documents.flags:
            yield FieldProblem(f"{at}/flag", f"There is no flag {each.flag!r}.")
        else:
            yield from _of_asked_variants(each, documents.flag(each.flag).document, at)
    if targeting.flag in asked:
        return
    names = references.prerequisites_named_by(documents, environment, targeting)
    if way := references.find_cycle(targeting.flag, names):
        yield FieldProblem(
            f"/prerequisites/{asked.index(way[1])}/flag",
            f"These flags would wait for each other: {' -> '.join(way)}. Take one away.",
        )


def _of_asked_variants(
    asked: Prerequisite, definition: FlagDefinition, pointer: str
) -> Iterator[FieldProblem]:
    known = [variant.key for variant in definition.variants]
    if not asked.variants:
        yield FieldProblem(
            f"{pointer}/variants",
            f"Name the variants of {asked.flag} that are wanted: {', '.join(known)}.",
        )
    for index, variant in enumerate(asked.variants):
        if variant not in known:
            yield FieldProblem(
                f"{pointer}/variants/{index}",
                f"Flag {asked.flag} has no variant {variant!r}; it has {', '.join(known)}.",
            )


def _of_released_rule(targeting: Targeting, release: Release) -> Iterator[FieldProblem]:
    serve = find_serve(targeting, release.rule)
    mend = "Complete the release or roll it back first."
    if serve is None:
        yield FieldProblem(
            "/rules",
            f"Rule {release.rule!r} cannot go: release {release.id} is under way on it. {mend}",
        )
    elif serve != Serve(variant=release.control):
        ids = [rule.id for rule in targeting.rules]
        pointer = "/default" if release.rule is None else f"/rules/{ids.index(release.rule)}/serve"
        yield FieldProblem(
            pointer,
            f"This must go on serving {release.control!r}, the control of release {release.id}. "
            f"{mend}",
        )


def _of_segment(segment: SegmentDefinition, documents: ProjectDocuments) -> Iterator[FieldProblem]:
    yield from field_problems.of_key(segment.key)
    # A segment that is new may name itself only to be told of the cycle.
    known = {*documents.segments, segment.key}
    if segment.when is not None:
        yield from problems_of_condition(segment.when, "/when", known)
    excluded = set(segment.excluded)
    for field_, keys in (("included", segment.included), ("excluded", segment.excluded)):
        if len(keys) > MOST_KEYS:
            yield FieldProblem(
                f"/{field_}",
                f"{len(keys)} keys are more than {MOST_KEYS}; give them an attribute instead.",
            )
        for index, key in enumerate(keys):
            if not key:
                yield FieldProblem(f"/{field_}/{index}", "A targeting key is never empty.")
            elif field_ == "included" and key in excluded:
                yield FieldProblem(
                    f"/included/{index}", f"{key!r} is excluded too; take it out of one of them."
                )
    if way := references.find_cycle(segment.key, references.segments_named_by(documents, segment)):
        yield FieldProblem(
            "/when", f"The segment would contain itself: {' -> '.join(way)}. Take one away."
        )
