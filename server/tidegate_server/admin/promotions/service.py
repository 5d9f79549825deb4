"""Plan promotions, and carry them out as they were planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_history import shown_difference
from tidegate_server.admin.document_reader import read_project_documents
from tidegate_server.admin.evaluation_counts.service import evaluated_flags
from tidegate_server.admin.presented_documents import presented
from tidegate_server.admin.promotions.schemas import PromotionRequest
from tidegate_server.domain.change import Change
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.json_differences import differences
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.promotions import Promotion, PromotionPlan, promote
from tidegate_server.errors import FieldProblem, Invalid, RevisionRequired, StaleRevision
from tidegate_server.store import Store
from tidegate_server.store.evaluations import Evaluated

NOT_COPIED = ("killed", "release")


@dataclass(frozen=True, slots=True)
class PromotedFlag:
    """What a promotion does to one flag, as the API shows it."""

    flag: str
    changes: Sequence[Mapping[str, Any]]
    problems: Sequence[FieldProblem]
    revisions: Mapping[str, int]
    killed: bool
    release: str | None
    evaluated: Evaluated


def plan_promotion(
    store: Store, project: str, target: str, request: PromotionRequest, actor: str
) -> PromotionPlan:
    """Return what a promotion would do now; raises as ``domain.promotions.promote`` does."""
    return promote(
        read_project_documents(store, project),
        request.source,
        target,
        request.flags,
        actor=actor,
        now_ms=store.now_ms(),
    )


def carry_out(
    store: Store, project: str, target: str, request: PromotionRequest, actor: str, reason: str
) -> PromotionPlan:
    """Promote flags as they were planned, all of them or none.

    Raises:
        RevisionRequired: the request does not say which plan it carries out.
        StaleRevision: something has changed since the plan.
        Invalid: a flag cannot be promoted.
    """
    plans: list[PromotionPlan] = []

    def make_change() -> Change:
        plan = promote(
            read_project_documents(store, project),
            request.source,
            target,
            request.flags,
            actor=actor,
            now_ms=store.now_ms(),
            reason=reason,
        )
        for each in plan.flags:
            _check_revisions(each, request, target)
        _check_possible(plan)
        plans.append(plan)
        return plan.change or Change(project, ())

    commit_with_retry(store, make_change)
    return plans[-1]


def promoted_flags(
    store: Store, project: str, target: str, plan: PromotionPlan
) -> list[PromotedFlag]:
    """Return what a promotion does to each flag, and how often it is asked for."""
    evaluated = evaluated_flags(store, project, target, [each.flag for each in plan.flags])
    found = []
    for each in plan.flags:
        present: Targeting = each.target.document
        found.append(
            PromotedFlag(
                flag=each.flag,
                changes=_changes(each),
                problems=each.problems,
                revisions={"source": each.source.revision, "target": each.target.revision},
                killed=present.kill is not None,
                release=present.release,
                evaluated=evaluated.get(each.flag, Evaluated()),
            )
        )
    return found


def _changes(promotion: Promotion) -> list[Mapping[str, Any]]:
    before = _shown(promotion.target.document)
    after = _shown(promotion.after or promotion.source.document)
    return [shown_difference(each) for each in differences(before, after)]


def _shown(targeting: Targeting) -> dict[str, object]:
    document = presented(Kind.TARGETING, targeting)
    return {name: value for name, value in document.items() if name not in NOT_COPIED}


def _check_revisions(promotion: Promotion, request: PromotionRequest, target: str) -> None:
    expected = request.revisions.get(promotion.flag)
    if expected is None:
        raise RevisionRequired(
            f"To promote {promotion.flag}, ask with ?plan=true first, and send the `revisions` of "
            "each flag of that plan."
        )
    for name, environment, stored in (
        ("source", request.source, promotion.source),
        ("target", target, promotion.target),
    ):
        if expected[name] != stored.revision:
            raise StaleRevision(
                f"Flag {promotion.flag} in {environment} is at revision {stored.revision}; the "
                f"plan was made from {expected[name]}. Plan again."
            )


def _check_possible(plan: PromotionPlan) -> None:
    problems = [
        FieldProblem(f"/flags/{number}{problem.pointer}", problem.detail)
        for number, each in enumerate(plan.flags)
        for problem in each.problems
    ]
    if problems:
        names = ", ".join(each.flag for each in plan.flags if each.problems)
        raise Invalid(f"These flags cannot be promoted: {names}. Nothing was changed.", *problems)
