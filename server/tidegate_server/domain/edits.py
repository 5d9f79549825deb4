"""Commits of what people configure: projects, environments, flags, segments, policies.

Every function takes the documents as they were read and gives the one commit that does the
edit, or raises. The present revisions are those of the documents given: who answers an
``If-Match`` compares it with them first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from tidegate.model import Flag, Serve

from tidegate_server.domain import releases, validation
from tidegate_server.domain.change import (
    Address,
    Audit,
    Change,
    Delete,
    Guard,
    Kind,
    Put,
    Refresh,
    Stored,
)
from tidegate_server.domain.contents import (
    Contents,
    environment_address,
    flag_address,
    guard,
    policy_address,
    put,
    release_address,
    segment_address,
    targeting_address,
)
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition, Targeting
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.domain.release import Release
from tidegate_server.domain.snapshot import flag_of, segment_of
from tidegate_server.errors import AlreadyExists, NotPossible

Write = Put | Delete | Guard


def new_project(project: Project, *, actor: str, reason: str = "") -> Change:
    """Register a project (scope ``""``). Its environments are commits of their own."""
    validation.check_key(project.key)
    return Change(
        scope="",
        writes=(Put(Address(Kind.PROJECT, project.key), project, 0),),
        audit=Audit(actor, "project.create", project.key, "", reason),
    )


def edit_project(before: Stored, after: Project, *, actor: str, reason: str = "") -> Change:
    """Change a project's name or description (scope ``""``)."""
    where = Address(Kind.PROJECT, before.document.key)
    return _edit("", where, before, replace(after, key=before.document.key), actor, reason)


def new_environment(
    contents: Contents, environment: Environment, *, actor: str, reason: str = ""
) -> Change:
    """Add an environment; every flag begins there with its first targeting."""
    key = environment.key
    validation.check_key(key)
    if key in contents.environments:
        raise AlreadyExists(f"There is an environment {key!r} already.")
    writes: list[Write] = [Put(environment_address(key), environment, 0)]
    snapshot: dict[str, Flag | None] = {}
    for flag, stored in contents.flags.items():
        targeting = first_targeting(stored.document)
        writes += [
            guard(flag_address(flag), stored),
            Put(targeting_address(key, flag), targeting, 0),
        ]
        snapshot[flag] = flag_of(stored.document, targeting, None, stored.revision + 1)
    writes += [guard(segment_address(name), held) for name, held in contents.segments.items()]
    return Change(
        scope=contents.project,
        writes=tuple(writes),
        refreshes=(
            Refresh(
                key,
                flags=snapshot,
                segments={
                    name: segment_of(held.document) for name, held in contents.segments.items()
                },
            ),
        ),
        audit=Audit(actor, "environment.create", key, key, reason, {"flags": len(snapshot)}),
    )


def edit_environment(
    contents: Contents, after: Environment, *, actor: str, reason: str = ""
) -> Change:
    """Change an environment's name or description."""
    before = contents.environment(after.key)
    where = environment_address(after.key)
    return _edit(contents.project, where, before, after, actor, reason)


def new_flag(
    contents: Contents, definition: FlagDefinition, *, actor: str, reason: str = ""
) -> Change:
    """Create a flag, with its first targeting in every environment.

    A definition without a salt gets the flag's key.
    """
    flag = replace(definition, salt=definition.salt or definition.key)
    validation.check_definition(flag)
    if flag.key in contents.flags:
        raise AlreadyExists(f"There is a flag {flag.key!r} already.")
    targeting = first_targeting(flag)
    writes: list[Write] = [Put(flag_address(flag.key), flag, 0)]
    for key, stored in contents.environments.items():
        writes.append(Put(targeting_address(key, flag.key), targeting, 0))
        writes.append(guard(environment_address(key), stored))
    shown = flag_of(flag, targeting, None, 2)
    return Change(
        scope=contents.project,
        writes=tuple(writes),
        refreshes=tuple(Refresh(key, flags={flag.key: shown}) for key in contents.environments),
        audit=Audit(
            actor,
            "flag.create",
            flag.key,
            "",
            reason,
            {"type": flag.type, "variants": [variant.key for variant in flag.variants]},
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
    contents: Contents, after: FlagDefinition, *, actor: str, now_ms: int, reason: str = ""
) -> Change:
    """Change a flag's definition, in every environment at once.

    Where an active release's control or treatment gets another value, its evidence starts
    again within the same commit. A definition without a salt keeps the present one.

    Raises:
        Invalid: the definition cannot be, takes away a variant that is in use, or changes
            the type or the salt.
    """
    before = contents.flag(after.key)
    was: FlagDefinition = before.document
    flag = replace(after, salt=after.salt or was.salt)
    validation.check_definition(flag)
    validation.check_definition_change(was, flag, contents)
    where = flag_address(flag.key)
    if flag == was:
        return Change(scope=contents.project, writes=(guard(where, before),))
    writes: list[Write] = [put(where, before, flag)]
    refreshes: list[Refresh] = []
    restarted: list[str] = []
    for environment, targetings in contents.targetings.items():
        if flag.key not in targetings:
            continue
        held = targetings[flag.key]
        writes.append(guard(targeting_address(environment, flag.key), held))
        active = contents.active_release(environment, flag.key)
        release: Release | None = None
        if active is not None:
            release = active.document
            if _differs(was, flag, release):
                release = releases.restart_evidence(
                    release, now_ms, "A variant it compares was changed: the evidence starts again."
                )
                restarted.append(release.id)
                writes.append(put(release_address(environment, release), active, release))
            else:
                writes.append(guard(release_address(environment, release), active))
        version = before.revision + 1 + held.revision
        shown = flag_of(flag, held.document, release, version)
        refreshes.append(Refresh(environment, flags={flag.key: shown}))
    return Change(
        scope=contents.project,
        writes=tuple(writes),
        refreshes=tuple(refreshes),
        audit=Audit(
            actor,
            "flag.edit",
            flag.key,
            "",
            reason,
            {"changed": changed_fields(was, flag), "evidence_restarted": restarted},
        ),
    )


def delete_flag(contents: Contents, key: str, *, actor: str, reason: str = "") -> Change:
    """Remove a flag from every environment.

    Raises:
        NotPossible: another flag names it as a prerequisite, or a release of it is active.
    """
    before = contents.flag(key)
    users = validation.users_of_flag(contents, key)
    if users:
        raise NotPossible(f"Flag {key!r} is used by {', '.join(users)}. End that first.")
    writes: list[Write] = [Delete(flag_address(key), before.revision)]
    refreshes: list[Refresh] = []
    for environment, targetings in contents.targetings.items():
        for flag, stored in targetings.items():
            where = targeting_address(environment, flag)
            if flag != key:
                # A prerequisite added meanwhile must stop this.
                writes.append(guard(where, stored))
                continue
            writes.append(Delete(where, stored.revision))
            ended = (key,) if stored.document.kill is not None else ()
            refreshes.append(Refresh(environment, flags={key: None}, restored=ended))
    return Change(
        scope=contents.project,
        writes=tuple(writes),
        refreshes=tuple(refreshes),
        audit=Audit(actor, "flag.delete", key, "", reason, {"type": before.document.type}),
    )


def edit_targeting(
    contents: Contents, environment: str, after: Targeting, *, actor: str, reason: str = ""
) -> Change:
    """Change a flag's targeting in one environment.

    ``kill`` and ``release`` of ``after`` are not looked at: they stay as they are.

    Raises:
        Invalid: the targeting cannot be, or takes the ground from under an active release.
    """
    definition = contents.flag(after.flag)
    before = contents.targeting(environment, after.flag)
    was: Targeting = before.document
    targeting = replace(after, kill=was.kill, release=was.release)
    validation.check_targeting(definition.document, targeting, contents, environment)
    active = contents.active_release(environment, after.flag)
    if active is not None:
        validation.check_released_rule(targeting, active.document)
    where = targeting_address(environment, after.flag)
    if targeting == was:
        return Change(scope=contents.project, writes=(guard(where, before),))
    writes: list[Write] = [
        put(where, before, targeting),
        guard(flag_address(after.flag), definition),
        *validation.rests_on(contents, environment, targeting),
    ]
    release: Release | None = None
    if active is not None:
        release = active.document
        writes.append(guard(release_address(environment, active.document), active))
    version = definition.revision + before.revision + 1
    shown = flag_of(definition.document, targeting, release, version)
    return Change(
        scope=contents.project,
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


def put_segment(
    contents: Contents, segment: SegmentDefinition, *, actor: str, reason: str = ""
) -> Change:
    """Create a segment, or replace the one with its key, in every environment at once.

    Raises:
        Invalid: the segment cannot be, or would contain itself.
    """
    validation.check_segment(segment, contents)
    before = contents.segments.get(segment.key)
    where = segment_address(segment.key)
    if before is not None and before.document == segment:
        return Change(scope=contents.project, writes=(guard(where, before),))
    writes: list[Write] = [
        Put(where, segment, before.revision if before is not None else 0),
        *validation.segment_rests_on(contents, segment),
    ]
    shown = segment_of(segment)
    unseen = before is not None and segment_of(before.document) == shown
    details: dict[str, object] = {
        "included": len(segment.included),
        "excluded": len(segment.excluded),
    }
    if before is not None:
        details["changed"] = changed_fields(before.document, segment)
    return Change(
        scope=contents.project,
        writes=tuple(writes),
        refreshes=()
        if unseen
        else tuple(
            Refresh(environment, segments={segment.key: shown})
            for environment in contents.environments
        ),
        audit=Audit(
            actor,
            "segment.create" if before is None else "segment.edit",
            segment.key,
            "",
            reason,
            details,
        ),
    )


def delete_segment(contents: Contents, key: str, *, actor: str, reason: str = "") -> Change:
    """Remove a segment.

    Raises:
        NotPossible: a rule, a segment, a policy or an active release names it.
    """
    before = contents.segment(key)
    users = validation.users_of_segment(contents, key)
    if users:
        raise NotPossible(f"Segment {key!r} is used by {', '.join(users)}. End that first.")
    # Whatever could have begun to name it meanwhile must stop this.
    rests_on = [
        *(
            guard(targeting_address(environment, flag), stored)
            for environment, targetings in contents.targetings.items()
            for flag, stored in targetings.items()
        ),
        *(
            guard(segment_address(name), held)
            for name, held in contents.segments.items()
            if name != key
        ),
        *(guard(policy_address(name), held) for name, held in contents.policies.items()),
    ]
    return Change(
        scope=contents.project,
        writes=(Delete(segment_address(key), before.revision), *rests_on),
        refreshes=tuple(
            Refresh(environment, segments={key: None}) for environment in contents.environments
        ),
        audit=Audit(actor, "segment.delete", key, "", reason),
    )


def put_policy(contents: Contents, policy: Policy, *, actor: str, reason: str = "") -> Change:
    """Create a policy, or replace the one with its key.

    Releases that are under way keep the policy as it was when they started.

    Raises:
        Invalid: the policy cannot be carried out.
    """
    validation.check_policy(policy, contents)
    before = contents.policies.get(policy.key)
    where = policy_address(policy.key)
    if before is not None and before.document == policy:
        return Change(scope=contents.project, writes=(guard(where, before),))
    named = sorted({key for stage in policy.stages for key in stage.segments})
    details: dict[str, object] = {"stages": len(policy.stages)}
    if before is not None:
        details["changed"] = changed_fields(before.document, policy)
    return Change(
        scope=contents.project,
        writes=(
            Put(where, policy, before.revision if before is not None else 0),
            *(guard(segment_address(key), contents.segments[key]) for key in named),
        ),
        audit=Audit(
            actor,
            "policy.create" if before is None else "policy.edit",
            policy.key,
            "",
            reason,
            details,
        ),
    )


def delete_policy(contents: Contents, key: str, *, actor: str, reason: str = "") -> Change:
    """Remove a policy. Releases under way keep theirs."""
    before = contents.policy(key)
    return Change(
        scope=contents.project,
        writes=(Delete(policy_address(key), before.revision),),
        audit=Audit(actor, "policy.delete", key, "", reason),
    )


def changed_fields(before: Any, after: Any) -> list[str]:
    """The names of the fields in which two documents of one class differ."""
    return list(_differences(before, after))


def _differences(before: Any, after: Any) -> Iterator[str]:
    for each in fields(after):
        if getattr(before, each.name) != getattr(after, each.name):
            yield each.name


def _differs(before: FlagDefinition, after: FlagDefinition, release: Release) -> bool:
    compared = {release.control, release.treatment}
    old = {variant.key: variant.value for variant in before.variants if variant.key in compared}
    new = {variant.key: variant.value for variant in after.variants if variant.key in compared}
    return old != new


def _edit(
    scope: str, where: Address, before: Stored, after: Any, actor: str, reason: str
) -> Change:
    if before.document == after:
        return Change(scope=scope, writes=(guard(where, before),))
    details = {"changed": changed_fields(before.document, after)}
    return Change(
        scope=scope,
        writes=(put(where, before, after),),
        audit=Audit(actor, f"{where.kind}.edit", where.key, "", reason, details),
    )
