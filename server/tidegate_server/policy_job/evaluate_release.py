"""Evaluates releases: reads their evidence, decides, and commits the decisions.

A commit depends on the release's revision, so a change that a person made in between wins. It
also depends on the fence, so a process that no longer leads writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from tidegate_server import tracing
from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.observations import Answer, Window
from tidegate_server.decisions.progress import Progress, initial_progress
from tidegate_server.decisions.warnings import new_warning
from tidegate_server.domain.change import (
    Address,
    Change,
    EvidenceGeneration,
    Fence,
    Guard,
    LedgerEntry,
    Put,
    SeriesReading,
    Stored,
    WebhookMessage,
)
from tidegate_server.domain.evidence import Evidence, Source
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    flag_address,
    progress_address,
    release_address,
    targeting_address,
)
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.release_commits import release_change
from tidegate_server.domain.release_events import webhook_messages
from tidegate_server.domain.release_gates import Event
from tidegate_server.errors import NotFound, StoreUnavailable
from tidegate_server.ledger.entry import ledger_entry
from tidegate_server.ledger.series import slots, take_reading
from tidegate_server.outbound.pending_requests import ReleaseKey
from tidegate_server.policy_job.evidence_sources import EvidenceSources
from tidegate_server.policy_job.instance_cache import InstanceCache
from tidegate_server.policy_job.read_window import read_window
from tidegate_server.process_metrics import DECISIONS
from tidegate_server.store import Store
from tidegate_server.webhooks.confirmations import ConfirmationRequests, Proposal

log = structlog.get_logger("tidegate.policy_job")

ACTOR = "policy"

TIME_BOX_S = 2.0
"""How long one evaluation may take; a release that needs longer is evaluated after the others."""

ANSWER_RETRY_MS = 500
"""When a release that waits for answers is due again."""


@dataclass(frozen=True, slots=True)
class ReleaseEvaluation:
    """The result of an evaluation.

    Attributes:
        next_due_ms: when the release is due again; None: it has ended.
        decision: what was decided; None: the release was not due, or it waits for answers.
        overrun_s: how long it took, if that is longer than ``TIME_BOX_S``; otherwise 0.
    """

    next_due_ms: int | None
    decision: Decision | None = None
    overrun_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Subject:
    """A release to evaluate, with everything that was read of it."""

    project: str
    environment: str
    stored: Stored
    stored_progress: Stored | None
    evidence: Evidence
    now_ms: int

    @property
    def release(self) -> Release:
        release: Release = self.stored.document
        return release

    @property
    def progress(self) -> Progress:
        known = self.stored_progress
        if known is not None:
            progress: Progress = known.document
            return progress
        return initial_progress(self.release, keeps_bands=True)


@dataclass(frozen=True, slots=True)
class _PendingCommit:
    """A decision to commit; ``durable`` if it has to reach the disk before it counts."""

    change: Change
    durable: bool
    evaluation: ReleaseEvaluation


def _note_decision(
    span: tracing.Span, release: Release, draft: _PendingCommit | ReleaseEvaluation
) -> None:
    """Note in a span what was decided, if anything was."""
    span.set_attribute("tidegate.flag", release.flag)
    span.set_attribute("tidegate.stage", release.stage)
    evaluation = draft if isinstance(draft, ReleaseEvaluation) else draft.evaluation
    if evaluation.decision is not None:
        span.set_attribute("tidegate.action", evaluation.decision.action or "none")
        span.set_attribute("tidegate.reason", evaluation.decision.reason)


class ReleaseEvaluator:
    """Evaluates releases for a policy job.

    Args:
        store: where everything is.
        sources: answer the queries of checks.
        confirmations: asks webhooks to confirm; without it, none does.
    """

    def __init__(
        self,
        store: Store,
        sources: EvidenceSources,
        confirmations: ConfirmationRequests | None = None,
    ) -> None:
        self._store = store
        self._sources = sources
        self._confirmations = confirmations
        self._instances = InstanceCache(store)
        self._warned: set[ReleaseKey] = set()
        self._checked: set[ReleaseKey] = set()

    def evaluate(
        self,
        project: str,
        environment: str,
        release_ids: Sequence[str],
        fence: Fence,
        now_ms: int,
    ) -> dict[str, ReleaseEvaluation | Exception]:
        """Evaluate the releases that are due, and commit each decision by itself.

        All are read in one round trip and committed in another, so many cost little more
        than one. While a release waits for answers nothing of it is committed, and it stays
        due. After one that takes longer than ``TIME_BOX_S`` the rest is left for the next call.

        Args:
            project, environment, release_ids: the releases.
            fence: proves that this process leads the project.
            now_ms: store clock.

        Returns:
            The result for each release that was evaluated, or why nothing was written:
            ``StaleRevision``, ``LeaseLost``, or whatever prevents the evaluation.

        Raises:
            StoreUnavailable: it is unknown whether anything was written. The next evaluation
                reads what is there.
        """
        addresses = [
            address
            for each in release_ids
            for address in (
                Address(Kind.RELEASE, each, environment),
                progress_address(environment, each),
            )
        ]
        documents = self._store.get_many(project, addresses)
        self._shrink(project, environment, documents[::2])
        evidence = self._store.evidence.totals_many(project, environment, release_ids)
        outcomes: dict[str, ReleaseEvaluation | Exception] = {}
        drafts: dict[str, _PendingCommit] = {}
        for number, release_id in enumerate(release_ids):
            stored, progress = documents[2 * number : 2 * number + 2]
            if stored is None or stored.document.state not in LIVE_STATES:
                outcomes[release_id] = ReleaseEvaluation(None)
                continue
            subject = _Subject(project, environment, stored, progress, evidence[number], now_ms)
            began = time.monotonic()
            try:
                with tracing.span("decide", release=release_id) as span:
                    draft = self._draft(subject, fence, began)
                    _note_decision(span, subject.release, draft)
            except StoreUnavailable:
                raise
            except Exception as error:
                outcomes[release_id] = error
                continue
            if isinstance(draft, ReleaseEvaluation):
                outcomes[release_id] = evaluation = replace(draft, overrun_s=_overrun_s(began))
            else:
                drafts[release_id], evaluation = draft, draft.evaluation
            if evaluation.overrun_s:
                break
        for release_id, refused in self._commit(drafts).items():
            outcomes[release_id] = refused or drafts[release_id].evaluation
            if refused is None:
                key = (project, environment, release_id)
                self._sources.forget(key)
                self._note_overrun(key, drafts[release_id].evaluation)
                decision = drafts[release_id].evaluation.decision
                if decision is not None:
                    DECISIONS.labels(decision.action or "none").inc()
        return outcomes

    def _shrink(self, project: str, environment: str, releases: Sequence[Stored | None]) -> None:
        """Bound the evidence of releases that may be older than the limits of reports."""
        for stored in releases:
            if stored is None:
                continue
            release: Release = stored.document
            key = (project, environment, release.id)
            if key in self._checked:
                continue
            deleted = self._store.evidence.shrink(project, environment, release.id, release)
            self._checked.add(key)
            if deleted:
                log.warning("evidence_shrunk", scope=project, release=release.id, fields=deleted)

    def _note_overrun(self, key: ReleaseKey, evaluation: ReleaseEvaluation) -> None:
        """Remember in the store, for the metrics, whether an evaluation took too long."""
        if evaluation.next_due_ms is None:
            self._checked.discard(key)
        if evaluation.overrun_s and evaluation.next_due_ms is not None:
            self._warned.add(key)
            self._store.evidence.set_overrun(*key, evaluation.overrun_s)
        elif key in self._warned:
            self._warned.discard(key)
            self._store.evidence.set_overrun(*key, None)

    def _commit(self, drafts: dict[str, _PendingCommit]) -> dict[str, Exception | None]:
        """Commit drafts; return the error of each, None if it was committed."""
        errors: dict[str, Exception | None] = {}
        for durable in (False, True):
            ids = [id for id, draft in drafts.items() if draft.durable is durable]
            if ids:
                results = self._store.commit_many([drafts[id].change for id in ids], durable)
                for id, result in zip(ids, results, strict=True):
                    errors[id] = result if isinstance(result, Exception) else None
        return errors

    def _draft(
        self, subject: _Subject, fence: Fence, began: float
    ) -> _PendingCommit | ReleaseEvaluation:
        """Decide on a release, and prepare the commit of the decision.

        ``began`` is when its evaluation began, by the monotonic clock.
        """
        release, progress, now_ms = subject.release, subject.progress, subject.now_ms
        project, environment = subject.project, subject.environment
        # An evaluation in the future means that the store's clock has gone back.
        if progress.evaluated_ms <= now_ms < progress.next_due_ms:
            return ReleaseEvaluation(progress.next_due_ms)
        if release.state is State.KILLED:
            return ReleaseEvaluation(now_ms + release.policy.interval_ms)
        measured = self._sources.measure(project, environment, release)
        if measured is None:
            return ReleaseEvaluation(now_ms + ANSWER_RETRY_MS)
        window, totals = read_window(
            self._store,
            project,
            environment,
            release,
            progress,
            now_ms,
            evidence=subject.evidence,
            instances=self._instances,
            measured=measured,
        )
        window = replace(window, frozen=self._frozen(project, environment, now_ms))
        after, decision = decide(release, progress, window, now_ms)
        if decision.asks:
            answers = self._confirm(subject, window, decision)
            if answers is None:
                return ReleaseEvaluation(now_ms + ANSWER_RETRY_MS)
            window = replace(window, answers=answers)
            after, decision = decide(release, progress, window, now_ms)
        elif self._confirmations is not None:
            self._confirmations.forget((project, environment, release.id))
        after = after.with_readings(totals)
        moved = apply_decision(release, decision)
        overrun_s = _overrun_s(began)
        warned = (project, environment, release.id) in self._warned
        warning = _warning_messages(subject, moved, window, decision, 0.0 if warned else overrun_s)
        generations = _new_generations(subject, window, after)
        change = self._release_change(subject, moved, decision)
        known = subject.stored_progress
        change = replace(
            change,
            writes=(
                *change.writes,
                Put(
                    progress_address(environment, release.id),
                    after,
                    known.revision if known else 0,
                ),
            ),
            ledger=(
                LedgerEntry(
                    environment,
                    release.id,
                    ledger_entry(release, moved, progress, window, decision),
                ),
            ),
            series=_series(subject, after, decision),
            generations=generations,
            outgoing=(*change.outgoing, *warning),
            fence=fence,
        )
        ended = moved.state not in LIVE_STATES
        return _PendingCommit(
            change=change,
            durable=moved != release or bool(generations) or bool(warning),
            evaluation=ReleaseEvaluation(None if ended else after.next_due_ms, decision, overrun_s),
        )

    def _frozen(self, project: str, environment: str, now_ms: int) -> str:
        """Return the freeze of an environment in words; empty: there is none now."""
        stored = self._store.cached(project, Kind.ENVIRONMENT).stored.get(environment)
        freeze = None if stored is None else stored.document.freeze_at(now_ms)
        return "" if freeze is None else f"environment {environment} is {freeze.text}"

    def _confirm(
        self, subject: _Subject, window: Window, decision: Decision
    ) -> tuple[Answer, ...] | None:
        """Ask webhooks to confirm what would be decided if all of them did."""
        if self._confirmations is None:
            problem = "the policy job has no secret key"
            return tuple(Answer(key, False, problem) for key in decision.asks)
        release = subject.release
        confirmed = replace(window, answers=tuple(Answer(key, True) for key in decision.asks))
        _, then = decide(release, subject.progress, confirmed, decision.at_ms)
        return self._confirmations.confirm(
            Proposal(
                project=subject.project,
                environment=subject.environment,
                release=release,
                revision=subject.stored.revision,
                webhooks=decision.asks,
                action=str(then.action),
                then=apply_decision(release, then),
                reason=then.reason,
            )
        )

    def _release_change(self, subject: _Subject, after: Release, decision: Decision) -> Change:
        """Return the part of the commit that concerns the release itself."""
        project, environment, release = subject.project, subject.environment, subject.release
        if after == release:
            guard = Guard(release_address(environment, release), subject.stored.revision)
            return Change(scope=project, writes=(guard,))
        definition, targeting = self._store.get_many(
            project, [flag_address(release.flag), targeting_address(environment, release.flag)]
        )
        if definition is None or targeting is None:
            raise NotFound(f"Flag {release.flag} of release {release.id} does not exist.")
        documents = ProjectDocuments(
            project,
            flags={release.flag: definition},
            targetings={environment: {release.flag: targeting}},
        )
        return release_change(
            documents,
            environment,
            subject.stored,
            after,
            actor=ACTOR,
            action=f"release.{_audit_verb(release, decision)}",
            reason=decision.reason,
        )


def _series(subject: _Subject, after: Progress, decision: Decision) -> tuple[SeriesReading, ...]:
    """Return the reading of an evaluation for the release's series."""
    release = subject.release
    reading = take_reading(release, after, decision)
    if reading is None:
        return ()
    kept = slots(reading.window, reading.step)
    return (SeriesReading(subject.environment, release.id, kept, reading),)


def _new_generations(
    subject: _Subject, window: Window, after: Progress
) -> tuple[EvidenceGeneration, ...]:
    """Return the sources whose failing users count anew."""
    place = (subject.environment, subject.release.id)
    generations = []
    if after.generation != window.generation:
        generations.append(EvidenceGeneration(*place, after.generation))
    client, reported = after.client, window.client
    if client is not None and reported is not None and client.generation != reported.generation:
        generations.append(EvidenceGeneration(*place, client.generation, Source.CLIENT))
    return tuple(generations)


def _overrun_s(began: float) -> float:
    """Return how long an evaluation took if that is too long; otherwise 0."""
    seconds = time.monotonic() - began
    return seconds if seconds > TIME_BOX_S else 0.0


def _warning_messages(
    subject: _Subject, moved: Release, window: Window, decision: Decision, overrun_s: float
) -> tuple[WebhookMessage, ...]:
    """Return the messages about checks that only warn and began to fail, trips and an overrun."""
    release = subject.release
    warnings = [new_warning(release.policy, subject.progress.decision, decision, window.trips)]
    if overrun_s:
        warnings.append(
            f"an evaluation took {overrun_s:.1f} s, longer than {TIME_BOX_S:.0f} s: "
            "this release is evaluated after all others"
        )
    warning = "; ".join(filter(None, warnings))
    if not warning:
        return ()
    return webhook_messages(
        subject.environment,
        release,
        replace(moved, updated_ms=subject.now_ms),
        actor=ACTOR,
        reason=warning,
        events=(Event.WARNED,),
    )


def _audit_verb(before: Release, decision: Decision) -> str:
    if decision.action is Action.HOLD and before.state is State.HOLDING:
        return "go_on"
    return str(decision.action)
