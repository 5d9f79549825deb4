"""Promote flags: serve in one environment what they serve in another; and copy a flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidegate_server.domain import flag_edits, flag_validation
from tidegate_server.domain.change import Audit, Change, Guard, Put, Refresh, Stored
from tidegate_server.domain.flags import FlagDefinition, Targeting
from tidegate_server.domain.layered_mapping import with_changes
from tidegate_server.domain.planned_operations import merged
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    guard,
    targeting_address,
)
from tidegate_server.domain.snapshot import snapshot_entry
from tidegate_server.domain.targeting_index import updated_index
from tidegate_server.errors import FieldProblem, Invalid, NotPossible, TidegateError


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promotion does to one flag.

    Attributes:
        flag: its key.
        source, target: its targetings as read.
        after: its targeting in the target; None: it cannot be promoted.
        problems: why it cannot be promoted.
    """

    flag: str
    source: Stored
    target: Stored
    after: Targeting | None
    problems: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class PromotionPlan:
    """What a promotion would do to each flag, in the order in which they were named.

    ``change`` is the commit of all of it; None: a flag cannot be promoted, or nothing differs.
    """

    flags: tuple[Promotion, ...]
    change: Change | None


def promote(
    documents: ProjectDocuments,
    source: str,
    target: str,
    flags: Sequence[str],
    *,
    actor: str,
    now_ms: int,
    reason: str = "",
) -> PromotionPlan:
    """Let flags serve in an environment what they serve in another one, in one commit.

    Whether they are enabled, their rules, prerequisites, default, off and kill variants are copied.
    A kill and a release stay in their environment. The commit guards what was read of both.

    Args:
        documents: the project as read.
        source, target: the keys of two environments.
        flags: the flags' keys.
        actor: who.
        now_ms: the time.
        reason: why.

    Raises:
        NotFound: there is no such environment or flag.
        Invalid: both environments are the same, or a flag is named twice or archived.
    """
    documents.environment(source)
    documents.environment(target)
    _check_named(documents, source, target, flags)
    found: dict[str, Promotion] = {}
    changes: list[Change] = []
    waiting = list(flags)
    refused: dict[str, TidegateError] = {}
    while waiting:
        # One flag may be allowed only after another one: try again as long as some are.
        done = []
        for key in waiting:
            was = documents.targeting(target, key)
            wanted = replace(
                documents.targeting(source, key).document, kill=None, release=None, disabled=None
            )
            try:
                change = flag_edits.edit_targeting(
                    documents, target, wanted, actor=actor, now_ms=now_ms, reason=reason
                )
            except (Invalid, NotPossible) as error:
                refused[key] = error
                continue
            after = _written(change, target, key) or was.document
            found[key] = Promotion(key, documents.targeting(source, key), was, after)
            documents = _with_targeting(documents, target, key, after)
            changes.append(_with_source(change, documents, source, key))
            done.append(key)
        if not done:
            break
        waiting = [key for key in waiting if key not in done]
    for key in waiting:
        refusal = refused[key]
        problems = refusal.fields or (FieldProblem("", refusal.message),)
        found[key] = Promotion(
            key,
            documents.targeting(source, key),
            documents.targeting(target, key),
            None,
            tuple(problems),
        )
    promotions = tuple(found[key] for key in flags)
    writes = any(isinstance(write, Put) for change in changes for write in change.writes)
    if waiting or not writes:
        return PromotionPlan(promotions, None)
    details = {"from": source, "flags": ", ".join(flags[:20]), "count": len(flags)}
    audit = Audit(actor, "flag.promote", flags[0], target, reason, details)
    change = merged(changes, audit)
    return PromotionPlan(promotions, replace(change, audit=audit))


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """A flag to make of another one.

    Attributes:
        key: of the new flag.
        name: of the new flag; None: that of the flag it is copied from.
        same_buckets: whether users get the same sides of splits and releases as with that flag.
    """

    key: str
    name: str | None = None
    same_buckets: bool = False


def copy_flag(
    documents: ProjectDocuments,
    flag: str,
    request: CopyRequest,
    *,
    actor: str,
    reason: str = "",
) -> Change:
    """Create a flag that serves in every environment what another one serves.

    A kill, a release and an archive are not copied.

    Raises:
        NotFound: there is no such flag.
        AlreadyExists: there is a flag with the new key.
        Invalid: the new key is not valid.
    """
    original = documents.flag(flag)
    definition: FlagDefinition = replace(
        original.document,
        key=request.key,
        name=original.document.name if request.name is None else request.name,
        salt=original.document.salt if request.same_buckets else request.key,
        archived=None,
    )
    change = flag_edits.new_flag(documents, definition, actor=actor, reason=reason)
    targetings = {
        environment: replace(
            documents.targeting(environment, flag).document,
            flag=request.key,
            kill=None,
            release=None,
            disabled=None,
        )
        for environment in documents.environments
    }
    for environment, targeting in targetings.items():
        flag_validation.check_targeting(definition, targeting, documents, environment)
    assert change.audit is not None
    return replace(
        change,
        writes=tuple(_copied(write, targetings) for write in change.writes)
        + tuple(
            guard(targeting_address(environment, flag), documents.targeting(environment, flag))
            for environment in documents.environments
        ),
        refreshes=tuple(
            Refresh(
                environment,
                flags={request.key: snapshot_entry(definition, targeting, None, 2)},
            )
            for environment, targeting in targetings.items()
        ),
        audit=replace(change.audit, action="flag.copy", details={"from": flag}),
    )


def _copied(write: object, targetings: dict[str, Targeting]) -> Put | Guard:
    assert isinstance(write, Put | Guard)
    if isinstance(write, Put) and isinstance(write.document, Targeting):
        return replace(write, document=targetings[write.address.environment])
    return write


def _check_named(
    documents: ProjectDocuments, source: str, target: str, flags: Sequence[str]
) -> None:
    if source == target:
        message = "Both environments are the same; name the one to promote from."
        raise Invalid(message, FieldProblem("/from", message))
    seen = set()
    for number, key in enumerate(flags):
        definition: FlagDefinition = documents.flag(key).document
        message = ""
        if key in seen:
            message = f"Flag {key!r} is named twice; name it once."
        elif definition.archived is not None:
            message = f"Flag {key!r} is archived; unarchive it first."
        if message:
            raise Invalid(message, FieldProblem(f"/flags/{number}", message))
        seen.add(key)


def _written(change: Change, environment: str, flag: str) -> Targeting | None:
    address = targeting_address(environment, flag)
    for write in change.writes:
        if isinstance(write, Put) and write.address == address:
            document: Targeting = write.document
            return document
    return None


def _with_targeting(
    documents: ProjectDocuments, environment: str, flag: str, after: Targeting
) -> ProjectDocuments:
    """Return the documents as a change leaves them; revisions stay those that are stored."""
    stored = documents.targeting(environment, flag)
    before = documents.targetings[environment]
    now = with_changes(before, {flag: replace(stored, document=after)})
    index = updated_index(documents.index(environment), before, now, {flag})
    return replace(
        documents,
        targetings={**documents.targetings, environment: now},
        indexes={**documents.indexes, environment: index},
    )


def _with_source(change: Change, documents: ProjectDocuments, source: str, flag: str) -> Change:
    read = guard(targeting_address(source, flag), documents.targeting(source, flag))
    return replace(change, writes=(*change.writes, read))
