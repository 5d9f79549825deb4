"""The change that starts a release."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tidegate_server.domain.change import Audit, Change, Put, Refresh, Stored
from tidegate_server.domain.checks import Compare, Metric
from tidegate_server.domain.error_rate import with_error_rate_check
from tidegate_server.domain.field_problems import raise_problems
from tidegate_server.domain.flag_validation import hiding_rule
from tidegate_server.domain.flags import FlagDefinition, Targeting
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    flag_address,
    guard,
    guards,
    policy_address,
    put,
    release_address,
    segment_address,
    targeting_address,
)
from tidegate_server.domain.release import STATISTICS, Release, State
from tidegate_server.domain.release_events import webhook_messages
from tidegate_server.domain.rule_variants import find_serve
from tidegate_server.domain.safe_variants import opened_variant_problems
from tidegate_server.domain.snapshot import snapshot_flag
from tidegate_server.errors import AlreadyExists, FieldProblem, Invalid, NotPossible
from tidegate_server.near_misses import question, similar


def start_release(
    documents: ProjectDocuments,
    environment: str,
    *,
    release_id: str,
    flag: str,
    treatment: str,
    policy: str,
    control: str | None = None,
    rule: str | None = None,
    reason: str = "",
    draft: bool = False,
    actor: str,
    now_ms: int,
    starter: str = "",
) -> Change:
    """Start a release at its first stage, or as a draft that only measures.

    Args:
        documents: the project as read.
        environment: where it runs.
        release_id: a new id. It is the release's salt too, so each release opens to another
            share of users, and every attempt of one release to the same share.
        flag: the flag's key.
        treatment: the variant to open.
        policy: the policy's key; the release keeps the policy as it is now, with a check of the
            error rate unless the policy turned it off.
        control: what the rule serves now; it may be left out and is only checked.
        rule: the id of the rule to release (None: the default rule).
        reason: a person's words.
        draft: give everyone the control until a person begins the release. The checks with
            ``compare: before`` compare with what the draft measures.
        actor: who, as in the audit log.
        starter: the id of the person behind it (``Caller.answerable``).
        now_ms: the store's time.

    Raises:
        NotFound: there is no such environment.
        Invalid: there is no such flag, variant, rule or policy; has the field's pointer.
        NotPossible: the flag is archived, disabled, killed, or has an active release.
    """
    documents.environment(environment)
    definition, targeting, stored_policy = _find_documents(documents, environment, flag, policy)
    if definition.document.archived is not None:
        raise NotPossible(f"Flag {flag} is archived, so it serves nothing. Unarchive it first.")
    present: Targeting = targeting.document
    _check_ready(environment, present)
    serving = _find_control(present, rule)
    _check_reachable(documents, present, rule)
    _check_variants(definition.document, serving, control, treatment)
    raise_problems(
        f"the release of {flag}",
        opened_variant_problems(definition.document, present, treatment, "/treatment"),
    )
    if release_id in documents.releases.get(environment, {}):
        raise AlreadyExists(f"There is a release {release_id!r} already.")
    document: Policy = with_error_rate_check(stored_policy.document)
    _check_segments(documents, document)
    if not draft:
        _check_needs_no_draft(document)
    release = Release(
        id=release_id,
        flag=flag,
        rule=rule,
        control=serving,
        treatment=treatment,
        salt=release_id,
        policy=document,
        policy_revision=stored_policy.revision,
        state=_first_state(document, draft),
        stage=1,
        step=1,
        reason=reason or "Started.",
        started_by=actor,
        starter=starter,
        started_ms=now_ms,
        stage_entered_ms=now_ms,
        updated_ms=now_ms,
        closed=draft,
        state_since_ms=now_ms,
        state_by=actor,
        state_reason=reason,
        statistics=STATISTICS,
    )
    after = replace(present, release=release_id)
    version = definition.revision + targeting.revision + 1
    first = document.stages[0]
    return Change(
        scope=documents.project,
        writes=(
            Put(release_address(environment, release), release, 0),
            put(targeting_address(environment, flag), targeting, after),
            guard(flag_address(flag), definition),
            guard(policy_address(policy), stored_policy),
            *guards(segment_address, documents.segments, document.segments),
        ),
        refreshes=(
            Refresh(
                environment,
                flags={flag: snapshot_flag(definition.document, after, release, version)},
            ),
        ),
        audit=Audit(
            actor=actor,
            action="release.start",
            target=release_id,
            environment=environment,
            reason=reason,
            details={
                "flag": flag,
                "rule": rule,
                "control": serving,
                "treatment": treatment,
                "policy": policy,
                "policy_revision": stored_policy.revision,
                "stage": 1,
                "stage_name": first.name,
                "percentage": 0 if draft else document.opened(1),
                "draft": draft,
            },
        ),
        outgoing=webhook_messages(environment, None, release, actor=actor, reason=reason),
    )


def _first_state(policy: Policy, draft: bool) -> State:
    if draft:
        return State.DRAFT
    return State.BAKING if len(policy.stages) == 1 else State.RUNNING


def _check_needs_no_draft(policy: Policy) -> None:
    for check in policy.checks:
        if check.compare is Compare.BEFORE and check.metric is not Metric.PROMETHEUS:
            raise _invalid(
                "/draft",
                f"Policy {policy.key} compares the {check.metric} with the time before the "
                "release, which was not measured. Create the release as a draft, let it "
                "measure for a while, then begin it.",
            )


def _find_documents(
    documents: ProjectDocuments, environment: str, flag: str, policy: str
) -> tuple[Stored, Stored, Stored]:
    if flag not in documents.flags or flag not in documents.targetings.get(environment, {}):
        raise _missing(
            "/flag",
            f"There is no flag {flag!r} in environment {environment!r}.",
            flag,
            documents.targetings.get(environment, {}),
        )
    if policy not in documents.policies:
        raise _missing(
            "/policy",
            f"There is no policy {policy!r}; create it first.",
            policy,
            documents.policies,
        )
    return (
        documents.flags[flag],
        documents.targetings[environment][flag],
        documents.policies[policy],
    )


def _check_ready(environment: str, targeting: Targeting) -> None:
    flag = targeting.flag
    if targeting.release is not None:
        raise NotPossible(
            f"Flag {flag} has an active release in {environment} already: {targeting.release}. "
            "Complete it or roll it back first."
        )
    if targeting.kill is not None:
        raise NotPossible(f"Flag {flag} is killed in {environment}. Restore it first.")
    if not targeting.enabled:
        raise NotPossible(
            f"Flag {flag} is disabled in {environment}, so a release would open to nobody. "
            "Enable it first."
        )


def _find_control(targeting: Targeting, rule: str | None) -> str:
    serve = find_serve(targeting, rule)
    if serve is None:
        ids = ", ".join(each.id for each in targeting.rules) or "none"
        raise _invalid("/rule", f"Flag {targeting.flag} has no rule {rule!r}; it has {ids}.")
    if serve.variant is None:
        which = "The default rule" if rule is None else f"Rule {rule!r}"
        raise _invalid(
            "/rule",
            f"{which} of flag {targeting.flag} serves a split; a release replaces a rule that "
            "serves exactly one variant. Change it to serve one first.",
        )
    return serve.variant


def _check_reachable(documents: ProjectDocuments, targeting: Targeting, rule: str | None) -> None:
    index = hiding_rule(targeting, rule, documents)
    if index is not None:
        hiding = targeting.rules[index].id
        raise _invalid(
            "/rule",
            f"Every context meets rule {hiding!r} of flag {targeting.flag} first, so the release "
            f"would open to nobody. Release rule {hiding!r} instead, or change it first.",
        )


def _check_variants(
    definition: FlagDefinition, serving: str, control: str | None, treatment: str
) -> None:
    known = [variant.key for variant in definition.variants]
    if treatment not in known:
        raise _invalid(
            "/treatment",
            f"Flag {definition.key} has no variant {treatment!r}; it has {', '.join(known)}.",
        )
    if control is not None and control != serving:
        raise _invalid(
            "/control",
            f"The control is what the rule serves now, {serving!r}. Leave control out, or change "
            f"the rule to serve {control!r} first.",
        )
    if treatment == serving:
        raise _invalid(
            "/treatment",
            f"The rule serves {treatment!r} already; there is nothing to release.",
        )


def _check_segments(documents: ProjectDocuments, policy: Policy) -> None:
    missing = sorted(policy.segments - documents.segments.keys())
    if missing:
        raise _invalid(
            "/policy",
            f"Policy {policy.key!r} opens segments that do not exist: {', '.join(missing)}. "
            "Create them first.",
        )


def _invalid(pointer: str, message: str) -> Invalid:
    return Invalid(message, FieldProblem(pointer, message))


def _missing(pointer: str, message: str, name: str, known: Collection[str]) -> Invalid:
    suggestions = similar(name, known)
    message += question(suggestions)
    return Invalid(message, FieldProblem(pointer, message, suggestions))
