"""Validates flags and their targeting."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

from tidegate.model import FLAG_TYPES, FlagType, Json, Prerequisite, Serve

from tidegate_server.domain import references, safe_variants
from tidegate_server.domain.certain_conditions import always_holds
from tidegate_server.domain.condition_validation import (
    condition_problems,
    key_warnings,
    misspelled_key_problems,
)
from tidegate_server.domain.field_problems import (
    NAME,
    duplicate_problems,
    exact_decimal,
    key_problems,
    name_problems,
    percentage_problems,
    raise_problems,
)
from tidegate_server.domain.flags import FlagDefinition, Targeting
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.domain.release import Release
from tidegate_server.domain.rule_variants import find_serve
from tidegate_server.errors import FieldProblem
from tidegate_server.visible_text import INVISIBLE, code_point

MAX_VARIANTS = 100

MAX_METADATA = 20
"""How many entries a flag's metadata has; every evaluation carries them."""

MAX_METADATA_TEXT = 500
MAX_METADATA_NUMBER = 2**53
"""Beyond it, clients in other languages read another number."""

RESERVED_METADATA = ("flagVersion", "ruleId", "releaseId", "stage", "killed")
"""What an evaluation adds to the metadata."""


def check_definition(definition: FlagDefinition) -> None:
    """Raise ``Invalid`` with every problem of a flag."""
    raise_problems(f"flag {definition.key}", _definition_problems(definition))


def check_definition_change(
    before: FlagDefinition, after: FlagDefinition, documents: ProjectDocuments
) -> None:
    """Raise ``Invalid`` if a change would break targetings, prerequisites or releases."""
    raise_problems(f"flag {after.key}", _change_problems(before, after, documents))


def check_targeting(
    definition: FlagDefinition, targeting: Targeting, documents: ProjectDocuments, environment: str
) -> None:
    """Raise ``Invalid`` if a targeting names what does not exist, or would close a cycle."""
    raise_problems(
        f"the targeting of {targeting.flag}",
        [
            *_variant_problems(definition, targeting),
            *_rule_problems(targeting, documents.segments.keys()),
            *_prerequisite_problems(targeting, documents, environment),
        ],
    )


def check_targeting_change(
    definition: FlagDefinition,
    before: Targeting,
    after: Targeting,
    documents: ProjectDocuments,
    environment: str,
    release: Release | None,
) -> None:
    """Raise ``Invalid`` if a change breaks what a kill, another flag or a release relies on.

    Args:
        definition: the flag.
        before: the targeting as it is.
        after: the targeting to write, which is valid by itself.
        documents: the project as read.
        environment: where.
        release: the flag's active release there.
    """
    found = [
        *_misspelled_key_problems(before, after),
        *safe_variants.killed_targeting_problems(before, after),
        *safe_variants.required_variant_problems(definition, before, after, documents, environment),
    ]
    if release is not None:
        found += _released_rule_problems(after, release)
        found += _unreachable_rule_problems(after, release, documents)
        found += safe_variants.opened_variant_problems(definition, after, release.treatment)
    raise_problems(f"the targeting of {after.flag}", found)


def targeting_warnings(targeting: Targeting) -> Iterator[FieldProblem]:
    """Yield a warning for each rule that may never hold."""
    for index, rule in enumerate(targeting.rules):
        yield from key_warnings(rule.when, f"/rules/{index}/when")


def _misspelled_key_problems(before: Targeting, after: Targeting) -> Iterator[FieldProblem]:
    stored = [rule.when for rule in before.rules]
    for index, rule in enumerate(after.rules):
        if rule.when not in stored:
            yield from misspelled_key_problems(rule.when, f"/rules/{index}/when")


def _definition_problems(definition: FlagDefinition) -> Iterator[FieldProblem]:
    yield from key_problems(definition.key)
    if definition.type not in FLAG_TYPES:
        yield FieldProblem("/type", f"A flag's type is one of: {', '.join(FLAG_TYPES)}.")
        return
    variants = definition.variants
    if not 2 <= len(variants) <= MAX_VARIANTS:
        yield FieldProblem(
            "/variants",
            f"A flag has 2 to {MAX_VARIANTS} variants; this one has {len(variants)}.",
        )
    yield from duplicate_problems([each.key for each in variants], "/variants/{}/key", "variants")
    for index, variant in enumerate(variants):
        yield from name_problems(variant.key, f"/variants/{index}/key")
        if not _is_of_type(definition.type, variant.value):
            yield FieldProblem(
                f"/variants/{index}/value",
                f"The value of a {definition.type} flag must be {_VALUES[definition.type]}.",
            )
    if definition.type == "boolean":
        values = [each.value for each in variants if isinstance(each.value, bool)]
        if {True, False} != set(values):
            yield FieldProblem(
                "/variants", "A boolean flag needs a variant for true and for false."
            )
    yield from _metadata_problems(definition.metadata)
    if definition.expected_end is not None and not definition.temporary:
        yield FieldProblem(
            "/expected_end",
            "Only a temporary flag has an expected end. Make it temporary, or leave this out.",
        )


def _metadata_problems(metadata: Mapping[str, object]) -> Iterator[FieldProblem]:
    if len(metadata) > MAX_METADATA:
        yield FieldProblem(
            "/metadata",
            f"Metadata has at most {MAX_METADATA} entries; this has {len(metadata)}. Put longer "
            "notes into the description.",
        )
        return
    for name, value in metadata.items():
        pointer = f"/metadata/{name}" if NAME.fullmatch(name) else "/metadata"
        if name in RESERVED_METADATA:
            yield FieldProblem(
                pointer, f"Every evaluation sets {name!r} itself; choose another name."
            )
        yield from name_problems(name, pointer)
        if isinstance(value, str):
            yield from _metadata_text_problems(value, pointer)
        elif isinstance(value, int | float):
            if not -MAX_METADATA_NUMBER <= value <= MAX_METADATA_NUMBER:
                yield FieldProblem(
                    pointer, "A number in metadata is between -2^53 and 2^53; write it as a string."
                )
        else:
            yield FieldProblem(
                pointer, "A value in metadata is true, false, a number or a string; this is not."
            )


def _metadata_text_problems(text: str, pointer: str) -> Iterator[FieldProblem]:
    if len(text) > MAX_METADATA_TEXT:
        yield FieldProblem(
            pointer,
            f"A text in metadata has at most {MAX_METADATA_TEXT} characters; this has {len(text)}.",
        )
    if match := INVISIBLE.search(text):
        yield FieldProblem(
            pointer, f"This has the invisible character {code_point(match[0])}; remove it."
        )


_VALUES: dict[FlagType, str] = {
    "boolean": "true or false",
    "string": "a string",
    "number": "a finite number",
    "object": "an object or a list",
}


def _is_of_type(type_: FlagType, value: Json) -> bool:
    if value is None:
        return True  # this variant serves the default value of the calling code
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


def _change_problems(
    before: FlagDefinition, after: FlagDefinition, documents: ProjectDocuments
) -> Iterator[FieldProblem]:
    if after.type != before.type:
        yield FieldProblem(
            "/type",
            f"The type {before.type} cannot change, because code depends on it. Create a new "
            "flag instead.",
        )
    if after.salt != before.salt:
        yield FieldProblem(
            "/salt",
            f"The salt {before.salt!r} cannot change, because users would get other variants.",
        )
    for key in removed_variants(before, after):
        users = references.users_of_variant(documents, after.key, key)
        if users:
            yield FieldProblem(
                "/variants",
                f"Variant {key!r} cannot be removed: it is used by {', '.join(users)}. Change "
                "that first.",
            )
    yield from safe_variants.changed_value_problems(before, after, documents)


def removed_variants(before: FlagDefinition, after: FlagDefinition) -> list[str]:
    """Return the variants that a change of a definition removes."""
    remaining = {each.key for each in after.variants}
    return [each.key for each in before.variants if each.key not in remaining]


def _variant_problems(definition: FlagDefinition, targeting: Targeting) -> Iterator[FieldProblem]:
    known = [variant.key for variant in definition.variants]
    yield from _unknown_variant_problems(targeting.off_variant, "/off_variant", known)
    if targeting.kill_variant is not None:
        yield from _unknown_variant_problems(targeting.kill_variant, "/kill_variant", known)
    yield from _serve_problems(targeting.default, "/default", known)
    for index, rule in enumerate(targeting.rules):
        yield from _serve_problems(rule.serve, f"/rules/{index}/serve", known)


def _unknown_variant_problems(
    variant: str, pointer: str, known: list[str]
) -> Iterator[FieldProblem]:
    if variant not in known:
        yield FieldProblem(
            pointer,
            f"There is no variant {variant!r}; the flag has {', '.join(known)}.",
            name=variant,
            known=known,
        )


def _serve_problems(serve: Serve, pointer: str, known: list[str]) -> Iterator[FieldProblem]:
    if (serve.variant is None) == (not serve.split):
        yield FieldProblem(pointer, "Give either a variant or a split.")
        return
    if serve.variant is not None:
        yield from _unknown_variant_problems(serve.variant, f"{pointer}/variant", known)
        return
    split = f"{pointer}/split"
    invalid_weights: list[FieldProblem] = []
    for index, part in enumerate(serve.split):
        yield from _unknown_variant_problems(part.variant, f"{split}/{index}/variant", known)
        invalid_weights += percentage_problems(part.weight, f"{split}/{index}/weight")
    yield from invalid_weights
    yield from duplicate_problems(
        [part.variant for part in serve.split], split + "/{}/variant", "parts for"
    )
    if not invalid_weights:
        total = sum(exact_decimal(part.weight) for part in serve.split)
        if total != 100:
            yield FieldProblem(
                split, f"The weights sum to {total:f}; they must sum to exactly 100."
            )


def _rule_problems(targeting: Targeting, segments: Collection[str]) -> Iterator[FieldProblem]:
    yield from duplicate_problems([rule.id for rule in targeting.rules], "/rules/{}/id", "rules")
    for index, rule in enumerate(targeting.rules):
        yield from name_problems(rule.id, f"/rules/{index}/id")
        yield from condition_problems(rule.when, f"/rules/{index}/when", segments)


def _prerequisite_problems(
    targeting: Targeting, documents: ProjectDocuments, environment: str
) -> Iterator[FieldProblem]:
    required = [each.flag for each in targeting.prerequisites]
    yield from duplicate_problems(required, "/prerequisites/{}/flag", "prerequisites for")
    for index, each in enumerate(targeting.prerequisites):
        pointer = f"/prerequisites/{index}"
        if each.flag == targeting.flag:
            yield FieldProblem(f"{pointer}/flag", "A flag cannot be its own prerequisite.")
        elif each.flag not in documents.flags:
            yield FieldProblem(
                f"{pointer}/flag",
                f"There is no flag {each.flag!r}.",
                name=each.flag,
                known=documents.flags.keys(),
            )
        else:
            definition: FlagDefinition = documents.flag(each.flag).document
            if definition.archived is not None:
                yield FieldProblem(
                    f"{pointer}/flag",
                    f"Flag {each.flag!r} is archived, so it serves nothing. Unarchive it first.",
                )
            yield from _required_variant_problems(each, definition, pointer)
            targetings = documents.targetings.get(environment, {})
            required_targeting = targetings[each.flag].document if each.flag in targetings else None
            yield from safe_variants.prerequisite_problems(
                each, definition, required_targeting, pointer
            )
    if targeting.flag in required:
        return
    names = references.prerequisites_named_by(documents, environment, targeting)
    if path := references.find_cycle(targeting.flag, names):
        yield FieldProblem(
            f"/prerequisites/{required.index(path[1])}/flag",
            f"These flags would be prerequisites of each other: {' -> '.join(path)}. Remove one.",
        )


def _required_variant_problems(
    prerequisite: Prerequisite, definition: FlagDefinition, pointer: str
) -> Iterator[FieldProblem]:
    known = [variant.key for variant in definition.variants]
    if not prerequisite.variants:
        yield FieldProblem(
            f"{pointer}/variants",
            f"Name the required variants of {prerequisite.flag}: {', '.join(known)}.",
        )
    for index, variant in enumerate(prerequisite.variants):
        if variant not in known:
            yield FieldProblem(
                f"{pointer}/variants/{index}",
                f"Flag {prerequisite.flag} has no variant {variant!r}; it has {', '.join(known)}.",
            )


def _released_rule_problems(targeting: Targeting, release: Release) -> Iterator[FieldProblem]:
    serve = find_serve(targeting, release.rule)
    fix = "Complete the release or roll it back first."
    if serve is None:
        yield FieldProblem(
            "/rules",
            f"Rule {release.rule!r} cannot be removed: release {release.id} is active on it. {fix}",
        )
    elif serve != Serve(variant=release.control):
        ids = [rule.id for rule in targeting.rules]
        pointer = "/default" if release.rule is None else f"/rules/{ids.index(release.rule)}/serve"
        yield FieldProblem(
            pointer,
            f"This must serve {release.control!r}, the control of the active release "
            f"{release.id}. {fix}",
        )


def _unreachable_rule_problems(
    targeting: Targeting, release: Release, documents: ProjectDocuments
) -> Iterator[FieldProblem]:
    index = hiding_rule(targeting, release.rule, documents)
    if index is not None:
        yield FieldProblem(
            f"/rules/{index}/when",
            "Every context meets this condition, so nobody would reach the rule of the active "
            f"release {release.id}. Move this rule below it, or complete the release or roll it "
            "back first.",
        )


def hiding_rule(targeting: Targeting, rule: str | None, documents: ProjectDocuments) -> int | None:
    """Return the position of a rule that every context meets before ``rule``, or None.

    Args:
        targeting: what the flag serves.
        rule: a rule's id; None: the default rule.
        documents: holds the project's segments.
    """
    for index, each in enumerate(targeting.rules):
        if each.id == rule:
            return None
        if always_holds(each.when, documents.segments):
            return index
    return None
