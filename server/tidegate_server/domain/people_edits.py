"""Changes to people, groups and roles (scope ``""``).

Nobody gives or takes what they do not have themselves: whoever changes a grant must hold all its
permissions, and administer, in the whole of its place. Whoever changes how a person signs in
(email, whether they are active, a new invitation) must hold everything that the person may do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Change, Delete, Guard, Put, Stored
from tidegate_server.domain.document_changes import delete_document_change, put_document_change
from tidegate_server.domain.field_problems import raise_problems
from tidegate_server.domain.identity_providers import GroupMapping
from tidegate_server.domain.people import (
    PEOPLES_ROLES,
    AccessDocuments,
    Credential,
    CustomRole,
    EmailAddress,
    Group,
    Person,
    RoleGrant,
    credential_address,
    email_address,
    group_address,
    identity_address,
    invitation_address,
    normalized_email,
    person_address,
    role_address,
)
from tidegate_server.domain.permissions import EVALUATION, Grant, Permission, Role, in_order
from tidegate_server.domain.token_edits import token_address
from tidegate_server.errors import FieldProblem, Forbidden, NotFound, NotPossible
from tidegate_server.near_misses import question, similar

MAX_GRANTS = 100
MAX_GROUPS = 50
_NOTHING = Grant(frozenset())
_EMAIL = re.compile(r"[^\s@<>()\",;:\\]{1,64}@[^\s@<>()\",;:\\]{1,189}")


def put_person(
    access: AccessDocuments,
    person: Person,
    *,
    caller: Caller,
    now_ms: int,
    reason: str = "",
) -> Change:
    """Create a person, or replace the one with this id.

    Grants and groups that the caller may not see are left as they are, and so is what identity
    providers said.

    Raises:
        Invalid: the email is none or is another person's, or a role or group does not exist.
        Forbidden: the caller would give, take or use what they do not have.
        NotPossible: nobody would be left who may administer the server.
    """
    stored = access.people.get(person.id)
    before: Person | None = stored.document if stored is not None else None
    person = replace(
        person,
        email=normalized_email(person.email),
        name=person.name.strip(),
        provided=before.provided if before is not None else (),
    )
    if before is not None:
        person = _with_hidden(access, person, visible_person(access, before, caller), before)
    raise_problems(f"person {person.email}", _person_problems(access, person))
    _check_may_change_person(access, before, person, caller)
    after = replace(access, people={**access.people, person.id: _as_stored(person)})
    return put_document_change(
        "",
        person_address(person.id),
        stored,
        person,
        actor=caller.name,
        reason=reason,
        details={"email": person.email, "name": person.name},
        writes=[
            *_email_writes(access, before, person),
            *_credential_writes(access, before, person, now_ms),
            *_guards_of_grants(access, person.grants, person.groups),
            *_guard_another_admin(access, after),
        ],
    )


def delete_person(access: AccessDocuments, id: str, *, caller: Caller, reason: str = "") -> Change:
    """Delete a person, and their own tokens with them.

    Raises:
        NotFound: there is no such person.
        Forbidden: they may do what the caller may not.
        NotPossible: nobody would be left who may administer the server.
    """
    stored = access.people.get(id)
    if stored is None:
        raise NotFound(f"There is no person {id!r}.")
    person: Person = stored.document
    require_power_over(access, person, caller)
    after = replace(access, people={key: p for key, p in access.people.items() if key != id})
    own = [key for key, token in access.tokens.items() if token.document.person == id]
    linked = [key for key, each in access.identities.items() if each.document.person == id]
    addresses = (
        email_address(person.email),
        credential_address(id),
        invitation_address(id),
        *map(token_address, own),
        *map(identity_address, linked),
    )
    return delete_document_change(
        "",
        person_address(id),
        stored,
        actor=caller.name,
        reason=reason,
        details={"email": person.email, "name": person.name},
        writes=[
            *(
                Delete(address, each.revision, before=each.document)
                for address in addresses
                if (each := access.get(address)) is not None
            ),
            *_guard_another_admin(access, after),
        ],
    )


def put_group(access: AccessDocuments, group: Group, *, caller: Caller, reason: str = "") -> Change:
    """Create a group, or replace the one with its key.

    Grants that the caller may not see are left as they are.

    Raises:
        Invalid: a role does not exist.
        Forbidden: the caller would give or take what they do not have.
        NotPossible: nobody would be left who may administer the server.
    """
    stored = access.groups.get(group.key)
    before: Group | None = stored.document if stored is not None else None
    if before is not None:
        hidden = _not_in(before.grants, _visible_grants(before.grants, caller))
        group = replace(group, grants=_joined(group.grants, hidden))
    raise_problems(f"group {group.key}", grant_problems(access, group.grants))
    was = before.grants if before is not None else ()
    _require_may_give(access, _difference(was, group.grants), caller)
    described = before is None or (before.name, before.description) != (
        group.name,
        group.description,
    )
    if described:
        _require_may_describe(access.resolved((*was, *group.grants)), caller)
    after = replace(access, groups={**access.groups, group.key: _as_stored(group)})
    return put_document_change(
        "",
        group_address(group.key),
        stored,
        group,
        actor=caller.name,
        reason=reason,
        writes=[
            *_guards_of_grants(access, group.grants, ()),
            *_guard_another_admin(access, after),
        ],
    )


def delete_group(access: AccessDocuments, key: str, *, caller: Caller, reason: str = "") -> Change:
    """Delete a group that has no members.

    Raises:
        NotFound: there is no such group.
        Forbidden: the caller does not have what the group gives.
        NotPossible: somebody is in the group.
    """
    stored = access.groups.get(key)
    if stored is None:
        raise NotFound(f"There is no group {key!r}.")
    _require_may_describe(access.resolved(stored.document.grants), caller)
    members = (f"{p.document.email}" for p in access.people.values() if key in p.document.groups)
    mapped = _providers_with(access, lambda mapping: key in mapping.groups)
    users = (*sorted(members), *mapped)
    return delete_document_change(
        "", group_address(key), stored, actor=caller.name, reason=reason, used_by=users
    )


def put_role(
    access: AccessDocuments, role: CustomRole, *, caller: Caller, reason: str = ""
) -> Change:
    """Create a role, or replace the one with its key, for everybody who has it.

    Raises:
        Invalid: it has a built-in role's name, or permissions that only applications have.
        Forbidden: the caller does not have all its permissions in the whole server.
        NotPossible: nobody would be left who may administer the server.
    """
    role = replace(role, permissions=in_order(role.permissions))
    raise_problems(f"role {role.key}", _role_problems(role))
    stored = access.roles.get(role.key)
    was = stored.document.permissions if stored is not None else ()
    require_all(caller, Grant(frozenset((*was, *role.permissions))))
    after = replace(access, roles={**access.roles, role.key: _as_stored(role)})
    return put_document_change(
        "",
        role_address(role.key),
        stored,
        role,
        actor=caller.name,
        reason=reason,
        writes=_guard_another_admin(access, after),
    )


def delete_role(access: AccessDocuments, key: str, *, caller: Caller, reason: str = "") -> Change:
    """Delete a role that nobody has.

    Raises:
        NotFound: there is no such role.
        Forbidden: the caller does not have all its permissions in the whole server.
        NotPossible: a person or a group has it.
    """
    stored = access.roles.get(key)
    if stored is None:
        raise NotFound(f"There is no role {key!r}.")
    require_all(caller, Grant(frozenset(stored.document.permissions)))
    holders = [
        *(f"person {p.document.email}" for p in access.people.values() if _has(p.document, key)),
        *(f"group {each}" for each, group in access.groups.items() if _has(group.document, key)),
        *_providers_with(access, lambda mapping: _has(mapping, key)),
    ]
    return delete_document_change(
        "", role_address(key), stored, actor=caller.name, reason=reason, used_by=sorted(holders)
    )


def is_email(text: str) -> bool:
    """Return whether a text looks like an email address."""
    return _EMAIL.fullmatch(text) is not None


def name_problem(name: str) -> FieldProblem | None:
    """Return what is wrong with a person's name; None: nothing."""
    if "(" in name or ")" in name:
        return FieldProblem(
            "/name", "Leave parentheses out of a name: the audit log has the email in them."
        )
    return None


def visible_person(access: AccessDocuments, person: Person, caller: Caller) -> Person:
    """Return a person with the grants and groups that a caller may change.

    What identity providers said is for those who administer the whole server.
    """
    everywhere = caller.holds(Permission.ADMINISTER, None, None)
    return replace(
        person,
        provided=person.provided if everywhere else (),
        grants=_visible_grants(person.grants, caller),
        groups=tuple(key for key in person.groups if _is_visible_group(access, key, caller)),
    )


def visible_group(group: Group, caller: Caller) -> Group:
    """Return a group with the grants that a caller may change."""
    return replace(group, grants=_visible_grants(group.grants, caller))


def require_power_over(access: AccessDocuments, person: Person, caller: Caller) -> None:
    """Check that a caller may do everything that a person may do, and may administer there.

    Raises:
        Forbidden: they may not; they could otherwise act as this person.
    """
    _require_may_describe(access.grants_of(person), caller)


def has_power_over(access: AccessDocuments, holder: Person | Group, caller: Caller) -> bool:
    """Return whether a caller may do everything that a person or a group may, and administer there.

    They may then change how this person signs in, or who is in the group.
    """
    grants = (
        access.grants_of(holder) if isinstance(holder, Person) else access.resolved(holder.grants)
    )
    return all(may_give(caller, grant) for grant in grants or (_NOTHING,))


def may_give(caller: Caller, grant: Grant) -> bool:
    """Return whether a caller may give a grant, or withdraw it."""
    return not _missing(caller, grant)


def _require_may_describe(grants: Collection[Grant], caller: Caller) -> None:
    for grant in grants or (_NOTHING,):
        require_all(caller, grant)


def _require_may_give(access: AccessDocuments, grants: Iterable[RoleGrant], caller: Caller) -> None:
    for grant in access.resolved(tuple(grants)):
        require_all(caller, grant)


def require_all(caller: Caller, grant: Grant) -> None:
    """Check that a caller may give a grant: they have all of it, and administer, in its place.

    Raises:
        Forbidden: they lack something; the message says what.
    """
    missing = _missing(caller, grant)
    if missing:
        raise Forbidden(
            f"This gives, takes or uses {', '.join(_needed(grant))} in "
            f"{grant.place}, and you lack {', '.join(missing)} there. Ask somebody who has them."
        )


def _missing(caller: Caller, grant: Grant) -> list[Permission]:
    place = (grant.project, grant.environment)
    return [each for each in _needed(grant) if not caller.holds(each, *place)]


def _needed(grant: Grant) -> tuple[Permission, ...]:
    return in_order((*grant.permissions, Permission.ADMINISTER))


def _check_may_change_person(
    access: AccessDocuments, before: Person | None, after: Person, caller: Caller
) -> None:
    was, were_in = (before.grants, before.groups) if before is not None else ((), ())
    _require_may_give(access, _difference(was, after.grants), caller)
    for key in {*were_in} ^ {*after.groups}:
        group = access.groups.get(key)
        _require_may_describe(
            access.resolved(group.document.grants) if group is not None else (), caller
        )
    if before is None:
        if not after.grants:
            _require_may_describe(access.grants_of(after), caller)
    elif (before.email, before.active, before.name) != (after.email, after.active, after.name):
        require_power_over(access, before, caller)


def _with_hidden(access: AccessDocuments, given: Person, visible: Person, before: Person) -> Person:
    return replace(
        given,
        grants=_joined(given.grants, _not_in(before.grants, visible.grants)),
        groups=tuple(
            dict.fromkeys((*given.groups, *(k for k in before.groups if k not in visible.groups)))
        ),
    )


def _joined(given: tuple[RoleGrant, ...], hidden: tuple[RoleGrant, ...]) -> tuple[RoleGrant, ...]:
    return tuple(dict.fromkeys((*given, *hidden)))


def _not_in(grants: tuple[RoleGrant, ...], others: Collection[RoleGrant]) -> tuple[RoleGrant, ...]:
    return tuple(each for each in grants if each not in others)


def _difference(before: tuple[RoleGrant, ...], after: tuple[RoleGrant, ...]) -> Iterator[RoleGrant]:
    yield from _not_in(before, after)
    yield from _not_in(after, before)


def _visible_grants(grants: tuple[RoleGrant, ...], caller: Caller) -> tuple[RoleGrant, ...]:
    return tuple(
        each
        for each in grants
        if caller.holds(Permission.ADMINISTER, each.project, each.environment)
    )


def _is_visible_group(access: AccessDocuments, key: str, caller: Caller) -> bool:
    if caller.holds(Permission.ADMINISTER, None, None):
        return True
    group = access.groups.get(key)
    if group is None:
        return False
    grants = group.document.grants
    return bool(grants) and _visible_grants(grants, caller) == grants


def _has(holder: Person | Group | GroupMapping, role: str) -> bool:
    return any(grant.role == role for grant in holder.grants)


def _providers_with(
    access: AccessDocuments, applies: Callable[[GroupMapping], bool]
) -> Iterator[str]:
    """Yield the identity providers with a mapping of which something is true, in words."""
    for key, stored in sorted(access.providers.items()):
        if any(map(applies, stored.document.group_mappings)):
            yield f"the identity provider {key}"


def _as_stored(document: Any) -> Stored:
    return Stored(document, 0, 0)


def _email_writes(
    access: AccessDocuments, before: Person | None, after: Person
) -> Iterator[Put | Delete]:
    if before is not None and before.email == after.email:
        return
    yield Put(email_address(after.email), EmailAddress(after.id), 0)
    if before is not None and (stored := access.emails.get(before.email)) is not None:
        yield Delete(email_address(before.email), stored.revision, before=stored.document)


def _credential_writes(
    access: AccessDocuments, before: Person | None, after: Person, now_ms: int
) -> Iterator[Put]:
    """Make a new person's credential; end the sessions of one who is no longer active."""
    stored = access.credentials.get(after.id)
    if stored is None:
        yield Put(credential_address(after.id), Credential(after.id, now_ms), 0)
    elif before is not None and before.active and not after.active:
        ended = replace(stored.document, sessions_from_ms=now_ms)
        yield Put(credential_address(after.id), ended, stored.revision, before=stored.document)


def _guards_of_grants(
    access: AccessDocuments, grants: Iterable[RoleGrant], groups: Iterable[str]
) -> Iterator[Guard]:
    """Guard the custom roles and the groups that a document names: nobody deletes them now."""
    for role in {grant.role for grant in grants} & access.roles.keys():
        yield Guard(role_address(role), access.roles[role].revision)
    for key in {*groups} & access.groups.keys():
        yield Guard(group_address(key), access.groups[key].revision)


def _guard_another_admin(before: AccessDocuments, after: AccessDocuments) -> Iterator[Guard]:
    """Guard somebody who may administer the server afterwards, if somebody may now.

    Two admins may take the role from each other at once. What an identity provider gives does not
    count: it can end without anybody here doing anything.
    """
    admins_before = {*_admins_by_hand(before)}
    admins_after = [*_admins_by_hand(after)]
    if admins_before <= {*admins_after}:
        return
    if not admins_after:
        raise NotPossible(
            "Nobody who is active would be left who may administer the whole server, without "
            "counting what identity providers give. Make somebody else an admin first."
        )
    witness = min(admins_after)
    person: Person = before.people[witness].document
    yield Guard(person_address(witness), before.people[witness].revision)
    groups = [before.groups[key].document for key in person.groups if key in before.groups]
    grants = (*person.grants, *(grant for group in groups for grant in group.grants))
    yield from _guards_of_grants(before, grants, person.groups)


def _admins_by_hand(access: AccessDocuments) -> Iterator[str]:
    for id, stored in access.people.items():
        if access.administers_server(replace(stored.document, provided=())):
            yield id


def _person_problems(access: AccessDocuments, person: Person) -> Iterator[FieldProblem]:
    if not is_email(person.email):
        yield FieldProblem("/email", f"{person.email!r} is no email address.")
    else:
        owner = access.emails.get(person.email)
        if owner is not None and owner.document.person != person.id:
            yield FieldProblem("/email", f"Another person has the email address {person.email}.")
    if (problem := name_problem(person.name)) is not None:
        yield problem
    yield from grant_problems(access, person.grants)
    for index, key in enumerate(person.groups):
        if key not in access.groups:
            known = similar(key, access.groups)
            detail = f"There is no group {key!r}; create it first.{question(known)}"
            yield FieldProblem(f"/groups/{index}", detail, known)


def grant_problems(
    access: AccessDocuments, grants: tuple[RoleGrant, ...]
) -> Iterator[FieldProblem]:
    """Yield what is wrong with the grants of a document; each pointer begins with ``/grants``."""
    for index, grant in enumerate(grants):
        if access.permissions(grant.role) is None:
            known = similar(grant.role, [*map(str, PEOPLES_ROLES), *access.roles])
            roles = ", ".join(map(str, PEOPLES_ROLES))
            yield FieldProblem(
                f"/grants/{index}/role",
                f"There is no role {grant.role!r}. The built-in roles are {roles}; create others "
                f"first.{question(known)}",
                known,
            )
        if grant.environment is not None and grant.project is None:
            yield FieldProblem(
                f"/grants/{index}/project", "A role in an environment needs its project, too."
            )


def _role_problems(role: CustomRole) -> Iterator[FieldProblem]:
    if role.key in {each.value for each in Role}:
        yield FieldProblem("/key", f"{role.key} is a built-in role; choose another key.")
    if not role.permissions:
        yield FieldProblem("/permissions", "Name what the role may do.")
    for index, permission in enumerate(role.permissions):
        if permission in EVALUATION:
            yield FieldProblem(
                f"/permissions/{index}", f"Only applications have the permission {permission}."
            )
