"""JSON schemas of ledgers, of their replays and of explanations."""

from __future__ import annotations

from marshmallow import fields, validate

from tidegate_server.admin.releases.schemas import AffectedUsersSchema, CountsSchema, basis_field
from tidegate_server.documents.fields import (
    AnyJson,
    Instant,
    Number,
    StrictBoolean,
    StrictInteger,
    number_or_null,
)
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.release import State
from tidegate_server.web.document_schemas import page_schema
from tidegate_server.web.pagination import PageQuery


class LedgerEntrySchema(Strict):
    """One evaluation of a release, with the evidence it used."""

    id = fields.String(required=True, metadata={"description": "its position in the ledger"})
    at = Instant(attribute="at_ms", required=True)
    entry = AnyJson(required=True, metadata={"type": "object"})


LedgerPage = page_schema("LedgerPage", LedgerEntrySchema)


class SpanSchema(Strict):
    """The least and the greatest value of a number; null: it had none."""

    least = Number(required=True, allow_none=True)
    greatest = Number(required=True, allow_none=True)


class HoldSchema(Strict):
    """Decisions in a row that changed nothing, for the same reason but for its numbers."""

    began_at = Instant(attribute="from_ms", required=True)
    ended_at = Instant(
        attribute="to_ms", required=True, metadata={"description": "the last of them"}
    )
    decisions = StrictInteger(required=True, metadata={"description": "how many there were"})
    stage = StrictInteger(required=True)
    step = StrictInteger(required=True)
    state = fields.Enum(State, by_value=True, required=True)
    first_reason = fields.String(required=True)
    last_reason = fields.String(
        required=True, metadata={"description": "the same reason with its last numbers"}
    )
    evidence = fields.Nested(
        SpanSchema, required=True, metadata={"description": "E: evidence of harm"}
    )
    advance = fields.Nested(
        SpanSchema, required=True, metadata={"description": "A: evidence of safety"}
    )


HoldPage = page_schema("HoldPage", HoldSchema)


class ReplayQuery(PageQuery):
    """The query string of a replay."""

    limit = fields.Integer(
        load_default=2_000,
        validate=validate.Range(min=1, max=20_000),
        metadata={
            "description": "the least number of entries; the replay ends at the next checkpoint"
        },
    )


class DifferenceSchema(Strict):
    """A value that the ledger has and the replay computed differently."""

    id = fields.String(
        required=True, metadata={"description": "the entry's position in the ledger"}
    )
    at = Instant(attribute="at_ms", required=True)
    window = StrictInteger(
        required=True, metadata={"description": "the number of the window, from 1"}
    )
    field = fields.String(required=True, metadata={"description": "a dotted path in the entry"})
    recorded = AnyJson(required=True, allow_none=True)
    recomputed = AnyJson(required=True, allow_none=True)


class ReplayAnswer(Strict):
    """A release's decisions, computed again from their evidence."""

    agrees = StrictBoolean(
        required=True,
        metadata={"description": "whether every value is the same, to the last digit"},
    )
    ledger = StrictInteger(
        required=True, metadata={"description": "the number of entries in the whole ledger"}
    )
    entries = StrictInteger(
        required=True, metadata={"description": "the number of entries in this part of the ledger"}
    )
    decisions = StrictInteger(
        attribute="replay.decisions",
        required=True,
        metadata={"description": "the number of decisions computed again"},
    )
    skipped = StrictInteger(
        attribute="replay.skipped",
        required=True,
        metadata={"description": "entries before the first checkpoint, or after a gap"},
    )
    moves = StrictInteger(
        attribute="replay.moves",
        required=True,
        metadata={"description": "how often people changed the release between two decisions"},
    )
    differing = StrictInteger(
        attribute="replay.differing",
        required=True,
        metadata={"description": "the number of entries with a difference"},
    )
    differences = fields.List(fields.Nested(DifferenceSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class EvidenceSchema(Strict):
    """The evidence of a decision."""

    evidence = Number(required=True, metadata={"description": "E: evidence of harm"})
    rollback_at = Number(
        required=True, metadata={"description": "the E at which the release rolls back"}
    )
    advance = Number(required=True, metadata={"description": "A: evidence of safety"})
    advance_at = Number(
        required=True, metadata={"description": "the A at which the release advances"}
    )
    basis = basis_field()
    wobble = Number(
        required=True,
        metadata={"description": "how much the arms wobble (over-dispersion); 0.1 is 10 %"},
    )
    detectable_ratio = number_or_null(
        "the smallest ratio of errors that would have been noticed; null: none"
    )
    split_checked = StrictBoolean(
        required=True,
        metadata={"description": "whether any SDK named users, from which the split is checked"},
    )
    overdispersion = Number(
        required=True,
        metadata={"description": "of releases that started before `wobble` existed; otherwise 1"},
    )
    probe = Number(required=True)
    window = StrictInteger(required=True, metadata={"description": "the number of the evaluation"})


class HappeningSchema(Strict):
    """An event of a release."""

    at = Instant(attribute="at_ms", required=True)
    actor = fields.String(required=True, metadata={"description": "`policy`, or a token's name"})
    action = fields.String(required=True)
    text = fields.String(required=True)
    decision = fields.Nested(
        EvidenceSchema,
        required=True,
        allow_none=True,
        metadata={"description": "the evidence, if the policy job decided it"},
    )


class ChapterSchema(Strict):
    """The time that a release spent in one stage."""

    stage = StrictInteger(required=True)
    attempt = StrictInteger(required=True)
    title = fields.String(required=True)
    began_at = Instant(attribute="from_ms", required=True)
    ended_at = Instant(attribute="to_ms", required=True, allow_none=True)
    evaluations = StrictInteger(required=True)
    control = fields.Nested(
        CountsSchema, required=True, metadata={"description": "as servers reported it"}
    )
    treatment = fields.Nested(
        CountsSchema, required=True, metadata={"description": "as servers reported it"}
    )
    client_control = fields.Nested(
        CountsSchema, required=True, metadata={"description": "as clients reported it"}
    )
    client_treatment = fields.Nested(
        CountsSchema, required=True, metadata={"description": "as clients reported it"}
    )
    text = fields.String(required=True)
    happenings = fields.List(fields.Nested(HappeningSchema), required=True)


class CleanupStepSchema(Strict):
    """A step of what follows a release that has ended."""

    text = fields.String(required=True, metadata={"description": "the step, in a sentence"})
    done = StrictBoolean(
        required=True, metadata={"description": "whether nothing of it is left to do"}
    )


class ExplanationAnswer(Strict):
    """What happened to a release, in sentences with their numbers."""

    headline = fields.String(required=True)
    beginning = fields.String(required=True)
    chapters = fields.List(fields.Nested(ChapterSchema), required=True)
    ending = fields.String(required=True)
    cleanup = fields.List(
        fields.Nested(CleanupStepSchema),
        required=True,
        metadata={
            "description": "what is left to do in the code and elsewhere, after what is done of "
            "it; empty while the release is active"
        },
    )
    limits = fields.List(
        fields.String(), required=True, metadata={"description": "what is not known, and why"}
    )
    users = fields.Nested(
        AffectedUsersSchema,
        required=True,
        allow_none=True,
        metadata={"description": "null: the release was never evaluated"},
    )
