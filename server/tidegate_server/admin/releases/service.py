"""Starting releases, acting on them, and showing how far they have come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tidegate.model import Opening

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import document_of, one_flag, whole_project
from tidegate_server.admin.releases.schemas import ActionRequest, ReleaseRequest
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain import release_commits, release_state_machine
from tidegate_server.domain.change import Address, Change, Kind, Stored
from tidegate_server.domain.release import Approval, Release
from tidegate_server.domain.release_start import start_release
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.domain.tokens import Token
from tidegate_server.store import Store
from tidegate_server.web import token_secrets
from tidegate_server.web.access_control import actor_name
from tidegate_server.web.etags import check_if_match

Transition = Callable[[Release, int, ActionRequest], Release]


@dataclass(frozen=True, slots=True)
class PresentStage:
    """The stage that a release is in, as one reads it."""

    number: int
    of: int
    name: str
    percentage: float
    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """A release with what is known about it."""

    release: Release
    environment: str
    revision: int
    progress: Progress | None
    progress_revision: int

    @property
    def present_stage(self) -> PresentStage:
        """The stage it is in."""
        stages = self.release.policy.stages
        stage = stages[self.release.stage - 1]
        percentage = 0.0 if self.release.closed else self.release.policy.opened(self.release.stage)
        return PresentStage(self.release.stage, len(stages), stage.name, percentage, stage.segments)

    @property
    def openings(self) -> tuple[Opening, ...]:
        """Whom its stages have opened so far."""
        return present_openings(self.release)


TRANSITIONS: Mapping[str, Transition] = {
    "pause": lambda release, now_ms, asked: release_state_machine.pause(
        release, now_ms, asked.reason, stop=asked.stop, by=Initiator.PERSON
    ),
    "resume": lambda release, now_ms, asked: release_state_machine.resume(
        release, now_ms, asked.reason, by=Initiator.PERSON
    ),
    "begin": lambda release, now_ms, asked: release_state_machine.begin(
        release, now_ms, asked.reason, by=Initiator.PERSON
    ),
    "retry": lambda release, now_ms, asked: release_state_machine.retry(
        release, now_ms, asked.reason, by=Initiator.PERSON
    ),
    "advance": lambda release, now_ms, asked: release_state_machine.advance(
        release, now_ms, asked.reason, by=Initiator.PERSON
    ),
    "rollback": lambda release, now_ms, asked: release_state_machine.roll_back(
        release, now_ms, asked.reason, by=Initiator.PERSON
    ),
    "complete": lambda release, now_ms, asked: release_state_machine.complete(
        release, now_ms, asked.reason, by=Initiator.PERSON
    ),
}
"""What people may do to a release, by the word in the address."""

DONE = {
    "begin": "Begun",
    "retry": "Retried",
    "pause": "Paused",
    "resume": "Resumed",
    "advance": "Advanced",
    "rollback": "Rolled back",
    "complete": "Completed",
}


def start(
    store: Store, project: str, environment: str, asked: ReleaseRequest, actor: str
) -> Stored:
    """Start a release; raises what ``release_changes.start`` raises."""
    id = f"rel_{token_secrets.new_id()}"

    def make() -> Change:
        return start_release(
            whole_project(store, project),
            environment,
            release_id=id,
            flag=asked.flag,
            treatment=asked.treatment,
            policy=asked.policy,
            control=asked.control,
            rule=asked.rule,
            reason=asked.reason,
            draft=asked.draft,
            actor=actor,
            now_ms=store.now_ms(),
        )

    return commit_with_retry(store, make).stored(Address(Kind.RELEASE, id, environment))


def approve(
    store: Store,
    project: str,
    environment: str,
    id: str,
    asked: ActionRequest,
    approver: Token,
) -> Stored:
    """Note a person's approval; raises as ``act`` does."""

    def agree(release: Release, now_ms: int, said: ActionRequest) -> Release:
        approval = Approval(actor_name(approver), approver.name, now_ms, asked.reason)
        return release_state_machine.approve(release, approval)

    return _move(store, project, environment, id, "approve", agree, asked, actor_name(approver))


def act(
    store: Store,
    project: str,
    environment: str,
    id: str,
    action: str,
    asked: ActionRequest,
    actor: str,
) -> Stored:
    """Let a person move a release.

    Raises:
        NotFound: there is no such release.
        NotPossible: its state does not allow it.
        StaleRevision: the request's ``If-Match`` names an older revision.
    """
    said = ActionRequest(asked.reason or f"{DONE[action]} by {actor}.", asked.stop)
    return _move(
        store, project, environment, id, action, TRANSITIONS[action], said, actor, asked.reason
    )


def _move(
    store: Store,
    project: str,
    environment: str,
    id: str,
    action: str,
    transition: Transition,
    said: ActionRequest,
    actor: str,
    reason: str | None = None,
) -> Stored:
    address = Address(Kind.RELEASE, id, environment)

    def make() -> Change:
        before = document_of(store, project, address)
        check_if_match(before.revision, f"release {id}")
        release: Release = before.document
        after = transition(release, store.now_ms(), said)
        return release_commits.release_change(
            one_flag(store, project, environment, release.flag),
            environment,
            before,
            after,
            actor=actor,
            action=f"release.{action}",
            reason=said.reason if reason is None else reason,
        )

    return commit_with_retry(store, make).stored(address)


def view(store: Store, project: str, environment: str, id: str) -> ReleaseView:
    """A release and its progress, read together; raises ``NotFound``."""
    addresses = [Address(Kind.RELEASE, id, environment), Address(Kind.PROGRESS, id, environment)]
    release, progress = store.get_many(project, addresses)
    if release is None:
        release = document_of(store, project, addresses[0])
    return _view(environment, release, progress)


def view_of(store: Store, project: str, environment: str, release: Stored) -> ReleaseView:
    """A release that was just written, with its progress."""
    id = release.document.id
    return _view(environment, release, store.get(project, Address(Kind.PROGRESS, id, environment)))


def views(store: Store, project: str, environment: str, found: list[Stored]) -> list[ReleaseView]:
    """Releases with their progress."""
    if not found:
        return []
    addresses = [Address(Kind.PROGRESS, each.document.id, environment) for each in found]
    progress = store.get_many(project, addresses)
    return [
        _view(environment, release, each) for release, each in zip(found, progress, strict=True)
    ]


def _view(environment: str, release: Stored, progress: Stored | None) -> ReleaseView:
    return ReleaseView(
        release=release.document,
        environment=environment,
        revision=release.revision,
        progress=progress.document if progress is not None else None,
        progress_revision=progress.revision if progress is not None else 0,
    )
