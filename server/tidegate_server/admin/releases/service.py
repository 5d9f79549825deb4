"""Start releases, act on them, and read how far they have come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tidegate.model import Opening

from tidegate_server.admin.action_schemas import ActionRequest
from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import (
    read_document,
    read_flag_documents,
    read_project_documents,
)
from tidegate_server.admin.releases.schemas import ReleaseRequest
from tidegate_server.decisions.present_progress import (
    PresentProgress,
    last_decision,
    present_progress,
)
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain import release_commits, release_start, release_state_machine
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Address, Change, Stored
from tidegate_server.domain.flags import FlagDefinition, Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.ladder import Rung, ladder, open_percentage
from tidegate_server.domain.policy_risks import release_risks, stored_policy_risks
from tidegate_server.domain.project_documents import flag_address, targeting_address
from tidegate_server.domain.release import Approval, Release
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.domain.safe_variants import opened_variant_problems
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.errors import FieldProblem
from tidegate_server.store import Store
from tidegate_server.web import token_secrets
from tidegate_server.web.etags import IfMatch


@dataclass(frozen=True, slots=True)
class PresentStage:
    """The stage that a release is in."""

    number: int
    of: int
    name: str
    percentage: float
    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReleaseWithProgress(Stored):
    """A stored release with its progress, and what decides now what its flag serves.

    Attributes:
        environment: where it runs.
        progress: None before the first evaluation.
        progress_revision: the revision of the progress, 0 if there is none.
        warnings: the risks that it takes.
        ladder: as ``ladder.ladder`` returns it; empty if the release has ended.
        open_now: as ``ladder.open_percentage`` returns it.
    """

    environment: str
    progress: PresentProgress | None
    progress_revision: int
    warnings: tuple[FieldProblem, ...]
    ladder: tuple[Rung, ...]
    open_now: float | None

    @property
    def present_stage(self) -> PresentStage:
        """The stage that the release is in."""
        release: Release = self.document
        stages = release.policy.stages
        stage = stages[release.stage - 1]
        percentage = 0.0 if release.closed else release.policy.opened(release.stage)
        return PresentStage(release.stage, len(stages), stage.name, percentage, stage.segments)

    @property
    def openings(self) -> tuple[Opening, ...]:
        """What its stages have opened so far."""
        return present_openings(self.document)


@dataclass(frozen=True, slots=True)
class ReleaseAction:
    """What a person may do to a release.

    Attributes:
        transition: a function of ``release_state_machine``.
        past: the default reason begins with this word.
    """

    transition: Callable[..., Release]
    past: str


ACTIONS: Mapping[str, ReleaseAction] = {
    "begin": ReleaseAction(release_state_machine.begin, "Begun"),
    "retry": ReleaseAction(release_state_machine.retry, "Retried"),
    "pause": ReleaseAction(release_state_machine.pause, "Paused"),
    "resume": ReleaseAction(release_state_machine.resume, "Resumed"),
    "advance": ReleaseAction(release_state_machine.advance, "Advanced"),
    "rollback": ReleaseAction(release_state_machine.roll_back, "Rolled back"),
    "complete": ReleaseAction(release_state_machine.complete, "Completed"),
}


def start_release(
    store: Store, project: str, environment: str, request: ReleaseRequest, caller: Caller
) -> Stored:
    """Start a release; raises what ``release_start.start_release`` raises."""
    id = f"rel_{token_secrets.new_id()}"

    def make_change() -> Change:
        return release_start.start_release(
            read_project_documents(store, project),
            environment,
            release_id=id,
            flag=request.flag,
            treatment=request.treatment,
            policy=request.policy,
            control=request.control,
            rule=request.rule,
            reason=request.reason,
            draft=request.draft,
            actor=caller.name,
            starter=caller.answerable,
            now_ms=store.now_ms(),
        )

    return commit_with_retry(store, make_change).stored(Address(Kind.RELEASE, id, environment))


def act_on_release(
    store: Store,
    project: str,
    environment: str,
    id: str,
    action: str,
    request: ActionRequest,
    caller: Caller,
    if_match: IfMatch,
) -> Stored:
    """Move a release to another state on behalf of a person.

    Args:
        store: where the release is.
        project, environment, id: the release.
        action: a key of ``ACTIONS``, or ``approve``.
        request: the person's reason.
        caller: the person.
        if_match: the revisions that may be changed.

    Raises:
        NotFound: there is no such release.
        NotPossible: its state does not allow it.
        StaleRevision: ``if_match`` names another revision.
    """
    address = Address(Kind.RELEASE, id, environment)

    def make_change() -> Change:
        before = read_document(store, project, address)
        if_match.check(before.revision, f"release {id}")
        return action_change(store, project, environment, before, action, request, caller)

    return commit_with_retry(store, make_change).stored(address)


def action_change(
    store: Store,
    project: str,
    environment: str,
    before: Stored,
    action: str,
    request: ActionRequest,
    caller: Caller,
) -> Change:
    """Return the change that moves a release to another state; raises as ``act_on_release``."""
    release: Release = before.document
    actor, now_ms = caller.name, store.now_ms()
    if action == "approve":
        approval = Approval(actor, caller.known_as, now_ms, request.reason, caller.answerable)
        after = release_state_machine.approve(release, approval)
    else:
        after = _transition(action, request, actor)(release, now_ms)
    return release_commits.release_change(
        read_flag_documents(store, project, environment, release.flag),
        environment,
        before,
        after,
        actor=actor,
        action=f"release.{action}",
        reason=request.reason,
    )


def _transition(
    action: str, request: ActionRequest, actor: str
) -> Callable[[Release, int], Release]:
    transition, past = ACTIONS[action].transition, ACTIONS[action].past
    options = {"stop": True} if request.stop else {}
    reason = request.reason or f"{past} by {actor}."
    return partial(transition, reason=reason, by=Initiator.PERSON, **options)


def read_release(store: Store, project: str, environment: str, id: str) -> ReleaseWithProgress:
    """Return a release and its progress, read together; raises ``NotFound``."""
    release = read_document(store, project, Address(Kind.RELEASE, id, environment))
    [joined] = with_progress(store, project, environment, [release])
    return joined


def with_progress(
    store: Store, project: str, environment: str, releases: Sequence[Stored]
) -> list[ReleaseWithProgress]:
    """Return releases with their progress."""
    if not releases:
        return []
    addresses = [
        address
        for each in releases
        for address in (
            Address(Kind.PROGRESS, each.document.id, environment),
            targeting_address(environment, each.document.flag),
            flag_address(each.document.flag),
        )
    ]
    found = store.get_many(project, addresses)
    now_ms = store.now_ms()
    return [
        _joined(environment, release, *found[3 * number : 3 * number + 3], now_ms=now_ms)
        for number, release in enumerate(releases)
    ]


def _joined(
    environment: str,
    stored: Stored,
    stored_progress: Stored | None,
    stored_targeting: Stored | None,
    flag: Stored | None,
    *,
    now_ms: int,
) -> ReleaseWithProgress:
    release: Release = stored.document
    progress: Progress | None = stored_progress.document if stored_progress is not None else None
    targeting: Targeting | None = (
        stored_targeting.document if stored_targeting is not None else None
    )
    active = targeting is not None and targeting.release == release.id
    return ReleaseWithProgress(
        document=release,
        revision=stored.revision,
        updated_ms=stored.updated_ms,
        environment=environment,
        progress=present_progress(release, progress) if progress is not None else None,
        progress_revision=stored_progress.revision if stored_progress is not None else 0,
        warnings=_warnings(release, flag, targeting if active else None),
        ladder=ladder(targeting, release, last_decision(progress), now_ms)
        if targeting is not None and active
        else (),
        open_now=open_percentage(targeting, release) if targeting is not None else None,
    )


def _warnings(
    release: Release, flag: Stored | None, targeting: Targeting | None
) -> tuple[FieldProblem, ...]:
    """Return the risks of a release; ``targeting`` is None if the release has ended."""
    definition: FlagDefinition | None = flag.document if flag is not None else None
    opened: Iterable[FieldProblem] = ()
    if definition is not None and targeting is not None:
        opened = opened_variant_problems(definition, targeting, release.treatment, "/treatment")
    return (
        *opened,
        *stored_policy_risks(release.policy),
        *release_risks(
            release.policy, client_side=definition is not None and definition.client_side
        ),
    )
