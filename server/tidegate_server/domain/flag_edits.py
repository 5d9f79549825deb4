"""Commits of edits to flags and to their targeting in an environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tidegate.model import Serve

from tidegate_server.domain import references, release_state_machine, validation
from tidegate_server.domain.change import Audit, Change, Delete, Guard, Put, Refresh, Stored
from tidegate_server.domain.field_differences import changed_fields, same
from tidegate_server.domain.flags import FlagDefinition, Targeting
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    environment_address,
    flag_address,
    guard,
    put,
    release_address,
    targeting_address,
)
from tidegate_server.domain.release import Release
from tidegate_server.domain.snapshot import flag_of
from tidegate_server.errors import AlreadyExists, NotPossible

RESTARTED = "The value of a compared variant was changed: the evidence starts again."


def new_flag(
    documents: ProjectDocuments, definition: FlagDefinition, *, actor: str, reason: str = ""
) -> Change:
    """Create a flag, with its first targeting in every environment.

    A definition without a salt gets the flag's key.
    """
    flag = replace(definition, salt=definition.salt or definition.key)
    validation.check_definition(flag)
    if flag.key in documents.flags:
        raise AlreadyExists(f"There is a flag {flag.key!r} already.")
    targeting = first_targeting(flag)
    writes: list[Put | Delete | Guard] = [Put(flag_address(flag.key), flag, 0)]
    for key, stored in documents.environments.items():
        writes.append(Put(targeting_address(key, flag.key), targeting, 0))
        writes.append(guard(environment_address(key), stored))
    shown = flag_of(flag, targeting, None, 2)
    return Change(
        scope=documents.project,
        writes=tuple(writes),
        refreshes=tuple(Refresh(key, flags={flag.key: shown}) for key in documents.environments),
        audit=Audit(
            actor,
            "flag.create",
            flag.key,
            "",
            reason,
            {"type": flag.type, "variants": ", ".join(each.key for each in flag.variants)},
        ),
    )


def first_targeting(definition: FlagDefinition) -> Targeting:
    """How a flag begins in an environment: on, and everyone gets the off variant.

    That is ``off`` where there is one, else a boolean flag's false, else the first variant.
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

    Where an active release's control or treatment gets another value, its evidence starts
    again within the same commit. A definition without a salt keeps the present one.

    Raises:
        Invalid: the definition cannot be, takes away a variant that is in use, or changes
            the type or the salt.
    """
    before = documents.flag(after.key)
    was: FlagDefinition = before.document
    flag = replace(after, salt=after.salt or was.salt)
    validation.check_definition(flag)
    validation.check_definition_change(was, flag, documents)
    where = flag_address(flag.key)
    if same(flag, was):
        return Change(scope=documents.project, writes=(guard(where, before),))
    writes: list[Put | Delete | Guard] = [put(where, before, flag)]
    if validation.removed_variants(was, flag):
        # A prerequisite that names one of them meanwhile must stop this.
        writes += references.guards_of_other_targetings(documents, flag.key)
    refreshes: list[Refresh] = []
    restarted: list[str] = []
    for environment, targetings in documents.targetings.items():
        if flag.key not in targetings:
            continue
        held = targetings[flag.key]
        writes.append(guard(targeting_address(environment, flag.key), held))
        active = documents.active_release(environment, flag.key)
        release: Release | None = active.document if active is not None else None
        if active is not None and release is not None:
            if _compares_otherwise(was, flag, release):
                release = release_state_machine.restart_evidence(release, now_ms, RESTARTED)
                restarted.append(release.id)
            writes.append(_moved(environment, active, release))
        version = before.revision + 1 + held.revision
        shown = flag_of(flag, held.document, release, version)
        refreshes.append(Refresh(environment, flags={flag.key: shown}))
    return Change(
        scope=documents.project,
        writes=tuple(writes),
        refreshes=tuple(refreshes),
        audit=Audit(
            actor,
            "flag.edit",
            flag.key,
            "",
            reason,
            {"changed": changed_fields(was, flag), "evidence_restarted": ", ".join(restarted)},
        ),
    )


def delete_flag(documents: ProjectDocuments, key: str, *, actor: str, reason: str = "") -> Change:
    """Remove a flag from every environment.

    Raises:
        NotPossible: another flag names it as a prerequisite, or a release of it is active.
    """
    before = documents.flag(key)
    users = references.users_of_flag(documents, key)
    if users:
        raise NotPossible(f"Flag {key!r} is used by {', '.join(users)}. End that first.")
    writes: list[Put | Delete | Guard] = [
        Delete(flag_address(key), before.revision),
        # A prerequisite that names the flag meanwhile must stop this.
        *references.guards_of_other_targetings(documents, key),
    ]
    refreshes: list[Refresh] = []
    for environment, targetings in documents.targetings.items():
        if key in targetings:
            held = targetings[key]
            writes.append(Delete(targeting_address(environment, key), held.revision))
            ended = (key,) if held.document.kill is not None else ()
            refreshes.append(Refresh(environment, flags={key: None}, restored=ended))
    return Change(
        scope=documents.project,
        writes=tuple(writes),
        refreshes=tuple(refreshes),
        audit=Audit(actor, "flag.delete", key, "", reason, {"type": before.document.type}),
    )


def edit_targeting(
    documents: ProjectDocuments, environment: str, after: Targeting, *, actor: str, reason: str = ""
) -> Change:
    """Change a flag's targeting in one environment.

    ``kill`` and ``release`` of ``after`` are not looked at: they stay as they are.

    Raises:
        Invalid: the targeting cannot be, or takes the ground from under an active release.
    """
    definition = documents.flag(after.flag)
    before = documents.targeting(environment, after.flag)
    was: Targeting = before.document
    targeting = replace(after, kill=was.kill, release=was.release)
    validation.check_targeting(definition.document, targeting, documents, environment)
    active = documents.active_release(environment, after.flag)
    if active is not None:
        validation.check_released_rule(targeting, active.document)
    where = targeting_address(environment, after.flag)
    if same(targeting, was):
        return Change(scope=documents.project, writes=(guard(where, before),))
    writes: list[Put | Delete | Guard] = [
        put(where, before, targeting),
        guard(flag_address(after.flag), definition),
        *references.guards_of_targeting(documents, environment, targeting),
    ]
    release: Release | None = None
    if active is not None:
        release = active.document
        writes.append(guard(release_address(environment, active.document), active))
    version = definition.revision + before.revision + 1
    shown = flag_of(definition.document, targeting, release, version)
    return Change(
        scope=documents.project,
        writes=tuple(writes),
        refreshes=(Refresh(environment, flags={after.flag: shown}),),
        audit=Audit(
            actor,
            "targeting.edit",
            after.flag,
            environment,
            reason,
            {
                "changed": changed_fields(was, targeting),
                "enabled_before": was.enabled,
                "enabled": targeting.enabled,
            },
        ),
    )


def _compares_otherwise(before: FlagDefinition, after: FlagDefinition, release: Release) -> bool:
    """Whether the control or the treatment of a release has got another value."""
    old = _values(before)
    new = _values(after)
    return any(not same(old[key], new[key]) for key in (release.control, release.treatment))


def _values(definition: FlagDefinition) -> Mapping[str, object]:
    return {variant.key: variant.value for variant in definition.variants}


def _moved(environment: str, before: Stored, after: Release) -> Put | Guard:
    where = release_address(environment, after)
    return guard(where, before) if after is before.document else put(where, before, after)
