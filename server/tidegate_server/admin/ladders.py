"""Read what decides now what flags serve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marshmallow import fields

from tidegate_server.decisions.present_progress import last_decision
from tidegate_server.documents.fields import Instant
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.change import Address, Stored
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.ladder import Cause, Rung, ladder
from tidegate_server.store import Store


class RungSchema(Strict):
    """One thing that applies to a flag now; the first of a list decides what it serves."""

    cause = fields.Enum(Cause, by_value=True, required=True)
    state = fields.String(
        required=True, metadata={"description": "in a word or two: `killed`, `frozen`, `paused`"}
    )
    text = fields.String(
        required=True, metadata={"description": "what, who, since when and why, in words"}
    )
    serves = fields.String(
        required=True, metadata={"description": "what the flag serves while this comes first"}
    )
    reason = fields.String(required=True)
    actor = fields.String(
        required=True, metadata={"description": "who did it; empty: nobody, or not known"}
    )
    since = Instant(attribute="since_ms", required=True, allow_none=True)
    release = fields.String(required=True, allow_none=True)


def ladder_field() -> fields.List[Any]:
    """Return the field with the ladder of a flag."""
    return fields.List(
        fields.Nested(RungSchema),
        required=True,
        dump_only=True,
        metadata={
            "description": "what decides now what the flag serves, the strongest first: a kill, "
            "a disabled flag, a person's stop, the policy of the active release, a rule, the "
            "default rule; empty for a release that has ended"
        },
    )


def read_ladders(
    store: Store, project: str, environment: str, targetings: Sequence[Stored]
) -> list[tuple[Rung, ...]]:
    """Return the ladder of each targeting, in their order."""
    ids = [each.document.release for each in targetings if each.document.release is not None]
    addresses = [
        Address(kind, id, environment) for id in ids for kind in (Kind.RELEASE, Kind.PROGRESS)
    ]
    found = store.get_many(project, addresses) if addresses else []
    active = {id: (found[2 * n], found[2 * n + 1]) for n, id in enumerate(ids)}
    now_ms = store.now_ms()
    ladders = []
    for stored in targetings:
        targeting: Targeting = stored.document
        release, progress = active.get(targeting.release or "", (None, None))
        ladders.append(
            ladder(
                targeting,
                release.document if release is not None else None,
                last_decision(progress.document if progress is not None else None),
                now_ms,
            )
        )
    return ladders
