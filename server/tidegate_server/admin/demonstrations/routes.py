"""Simulated releases, told in scenes: what a release's page shows, without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Response
from marshmallow import fields, post_load, validate

from tidegate_server.admin.ledgers.schemas import HoldSchema
from tidegate_server.admin.ledgers.stored_ledger import hold_decision
from tidegate_server.admin.releases.schemas import ReleaseAnswer
from tidegate_server.admin.releases.service import ReleaseWithProgress
from tidegate_server.admin.series.schemas import SeriesAnswer
from tidegate_server.admin.series.service import Series, release_series
from tidegate_server.decisions.present_progress import present_progress
from tidegate_server.documents import shipped
from tidegate_server.documents.fields import AnyJson, Instant, StrictInteger
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.release import LIVE_STATES, Release
from tidegate_server.errors import NotFound
from tidegate_server.ledger.holds import Hold, condense_holds
from tidegate_server.web import responses
from tidegate_server.web.blueprint import SERVER_PREFIX, Blueprint, Who
from tidegate_server.whatif.demonstration import Move, Scene, Story, scenes

POLICY: Final = "standard"
POINTS: Final = 120
ENVIRONMENT: Final = "simulated"

blueprint = Blueprint(
    "demonstrations", __name__, description="Simulated releases, to see how real ones go"
)


class SceneQuery(Strict):
    """The query of a demonstration."""

    scene = fields.Integer(
        load_default=1,
        validate=validate.Range(min=1),
        metadata={"description": "which scene, from 1"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the number of the scene."""
        return data["scene"]


class ReleaseMoveSchema(Strict):
    """What the policy did, as the audit log has it of a real release."""

    at = Instant(attribute="decision.at_ms", required=True)
    actor = fields.Constant("policy")
    action = fields.String(required=True)
    reason = fields.String(attribute="decision.reason", required=True)
    details = AnyJson(required=True, metadata={"type": "object"})


@dataclass(frozen=True, slots=True)
class _ToldMove:
    """A move, with its words for the audit log."""

    move: Move

    @property
    def decision(self) -> Any:
        return self.move.decision

    @property
    def action(self) -> str:
        return f"release.{self.move.decision.action.value}"

    @property
    def details(self) -> dict[str, Any]:
        before, after = self.move.before, self.move.after
        return {
            "stage": after.stage,
            "stage_before": before.stage,
            "percentage": _percentage(after),
            "percentage_before": _percentage(before),
        }


@dataclass(frozen=True, slots=True)
class _ToldScene:
    """A scene with what the pages of a release show."""

    number: int
    count: int
    at_ms: int
    release: ReleaseWithProgress
    series: Series
    holds: list[Hold]
    moves: list[_ToldMove]


class DemonstrationAnswer(Strict):
    """A simulated release at one moment, as real ones are answered."""

    scene = StrictInteger(attribute="number", required=True)
    scenes = StrictInteger(
        attribute="count", required=True, metadata={"description": "how many scenes there are"}
    )
    at = Instant(attribute="at_ms", required=True)
    release = fields.Nested(ReleaseAnswer, required=True)
    series = fields.Nested(SeriesAnswer, required=True)
    holds = fields.List(
        fields.Nested(HoldSchema), required=True, metadata={"description": "the latest first"}
    )
    moves = fields.List(
        fields.Nested(ReleaseMoveSchema),
        required=True,
        metadata={"description": "the latest first"},
    )


@blueprint.operation(
    "GET",
    f"{SERVER_PREFIX}/demonstrations/<key:story>",
    permission=None,
    who=Who.CALLER,
    query=SceneQuery,
    response=DemonstrationAnswer,
)
def get_demonstration(scene: int, story: str) -> Response:
    """Get a scene of a simulated release: `healthy` does no harm, `harmful` does.

    It runs under the policy `standard`, on drawn traffic, and is the same each time.
    """
    if story not in set(Story):
        raise NotFound(f"There is no story {story!r}; there are {' and '.join(Story)}.")
    told = scenes(Story(story), shipped.policy(POLICY))
    if scene > len(told):
        raise NotFound(f"This story has {len(told)} scenes.")
    answer = _told(told[scene - 1], scene, len(told))
    return responses.value_with_etag(DemonstrationAnswer(), answer)


def _told(scene: Scene, number: int, count: int) -> _ToldScene:
    release = scene.release
    return _ToldScene(
        number,
        count,
        scene.at_ms,
        ReleaseWithProgress(
            document=release,
            revision=len(scene.entries),
            updated_ms=scene.at_ms,
            environment=ENVIRONMENT,
            progress=present_progress(release, scene.progress),
            progress_revision=len(scene.entries),
            warnings=(),
            ladder=(),
            open_now=_percentage(release) if release.state in LIVE_STATES else None,
        ),
        release_series(release, scene.readings, POINTS),
        condense_holds(map(hold_decision, scene.entries))[::-1],
        [_ToldMove(move) for move in reversed(scene.moves)],
    )


def _percentage(release: Release) -> float:
    """Return to how many of everyone a release is open, in percent."""
    return 0.0 if release.closed else release.policy.opened(release.stage)
