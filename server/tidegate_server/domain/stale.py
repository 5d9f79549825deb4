"""Which flags are stale: why, since when, and what to do about it.

A temporary flag is stale when its work is done. A permanent one may serve one variant for years;
it is stale only when nobody asks for it or no code uses it, or when it cannot do its work any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum

from tidegate.model import Serve

from tidegate_server.domain.calendar import DAY_MS
from tidegate_server.domain.code_references import FlagInCode
from tidegate_server.domain.flags import FlagDefinition, Targeting

ROLLED_OUT_DAYS = 1
"""For so long after its last use has left the code, instances that run it may ask for a flag."""


class StaleReason(StrEnum):
    """Why a flag is stale; the first one that applies is given."""

    PAST_END = "past_end"
    ARCHIVED_PREREQUISITE = "archived_prerequisite"
    NOT_IN_CODE = "not_in_code"
    NEVER_ASKED = "never_asked"
    NOT_ASKED = "not_asked"
    RELEASED = "released"
    ONE_VARIANT = "one_variant"


@dataclass(frozen=True, slots=True)
class Stale:
    """Why a flag is stale.

    Attributes:
        reason: why.
        since_ms: since when that has been so.
        text: why, in words.
        fix: what to do about it, in words.
    """

    reason: StaleReason
    since_ms: int
    text: str
    fix: str


@dataclass(frozen=True, slots=True)
class FlagPlace:
    """A flag in one environment.

    Attributes:
        environment: the key of the environment.
        targeting: what the flag serves there.
        changed_ms: when that last changed.
        counted_since_ms: since when evaluations are counted there; None: no instance has reported
            any yet, so nothing is known.
        asked_ms: when the flag was last asked for there, alone or with all others; None: never.
    """

    environment: str
    targeting: Targeting
    changed_ms: int
    counted_since_ms: int | None = None
    asked_ms: int | None = None


@dataclass(frozen=True, slots=True)
class OtherFlags:
    """What the flags around one say about it.

    Attributes:
        archived: the flags of the project that are archived.
        required: the flags that are a prerequisite of a flag that is not archived.
    """

    archived: frozenset[str] = field(default_factory=frozenset)
    required: frozenset[str] = field(default_factory=frozenset)


NO_OTHERS = OtherFlags()

UNUSED = (StaleReason.NOT_IN_CODE, StaleReason.NEVER_ASKED, StaleReason.NOT_ASKED)
"""The reasons that do not count for a flag that another one has as a prerequisite."""


def stale(
    flag: FlagDefinition,
    defined_ms: int,
    places: Sequence[FlagPlace],
    *,
    now_ms: int,
    after_days: int,
    others: OtherFlags = NO_OTHERS,
    code: FlagInCode | None = None,
) -> Stale | None:
    """Return why a flag is stale; None if it is not. An archived flag never is.

    Args:
        flag: its definition.
        defined_ms: when that last changed.
        places: the environments to look at: all of the project, or one.
        now_ms: the time.
        after_days: how many days something must have lasted: the project's ``stale_after_days``.
        others: the other flags of the project.
        code: how the code of the project uses the flag; None: that is not known.
    """
    if flag.archived is not None:
        return None
    before_ms = now_ms - after_days * DAY_MS
    found = _past_end(flag, now_ms, code) or _archived_prerequisite(flag, places, others)
    if found is None and flag.key not in others.required:
        found = _not_in_code(defined_ms, places, before_ms, now_ms, code)
        found = found or _not_asked(defined_ms, places, before_ms, after_days)
    if found is None:
        found = _released(flag, defined_ms, places, before_ms, after_days, code)
    if found is None and len(flag.variants) == 1 and defined_ms <= before_ms:
        only = flag.variants[0].key
        found = Stale(
            StaleReason.ONE_VARIANT,
            defined_ms,
            f"It has one variant, {only}, so it decides nothing.",
            f"Put the value of {only} in the code and archive the flag, or add a variant.",
        )
    return found


def _uses_text(code: FlagInCode | None) -> str:
    """Return where the code uses a flag, as the end of a sentence; empty: that is not known."""
    if code is None or not code.uses:
        return ""
    places = "1 place" if code.uses == 1 else f"{code.uses:,} places"
    return f"; the code still uses it in {places} of {', '.join(code.repositories)}"


def _past_end(flag: FlagDefinition, now_ms: int, code: FlagInCode | None) -> Stale | None:
    if not flag.temporary or flag.expected_end is None:
        return None
    following = flag.expected_end + timedelta(days=1)
    ended_ms = int(datetime.combine(following, time(), UTC).timestamp() * 1000)
    if now_ms < ended_ms:
        return None
    return Stale(
        StaleReason.PAST_END,
        ended_ms,
        f"It was expected to end on {flag.expected_end}{_uses_text(code)}.",
        "Remove it from the code and archive it, or set another expected end.",
    )


def _archived_prerequisite(
    flag: FlagDefinition, places: Sequence[FlagPlace], others: OtherFlags
) -> Stale | None:
    for place in places:
        for each in place.targeting.prerequisites:
            if each.flag in others.archived:
                return Stale(
                    StaleReason.ARCHIVED_PREREQUISITE,
                    place.changed_ms,
                    f"Its prerequisite {each.flag} is archived, so it serves the off variant to "
                    f"everyone in {place.environment}.",
                    f"Remove the prerequisite {each.flag}, or archive this flag too.",
                )
    return None


def _not_in_code(
    defined_ms: int,
    places: Sequence[FlagPlace],
    before_ms: int,
    now_ms: int,
    code: FlagInCode | None,
) -> Stale | None:
    """Say that no default branch uses the flag, if no application in use still asks for it."""
    if code is None or code.uses:
        return None
    asked_ms = max((place.asked_ms for place in places if place.asked_ms is not None), default=0)
    if code.gone_ms is None:
        # It may be there before its code is.
        since_ms, text = defined_ms, "No repository whose code is known uses it."
        is_new = defined_ms > before_ms or asked_ms > before_ms
    else:
        since_ms, text = code.gone_ms, "The code does not use it any more."
        is_new = asked_ms > now_ms - ROLLED_OUT_DAYS * DAY_MS
    if is_new:
        return None
    return Stale(
        StaleReason.NOT_IN_CODE,
        since_ms,
        text,
        "Archive it; delete it when nothing misses it.",
    )


def _not_asked(
    defined_ms: int, places: Sequence[FlagPlace], before_ms: int, after_days: int
) -> Stale | None:
    """Say that nobody asks for the flag, if that is known of every environment."""
    asked = [place.asked_ms for place in places if place.asked_ms is not None]
    if asked:
        last_ms = max(asked)
        if last_ms > before_ms:
            return None
        return Stale(
            StaleReason.NOT_ASKED,
            last_ms,
            f"No application has asked for it for {after_days} days or longer.",
            "Archive it; delete it when nothing misses it.",
        )
    counted = [each.counted_since_ms for each in places if each.counted_since_ms is not None]
    if not counted:
        return None
    since_ms = max(defined_ms, min(counted))
    if since_ms > before_ms:
        return None
    return Stale(
        StaleReason.NEVER_ASKED,
        since_ms,
        "No application has ever asked for it.",
        "Use it in the code, or archive it.",
    )


def _released(
    flag: FlagDefinition,
    defined_ms: int,
    places: Sequence[FlagPlace],
    before_ms: int,
    after_days: int,
    code: FlagInCode | None,
) -> Stale | None:
    """Say that a temporary flag serves one variant to everyone, wherever it is asked for."""
    if not flag.temporary:
        return None
    used = [place for place in places if place.asked_ms is not None] or list(places)
    served = {only_variant(place.targeting) for place in used}
    since_ms = max([defined_ms, *(place.changed_ms for place in used)])
    if len(served) != 1 or None in served or since_ms > before_ms:
        return None
    (variant,) = served
    uses = _uses_text(code)
    how = f" (`tidegate code-refs remove {flag.key}` prints the patch)" if uses else ""
    return Stale(
        StaleReason.RELEASED,
        since_ms,
        f"It has served {variant} to everyone for {after_days} days or longer{uses}.",
        f"Put the value of {variant} in the code{how}, then archive the flag.",
    )


def only_variant(targeting: Targeting) -> str | None:
    """Return the variant that everyone gets; None if that depends on the context or the time.

    A flag that is killed, or has a release, is about to change.
    """
    if targeting.kill is not None or targeting.release is not None:
        return None
    if not targeting.enabled:
        return targeting.off_variant
    variants = {
        variant
        for serve in (targeting.default, *(rule.serve for rule in targeting.rules))
        for variant in _variants(serve)
    }
    if targeting.prerequisites:
        variants.add(targeting.off_variant)
    return variants.pop() if len(variants) == 1 else None


def _variants(serve: Serve) -> set[str]:
    if serve.variant is not None:
        return {serve.variant}
    return {each.variant for each in serve.split or () if each.weight}


def flags_around(
    flags: Mapping[str, FlagDefinition], targetings: Sequence[Targeting]
) -> OtherFlags:
    """Return what ``stale`` needs to know of the flags of a project.

    Args:
        flags: all of them.
        targetings: what they serve, in every environment.
    """
    archived = frozenset(key for key, flag in flags.items() if flag.archived is not None)
    required = frozenset(
        each.flag
        for targeting in targetings
        if targeting.flag not in archived
        for each in targeting.prerequisites
    )
    return OtherFlags(archived, required)
