"""JSON schemas of releases, of the actions on them and of their progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import fields, post_load

from tidegate_server.admin.action_schemas import ActionBody
from tidegate_server.admin.ladders import ladder_field
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.silence import SilenceKind
from tidegate_server.decisions.stage_gates import GateKind
from tidegate_server.documents.fields import (
    BoundedString,
    Instant,
    Key,
    Name,
    Number,
    Percent,
    StrictBoolean,
    StrictInteger,
    number_or_null,
)
from tidegate_server.documents.policy_schemas import PolicyFields
from tidegate_server.documents.strict_schema import DataclassSchema, Strict
from tidegate_server.documents.warnings import WarningSchema
from tidegate_server.domain.evidence import Source
from tidegate_server.domain.release import Basis, State
from tidegate_server.web.document_schemas import StoredAnswer, page_schema
from tidegate_server.web.pagination import PageQuery, PageRequest
from tidegate_server.web.reasons import MAX_REASON


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """What to start a release with."""

    flag: str
    treatment: str
    policy: str
    control: str | None
    rule: str | None
    reason: str
    draft: bool


@dataclass(frozen=True, slots=True)
class ReleaseListRequest:
    """Which releases to list; None: any."""

    page: PageRequest
    flag: str | None
    state: State | None


class ReleaseBody(DataclassSchema):
    """A request to start a release."""

    loads_into = ReleaseRequest

    flag = Key(required=True)
    treatment = Name(required=True, metadata={"description": "the variant to open"})
    policy = Key(required=True)
    control = Name(
        load_default=None,
        allow_none=True,
        metadata={"description": "the variant that the rule serves now; if given, it is checked"},
    )
    rule = Name(
        load_default=None,
        allow_none=True,
        metadata={"description": "the id of the rule to release; null: the default rule"},
    )
    reason = BoundedString(MAX_REASON, load_default="")
    draft = StrictBoolean(
        load_default=False,
        metadata={
            "description": "only measure: everyone gets the control until the release begins"
        },
    )


class PauseBody(ActionBody):
    """The reason for a pause, and whether it is a full stop."""

    stop = StrictBoolean(
        load_default=False,
        metadata={"description": "a full stop: the policy does not roll back either"},
    )


class ReleaseListQuery(PageQuery):
    """The query string of the list of releases."""

    flag = Key(metadata={"description": "only releases of this flag"})
    state = fields.Enum(
        State, by_value=True, metadata={"description": "only releases in this state"}
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return which releases to list."""
        page = PageRequest(data["cursor"], data["limit"])
        return ReleaseListRequest(page, data.get("flag"), data.get("state"))


class CountsSchema(Strict):
    """Counts of one arm."""

    exposures = StrictInteger(required=True)
    outcomes = StrictInteger(required=True)
    errors = StrictInteger(required=True)
    failing = StrictInteger(
        required=True, metadata={"description": "users with a failed operation"}
    )
    sampled = StrictInteger(
        required=True,
        metadata={
            "description": "users of the sample, from which the split between the arms is checked; "
            "0 in both arms despite outcomes: no SDK names them, so the split is not checked"
        },
    )


class CheckResultSchema(Strict):
    """The result of a check at the last evaluation."""

    number = StrictInteger(
        attribute="result.number",
        required=True,
        metadata={"description": "its position in the policy, from 0"},
    )
    label = fields.String(attribute="result.label", required=True)
    compared = StrictBoolean(
        required=True,
        allow_none=True,
        metadata={
            "description": "whether it compares the arms in the present stage; null: it compares "
            "with something other than the control group, so evidence and advance mean nothing"
        },
    )
    failed = StrictBoolean(attribute="result.failed", required=True)
    evidence = Number(
        attribute="result.evidence",
        required=True,
        metadata={"description": "E of a comparison with control: evidence of harm"},
    )
    rollback_at = Number(
        attribute="result.rollback_at",
        required=True,
        allow_none=True,
        metadata={"description": "the E at which the check fails"},
    )
    advance = Number(
        attribute="result.advance",
        required=True,
        metadata={"description": "A of a comparison with control: evidence of safety"},
    )
    epoch = StrictInteger(
        attribute="result.epoch",
        required=True,
        metadata={"description": "the epoch of its evidence of harm in this attempt, from 1"},
    )
    wobble = Number(
        attribute="result.wobble",
        required=True,
        metadata={"description": "how much the arms wobble (over-dispersion); 0.1 is 10 %"},
    )
    detectable_ratio = Number(
        attribute="result.detectable_ratio",
        required=True,
        allow_none=True,
        metadata={
            "description": "the smallest ratio of errors to control's that would have been noticed "
            "by now; null: none, or the check does not compare errors with control"
        },
    )
    bad_windows = StrictInteger(
        attribute="result.bad_windows",
        required=True,
        metadata={
            "description": "without a control group, of a check of values: windows with three "
            "times as many values beyond control's last known quantile, less other windows"
        },
    )
    overdispersion = Number(
        attribute="result.overdispersion",
        required=True,
        metadata={"description": "of releases that started before `wobble` existed; otherwise 1"},
    )
    value = Number(
        attribute="result.value",
        required=True,
        allow_none=True,
        metadata={"description": "the measured value of a threshold check"},
    )
    limit = Number(
        attribute="result.limit",
        required=True,
        allow_none=True,
        metadata={"description": "the limit of a threshold check"},
    )
    breaches = StrictInteger(
        attribute="result.breaches", required=True, metadata={"description": "breaches in a row"}
    )
    unreadable = StrictInteger(
        attribute="result.unreadable",
        required=True,
        metadata={"description": "unreadable values in a row"},
    )
    problem = fields.String(attribute="result.problem", required=True)


class GivenApprovalSchema(Strict):
    """Who approved, and when."""

    actor = fields.String(required=True)
    at = Instant(attribute="at_ms", required=True)
    comment = fields.String(required=True)


def basis_field() -> fields.Enum[Basis]:
    """Return the field with the basis of a decision."""
    return fields.Enum(
        Basis,
        by_value=True,
        required=True,
        allow_none=True,
        metadata={
            "description": "what an advance rests on; `time` for a completion whose stage had not "
            "shown what it needs; null: neither"
        },
    )


class LastDecisionSchema(Strict):
    """The last decision of the policy job."""

    action = fields.Enum(Action, by_value=True, required=True)
    basis = basis_field()
    reason = fields.String(required=True)
    at = Instant(attribute="at_ms", required=True)


def _evidence(description: str) -> Number:
    return number_or_null(f"{description}; null: nothing is compared with control")


class ClientReportsSchema(Strict):
    """What clients reported of a release, which anyone can make up.

    It decides only in the checks of the policy with `client_evidence: decide`.
    """

    control = fields.Nested(CountsSchema, required=True)
    treatment = fields.Nested(CountsSchema, required=True)
    stage_control = fields.Nested(CountsSchema, required=True)
    stage_treatment = fields.Nested(CountsSchema, required=True)
    checks = fields.List(
        fields.Nested(CheckResultSchema),
        required=True,
        metadata={
            "description": "the checks in which clients do not decide, by their reports alone"
        },
    )


def _users(description: str) -> Number:
    return Number(required=True, metadata={"description": description})


class UserRangeSchema(Strict):
    """An estimated number of users, with a range that holds the true one in 95 of 100 releases."""

    estimate = _users("about how many; at least 0")
    low = _users("the lower end of the range")
    high = _users("the upper end of the range")


class AffectedUsersSchema(Strict):
    """The users that the release has harmed, and those that its stages have spared, up to now."""

    failed = StrictInteger(
        required=True, metadata={"description": "users who failed with the treatment"}
    )
    expected = _users("how many of them would have failed with the control's rate")
    harmed = fields.Nested(
        UserRangeSchema,
        required=True,
        metadata={"description": "users who failed because of the treatment (excess failures)"},
    )
    spared = fields.Nested(
        UserRangeSchema,
        required=True,
        metadata={
            "description": "users of the control who would have failed, had everyone had the "
            "treatment (failures averted)"
        },
    )


class GateSchema(Strict):
    """One thing that the release needs to leave its stage, as of the last evaluation.

    `time` and `cooldown` are in seconds, `samples` are operations that ended, `windows` are
    evaluations with data. `harm` is met below what it needs, `value` within its limit; every
    other kind from what it needs. A `confirmation` is asked for when everything else is met.
    """

    kind = fields.Enum(GateKind, by_value=True, required=True)
    met = StrictBoolean(required=True)
    have = number_or_null("the present value; null: not known, or there is no number")
    need = number_or_null("the value that is needed; null: not known, or there is no number")
    since = Instant(
        attribute="since_ms",
        required=True,
        allow_none=True,
        metadata={"description": "since when it counts or waits; null: not known"},
    )
    until = Instant(
        attribute="until_ms",
        required=True,
        allow_none=True,
        metadata={"description": "when it is met by time alone, or waived; null: never"},
    )
    check = StrictInteger(
        required=True,
        allow_none=True,
        metadata={"description": "the number of its check; null: it belongs to none"},
    )
    arm = fields.String(
        required=True, allow_none=True, metadata={"description": "`control` or `treatment`"}
    )
    webhook = fields.String(required=True, allow_none=True)
    source = fields.Enum(
        Source, by_value=True, required=True, metadata={"description": "whose reports it is about"}
    )
    waived = StrictBoolean(
        required=True,
        metadata={
            "description": "the release may leave without it: the stage's `max_duration` is over, "
            "and its policy says `undecided: advance`"
        },
    )


class SilenceSchema(Strict):
    """Operations that should end do not. Too few operations are no silence."""

    kind = fields.Enum(
        SilenceKind,
        by_value=True,
        required=True,
        metadata={
            "description": "`no_exposures`: nobody asked for the flag; `no_outcomes`: it was asked "
            "for, and no operation ended; `one_arm`: operations ended in the other arm only"
        },
    )
    since = Instant(attribute="since_ms", required=True)
    arm = fields.String(
        required=True, allow_none=True, metadata={"description": "of `one_arm`; else null"}
    )


class ProgressSchema(Strict):
    """How far a release has come. The counts of the stage are those of the present stage.

    Counts and evidence are those that decide: what servers reported, and what clients reported
    where the policy says `client_evidence: decide`.
    """

    windows = StrictInteger(required=True)
    evaluated_at = Instant(attribute="evaluated_ms", required=True)
    next_evaluation_at = Instant(
        attribute="next_due_ms",
        required=True,
        allow_none=True,
        metadata={"description": "null: none, as the release has ended or its flag is killed"},
    )
    control = fields.Nested(CountsSchema, required=True)
    treatment = fields.Nested(CountsSchema, required=True)
    stage_control = fields.Nested(CountsSchema, required=True)
    stage_treatment = fields.Nested(CountsSchema, required=True)
    evidence = _evidence("E: evidence of harm")
    rollback_at = _evidence("the E at which the release rolls back")
    advance = _evidence("A: evidence of safety")
    advance_at = _evidence("the A at which the release advances")
    overdispersion = _evidence("of releases that started before `wobble` existed; otherwise 1")
    wobble = _evidence("how much the arms wobble (over-dispersion); 0.1 is 10 %")
    detectable_ratio = number_or_null(
        "the smallest ratio of errors to control's that would have been noticed by now; null: "
        "none, or errors are not compared"
    )
    checks = fields.List(fields.Nested(CheckResultSchema), required=True)
    last_decision = fields.Nested(
        LastDecisionSchema, attribute="decision", required=True, allow_none=True
    )
    client = fields.Nested(
        ClientReportsSchema,
        required=True,
        allow_none=True,
        metadata={"description": "what clients reported; null: nothing"},
    )
    users = fields.Nested(AffectedUsersSchema, required=True)
    gates = fields.List(
        fields.Nested(GateSchema),
        required=True,
        metadata={"description": "what it needs to leave its stage; those met are listed too"},
    )
    silence = fields.Nested(
        SilenceSchema,
        required=True,
        allow_none=True,
        metadata={"description": "null: operations end as they should"},
    )


class PresentStageSchema(Strict):
    """The stage that a release is in."""

    number = StrictInteger(required=True)
    of = StrictInteger(required=True)
    name = fields.String(required=True)
    percentage = Percent(required=True)
    segments = fields.List(fields.String(), required=True)


class OpeningSchema(Strict):
    """What a stage has opened."""

    stage = StrictInteger(required=True)
    percentage = Percent(required=True)
    segments = fields.List(fields.String(), required=True)


class ReleasePolicySchema(PolicyFields):
    """The policy as it was when the release started."""


class ReleaseAnswer(StoredAnswer):
    """A release."""

    id = fields.String(required=True)
    flag = fields.String(required=True)
    environment = fields.String(required=True)
    rule = fields.String(required=True, allow_none=True)
    control = fields.String(required=True)
    treatment = fields.String(required=True)
    policy = fields.Nested(ReleasePolicySchema, required=True)
    policy_revision = StrictInteger(required=True)
    statistics = StrictInteger(
        required=True,
        metadata={"description": "the version of the decision statistics that it runs under"},
    )
    state = fields.Enum(State, by_value=True, required=True)
    reason = fields.String(required=True)
    state_by = fields.String(
        required=True,
        metadata={"description": "who changed the state, as in the audit; empty: not known"},
    )
    attempt = StrictInteger(required=True)
    closed = StrictBoolean(
        required=True,
        metadata={
            "description": "everyone gets the control: the release is a draft or in a cooldown"
        },
    )
    retries = StrictInteger(
        required=True, metadata={"description": "how many of the policy's retries have begun"}
    )
    cooldown_until = Instant(attribute="cooldown_until_ms", required=True, allow_none=True)
    approval_asked_at = Instant(attribute="asked_ms", required=True, allow_none=True)
    approvals = fields.List(fields.Nested(GivenApprovalSchema), required=True)
    stopped = StrictBoolean(required=True)
    resumes_to = fields.Enum(State, by_value=True, required=True, allow_none=True)
    stage = fields.Nested(PresentStageSchema, attribute="present_stage", required=True)
    openings = fields.List(fields.Nested(OpeningSchema), required=True)
    step = StrictInteger(required=True)
    started_by = fields.String(required=True)
    started_at = Instant(attribute="started_ms", required=True)
    stage_entered_at = Instant(attribute="stage_entered_ms", required=True)
    stage_basis = fields.Enum(
        Basis,
        by_value=True,
        required=True,
        allow_none=True,
        metadata={
            "description": "what the advance to this stage rested on; null: no advance led to it"
        },
    )
    updated_at = Instant(attribute="updated_ms", required=True)
    ended_at = Instant(attribute="ended_ms", required=True, allow_none=True)
    revision = StrictInteger(required=True)
    progress = fields.Nested(ProgressSchema, required=True, allow_none=True)
    ladder = ladder_field()
    open_percentage = Percent(
        attribute="open_now",
        required=True,
        allow_none=True,
        metadata={
            "description": "the percentage of its stage's users who get the treatment from this "
            "release now: 0 while its flag is killed or disabled; null: it has ended"
        },
    )
    warnings = fields.List(
        fields.Nested(WarningSchema),
        required=True,
        metadata={"description": "risks that its policy takes, such as `error_rate: off`"},
    )


ReleasePage = page_schema("ReleasePage", ReleaseAnswer)
