"""Keeps the kill variant and the off variant of a flag what people believe them to be.

A kill, a disabled flag and a failed prerequisite must never serve what a release opens, a kill
must not turn another flag on, and what a kill serves stays the same until a person restores the
flag. Variants are compared by value: two variants with the same value are the same to users.
"""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.model import Prerequisite

from tidegate_server.domain.field_differences import same_json
from tidegate_server.domain.flags import FlagDefinition, Targeting, variant_values
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.domain.release import Release
from tidegate_server.errors import FieldProblem

KILLED_CHANGE = (
    "To serve something else without opening the flag: disable it, restore it, change it, and "
    "kill it again."
)


def served_by_kill(targeting: Targeting) -> str:
    """Return the variant that a kill serves."""
    return targeting.kill_variant or targeting.off_variant


def opened_variant_problems(
    definition: FlagDefinition, targeting: Targeting, treatment: str, pointer: str | None = None
) -> Iterator[FieldProblem]:
    """Yield a problem if a kill, or the off variant, would serve the treatment of a release.

    Args:
        definition: the flag.
        targeting: as it is, or as a person wants to write it.
        treatment: what the release opens.
        pointer: the field to blame; None: the field of the targeting.
    """
    values = variant_values(definition)
    for variant, field, when in _safe_variants(targeting):
        if variant not in values or not same_json(values[variant], values[treatment]):
            continue
        same = "" if variant == treatment else f"which has the value of {treatment!r}, "
        yield FieldProblem(
            pointer or field,
            f"{when} serves {variant!r}, {same}the treatment of the release, so it would open the "
            f"release to everyone. Set {field[1:]} to a variant with another value, such as the "
            "control.",
        )


def killed_targeting_problems(before: Targeting, after: Targeting) -> Iterator[FieldProblem]:
    """Yield a problem if an edit of a killed flag changes what the kill serves."""
    served, wanted = served_by_kill(before), served_by_kill(after)
    if before.kill is None or served == wanted:
        return
    field = "/off_variant" if before.kill_variant == after.kill_variant else "/kill_variant"
    yield FieldProblem(
        field,
        f"The flag is killed and serves {served!r} to everyone until a person restores it; this "
        f"would serve {wanted!r}. {KILLED_CHANGE}",
    )


def changed_value_problems(
    before: FlagDefinition, after: FlagDefinition, documents: ProjectDocuments
) -> Iterator[FieldProblem]:
    """Yield the problems of new values of variants, in every environment.

    The value that a kill serves does not change while the flag is killed. No value of a kill
    variant or an off variant becomes that of the treatment of an active release, or the reverse.
    """
    old, new = variant_values(before), variant_values(after)
    changed = {key for key in new if key in old and not same_json(old[key], new[key])}
    positions = {each.key: index for index, each in enumerate(after.variants)}
    for environment, targetings in documents.targetings.items():
        if not changed or after.key not in targetings:
            continue
        targeting: Targeting = targetings[after.key].document
        served = served_by_kill(targeting)
        if targeting.kill is not None and served in changed:
            yield FieldProblem(
                f"/variants/{positions[served]}/value",
                f"The flag is killed in {environment} and serves {served!r} to everyone until a "
                f"person restores it, so this value cannot change. {KILLED_CHANGE}",
            )
        active = documents.active_release(environment, after.key)
        if active is None:
            continue
        release: Release = active.document
        for variant, _, when in _safe_variants(targeting):
            opened = [new[release.treatment]]
            if variant in changed:
                opened.append(old[release.treatment])
            both = {variant, release.treatment}
            if both & changed and any(same_json(new[variant], value) for value in opened):
                culprit = variant if variant in changed else release.treatment
                yield FieldProblem(
                    f"/variants/{positions[culprit]}/value",
                    f"{when} in {environment} serves {variant!r}. It would have the value of "
                    f"{release.treatment!r}, the treatment of release {release.id}. Choose "
                    "another value, or complete the release or roll it back first.",
                )


def prerequisite_problems(
    prerequisite: Prerequisite,
    definition: FlagDefinition,
    required: Targeting | None,
    pointer: str,
) -> Iterator[FieldProblem]:
    """Yield a problem if a kill would turn the requiring flag on.

    Args:
        prerequisite: what the flag requires.
        definition, required: the flag that it names, and its targeting.
        pointer: the place of the prerequisite.
    """
    if required is None:
        return
    for served, (_, kill) in served_by_kills(required).items():
        if _turns_on(prerequisite, definition, served):
            yield FieldProblem(
                f"{pointer}/variants/{prerequisite.variants.index(served)}",
                f"{kill} serves {served!r}, so it would turn this flag on. Leave {served!r} out, "
                f"or give {prerequisite.flag} a variant of its own for that.",
            )


def required_variant_problems(
    definition: FlagDefinition,
    before: Targeting,
    after: Targeting,
    documents: ProjectDocuments,
    environment: str,
) -> Iterator[FieldProblem]:
    """Yield a problem if an edit of a flag makes a kill turn on a flag that requires it."""
    known = served_by_kills(before)
    for served, (field, kill) in served_by_kills(after).items():
        turned_on = [
            key
            for key in documents.index(environment).requiring.get(after.flag, ())
            if key != after.flag
            and any(
                each.flag == after.flag and _turns_on(each, definition, served)
                for each in documents.targeting(environment, key).document.prerequisites
            )
        ]
        if served not in known and turned_on:
            yield FieldProblem(
                field,
                f"{kill} would serve {served!r}, which turns on what requires it: "
                f"{', '.join(sorted(turned_on))}. Choose another variant, or change their "
                "prerequisites first.",
            )


def served_by_kills(targeting: Targeting) -> dict[str, tuple[str, str]]:
    """Return the variants that a kill makes a flag serve, each with its field and which kill.

    The kill of the flag serves its kill variant. The kill of a flag that it requires makes it
    serve its off variant.
    """
    served = {}
    if targeting.prerequisites:
        kill = f"A kill of what {targeting.flag} requires"
        served[targeting.off_variant] = ("/off_variant", kill)
    field = "/kill_variant" if targeting.kill_variant is not None else "/off_variant"
    served[served_by_kill(targeting)] = (field, f"A kill of {targeting.flag}")
    return served


def _turns_on(prerequisite: Prerequisite, required: FlagDefinition, served: str) -> bool:
    """Return whether the kill of a flag, which serves ``served``, meets a prerequisite.

    A prerequisite that accepts every variant is always met, so a kill changes nothing.
    """
    every = all(each.key in prerequisite.variants for each in required.variants)
    return served in prerequisite.variants and not every


def _safe_variants(targeting: Targeting) -> Iterator[tuple[str, str, str]]:
    """Yield each variant that must stay safe, its field, and what serves it."""
    if targeting.kill_variant is not None:
        yield targeting.kill_variant, "/kill_variant", "A kill"
        if targeting.kill_variant == targeting.off_variant:
            return
        yield targeting.off_variant, "/off_variant", "The disabled flag"
    else:
        yield targeting.off_variant, "/off_variant", "A kill"
