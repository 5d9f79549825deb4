"""Changes to flags and to their targeting in an environment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tidegate.model import Serve

from tidegate_server.domain import (
    flag_validation,
    references,
    release_state_machine,
    safe_variants,
)
from tidegate_server.domain.change import Change, Delete, Guard, KindGuard, Put, Refresh, Stored
from tidegate_server.domain.document_changes import (
    delete_document_change,
    put_document_change,
    unchanged,
)
from tidegate_server.domain.field_differences import same
from tidegate_server.domain.flags import (
    Archived,
    Disabled,
    FlagDefinition,
    Targeting,
    variant_values,
)
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    flag_address,
    guard,
    kind_guards,
    put_or_guard,
    release_address,
    targeting_address,
)
from tidegate_server.domain.release import Release
from tidegate_server.domain.snapshot import snapshot_entry, snapshot_flag
from tidegate_server.errors import AlreadyExists, NotPossible

RESTARTED = "The value of a compared variant changed, so the evidence starts again."


def new_flag(
    documents: ProjectDocuments, definition: FlagDefinition, *, actor: str, reason: str = ""
) -> Change:
    """Create a flag, with its first targeting in every environment.

    A definition without a salt gets the flag's key as its salt. A new flag is not archived.

    Raises:
        Invalid: the definition is not valid.
        AlreadyExists: the project has a flag with this key.
    """
    flag = replace(definition, salt=definition.salt or definition.key, archived=None)
    flag_validation.check_definition(flag)
    if flag.key in documents.flags:
        raise AlreadyExists(f"There is a flag {flag.key!r} already.")
    targeting = first_targeting(flag)
    compiled = snapshot_flag(flag, targeting, None, 2)
    return put_document_change(
        documents.project,
        flag_address(flag.key),
        None,
        flag,
        actor=actor,
        reason=reason,
        details={"type": flag.type, "variants": ", ".join(each.key for each in flag.variants)},
        writes=[
            Put(targeting_address(key, flag.key), targeting, 0) for key in documents.environments
        ],
        refreshes=[Refresh(key, flags={flag.key: compiled}) for key in documents.environments],
        kind_guards=kind_guards(documents, Kind.ENVIRONMENT),
    )


def first_targeting(definition: FlagDefinition) -> Targeting:
    """Return a new flag's targeting: enabled, and serving the off variant to everyone.

    The off variant is the variant ``off`` if there is one, else a boolean flag's false, else
    the first variant.
    """
    keys = [variant.key for variant in definition.variants]
    off = keys[0]
    if "off" in keys:
        off = "off"
    elif definition.type == "boolean":
        off = next((each.key for each in definition.variants if each.value is False), off)
    return Targeting(flag=definition.key, enabled=True, off_variant=off, default=Serve(variant=off))


def edit_flag(
    documents: ProjectDocuments, after: FlagDefinition, *, actor: str, now_ms: int, reason: str = ""
) -> Change:
    """Change a flag's definition, in every environment at once.

    If the value of an active release's control or treatment changes, the same commit restarts
    that release's evidence. A definition without a salt keeps the present one. ``archived`` of
    ``after`` is ignored.

    Raises:
        Invalid: the definition is not valid, removes a variant that is in use, or changes the
            type or the salt.
    """
    before = documents.flag(after.key)
    was: FlagDefinition = before.document
    flag = replace(after, salt=after.salt or was.salt, archived=was.archived)
    flag_validation.check_definition(flag)
    flag_validation.check_definition_change(was, flag, documents)
    address = flag_address(flag.key)
    if same(flag, was):
        return unchanged(documents.project, address, before)
    writes: list[Put | Delete | Guard] = []
    refreshes: list[Refresh] = []
    restarted: list[str] = []
    others = [Kind.ENVIRONMENT]
    if flag_validation.removed_variants(was, flag):
        # Guard every targeting that could name one of them as a prerequisite at this moment.
        others.append(Kind.TARGETING)
    for environment, targetings in documents.targetings.items():
        if flag.key not in targetings:
            continue
        targeting = targetings[flag.key]
        writes.append(guard(targeting_address(environment, flag.key), targeting))
        release: Release | None = None
        active = documents.active_release(environment, flag.key)
        if active is not None:
            release = active.document
            if _compared_value_changed(was, flag, release):
                release = release_state_machine.restart_evidence(release, now_ms, RESTARTED)
                restarted.append(release.id)
            writes.append(put_or_guard(release_address(environment, release), active, release))
        version = before.revision + 1 + targeting.revision
        compiled = snapshot_entry(flag, targeting.document, release, version)
        refreshes.append(Refresh(environment, flags={flag.key: compiled}))
    return put_document_change(
        documents.project,
        address,
        before,
        flag,
        actor=actor,
        reason=reason,
        details={"evidence_restarted": ", ".join(restarted)},
        writes=writes,
        refreshes=refreshes,
        kind_guards=kind_guards(documents, *others),
    )


def archive_flag(
    documents: ProjectDocuments, key: str, *, actor: str, now_ms: int, reason: str = ""
) -> Change:
    """Take a flag out of every snapshot: applications get the default in their code.

    Its definition, its targeting and its history stay. To archive an archived flag changes
    nothing.

    Raises:
        NotFound: there is no such flag.
        NotPossible: it is a prerequisite of another flag, or has an active release.
    """
    before = documents.flag(key)
    was: FlagDefinition = before.document
    if was.archived is not None:
        return unchanged(documents.project, flag_address(key), before)
    users = references.users_of_flag(documents, key)
    if users:
        raise NotPossible(
            f"Flag {key!r} cannot be archived: it is used by {', '.join(users)}. End that first."
        )
    flag = replace(was, archived=Archived(actor, reason, now_ms))
    # Guard every targeting that could name the flag as a prerequisite at this moment.
    others = kind_guards(documents, Kind.TARGETING, Kind.ENVIRONMENT)
    return _archive_change(documents, before, flag, "flag.archive", actor, reason, others)


def unarchive_flag(
    documents: ProjectDocuments, key: str, *, actor: str, reason: str = ""
) -> Change:
    """Serve an archived flag again, as its targeting in each environment says.

    What it uses is still there: an archived flag keeps its prerequisites and segments in use.

    Raises:
        NotFound: there is no such flag.
    """
    before = documents.flag(key)
    if before.document.archived is None:
        return unchanged(documents.project, flag_address(key), before)
    flag = replace(before.document, archived=None)
    others = kind_guards(documents, Kind.ENVIRONMENT)
    return _archive_change(documents, before, flag, "flag.unarchive", actor, reason, others)


def _archive_change(
    documents: ProjectDocuments,
    before: Stored,
    flag: FlagDefinition,
    action: str,
    actor: str,
    reason: str,
    others: Iterable[KindGuard],
) -> Change:
    writes: list[Put | Delete | Guard] = []
    refreshes: list[Refresh] = []
    for environment, targetings in documents.targetings.items():
        if flag.key not in targetings:
            continue
        targeting = targetings[flag.key]
        writes.append(guard(targeting_address(environment, flag.key), targeting))
        version = before.revision + 1 + targeting.revision
        compiled = snapshot_entry(flag, targeting.document, None, version)
        killed = (flag.key,) if targeting.document.kill is not None else ()
        refreshes.append(
            Refresh(
                environment,
                flags={flag.key: compiled},
                killed=killed if compiled is not None else (),
                restored=killed if compiled is None else (),
            )
        )
    return put_document_change(
        documents.project,
        flag_address(flag.key),
        before,
        flag,
        actor=actor,
        reason=reason,
        writes=writes,
        refreshes=refreshes,
        kind_guards=others,
        action=action,
    )


def delete_flag(
    documents: ProjectDocuments,
    key: str,
    *,
    actor: str,
    reason: str = "",
    force: bool = False,
    still_asked: Sequence[str] = (),
) -> Change:
    """Delete a flag in every environment.

    Args:
        documents: the project as read.
        key: the flag's key.
        actor: who.
        reason: why.
        force: delete it even if it is not archived, or applications still ask for it.
        still_asked: who asked for it lately, in sentences.

    Raises:
        NotFound: there is no such flag.
        NotPossible: it is not archived or still asked for, is a prerequisite of another flag, or
            has an active release; ``force`` helps against the first two only.
    """
    before = documents.flag(key)
    users = references.users_of_flag(documents, key)
    if before.document.archived is None and not force and not users:
        raise NotPossible(
            f"Flag {key!r} is not archived, so applications may still use it. Archive it first, "
            "and delete it when nothing misses it; or delete it with force."
        )
    if still_asked and not force and not users:
        raise NotPossible(
            f"Applications still ask for flag {key!r}. {' '.join(still_asked)} Remove it from "
            "their code first; or delete it with force."
        )
    writes: list[Put | Delete | Guard] = []
    refreshes: list[Refresh] = []
    for environment, targetings in documents.targetings.items():
        if key in targetings:
            targeting = targetings[key]
            where = targeting_address(environment, key)
            writes.append(Delete(where, targeting.revision, before=targeting.document))
            restored = (key,) if targeting.document.kill is not None else ()
            refreshes.append(Refresh(environment, flags={key: None}, restored=restored))
    return delete_document_change(
        documents.project,
        flag_address(key),
        before,
        actor=actor,
        reason=reason,
        details={
            "type": before.document.type,
            "forced": before.document.archived is None or bool(still_asked),
        },
        used_by=users,
        writes=writes,
        refreshes=refreshes,
        # Guard every targeting that could name the flag as a prerequisite at this moment.
        kind_guards=kind_guards(documents, Kind.TARGETING, Kind.ENVIRONMENT),
    )


def edit_targeting(
    documents: ProjectDocuments,
    environment: str,
    after: Targeting,
    *,
    actor: str,
    now_ms: int,
    reason: str = "",
) -> Change:
    """Change a flag's targeting in one environment.

    ``kill``, ``release`` and ``disabled`` of ``after`` are ignored. The first two do not
    change; the last one follows from ``enabled``.

    Raises:
        Invalid: the targeting is not valid, or changes what an active release depends on.
    """
    definition = documents.flag(after.flag)
    before = documents.targeting(environment, after.flag)
    was: Targeting = before.document
    disabled = was.disabled
    if after.enabled or was.enabled:
        disabled = None if after.enabled else Disabled(actor, reason, now_ms)
    targeting = replace(after, kill=was.kill, release=was.release, disabled=disabled)
    flag_validation.check_targeting(definition.document, targeting, documents, environment)
    active = documents.active_release(environment, after.flag)
    release: Release | None = active.document if active is not None else None
    flag_validation.check_targeting_change(
        definition.document, was, targeting, documents, environment, release
    )
    version = definition.revision + before.revision + 1
    compiled = snapshot_entry(definition.document, targeting, release, version)
    writes: list[Put | Delete | Guard] = [
        guard(flag_address(after.flag), definition),
        *references.guards_of_targeting(documents, environment, targeting),
    ]
    others: list[KindGuard] = []
    if safe_variants.served_by_kills(targeting).keys() - safe_variants.served_by_kills(was).keys():
        # Guard every targeting that could require what a kill serves, at this moment.
        others = [KindGuard(Kind.TARGETING, environment, documents.read)]
    if active is not None:
        writes.append(guard(release_address(environment, active.document), active))
    return put_document_change(
        documents.project,
        targeting_address(environment, after.flag),
        before,
        targeting,
        actor=actor,
        reason=reason,
        environment=environment,
        details={"enabled_before": was.enabled, "enabled": targeting.enabled},
        writes=writes,
        refreshes=[Refresh(environment, flags={after.flag: compiled})],
        kind_guards=others,
    )


def _compared_value_changed(
    before: FlagDefinition, after: FlagDefinition, release: Release
) -> bool:
    """Return whether the value of a release's control or treatment changed."""
    old, new = variant_values(before), variant_values(after)
    return any(not same(old[key], new[key]) for key in (release.control, release.treatment))
