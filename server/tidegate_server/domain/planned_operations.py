"""Operations of the API that are kept, to be carried out later as their owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Address, Audit, Change, Delete, Guard, Put, Refresh
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import NotPossible

MAX_OPERATIONS = 100


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """One operation of the API.

    Attributes:
        method: ``POST``, ``PUT`` or ``DELETE``.
        path: with its query: ``/api/v1/projects/shop/flags/checkout?force=true``.
        body: the JSON value of the body; None: there is none.
        reason: why, for the audit log; empty: the reason of the plan.
    """

    method: str
    path: str
    body: Any = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """What one operation does, as the audit log would name it."""

    action: str
    target: str
    environment: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """What it does to what: ``flag.kill checkout``.

        A release is named by its flag: one that would be started has no id yet.
        """
        of_release = self.action.startswith("release.")
        return (
            f"{self.action} {self.details.get('flag', self.target) if of_release else self.target}"
        )


@dataclass(frozen=True, slots=True)
class DocumentRevision:
    """A document, and the revision that a plan was made against."""

    kind: Kind
    key: str
    environment: str
    revision: int

    @property
    def address(self) -> Address:
        """Where the document is."""
        return Address(self.kind, self.key, self.environment)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who planned something; it is done with the permissions that they have at that time.

    ``id`` is of a person or a token, ``name`` as in the audit log, ``answerable`` as in
    ``Caller``.
    """

    id: str
    name: str
    answerable: str

    def is_behind(self, caller: Caller) -> bool:
        """Return whether a caller is the owner, perhaps with another token."""
        return self.answerable == caller.answerable


def owner_of(caller: Caller) -> Owner:
    """Return a caller as the owner of a plan."""
    return Owner(caller.id, caller.name, caller.answerable)


@dataclass(frozen=True, slots=True)
class Approver:
    """Who approved a plan, when and with which words."""

    id: str
    name: str
    answerable: str
    at_ms: int
    comment: str = ""


NAMED = (Kind.FLAG, Kind.SEGMENT, Kind.POLICY)
"""Documents that a change may name without writing them; what they say is part of the plan."""


def made_against(change: Change) -> tuple[DocumentRevision, ...]:
    """Return the revisions on which what a change does depends."""
    found = {
        write.address: write.expected
        for write in change.writes
        if write.expected and (not isinstance(write, Guard) or write.address.kind in NAMED)
    }
    return tuple(
        DocumentRevision(each.kind, each.key, each.environment, revision)
        for each, revision in found.items()
    )


def merged(changes: Sequence[Change], audit: Audit) -> Change:
    """Return several changes as one atomic change.

    Each was made from the documents as those before it left them, at the revisions that are
    stored. One change keeps its own audit entry, several get ``audit``.

    Raises:
        NotPossible: they belong to different scopes, or create and delete the same document.
    """
    if len(changes) == 1:
        return changes[0]
    scopes = {change.scope for change in changes}
    if len(scopes) > 1:
        raise NotPossible(
            "These operations change the server and a project, or two projects. One change is of "
            "one project, or of the server; make two."
        )
    writes: dict[Address, Put | Delete | Guard] = {}
    refreshes: dict[str, Refresh] = {}
    for change in changes:
        for write in change.writes:
            writes[write.address] = _later(writes.get(write.address), write)
        for refresh in change.refreshes:
            refreshes[refresh.environment] = _joined(refreshes.get(refresh.environment), refresh)
    return Change(
        scope=scopes.pop(),
        writes=tuple(writes.values()),
        refreshes=tuple(refreshes.values()),
        kind_guards=tuple(dict.fromkeys(each for change in changes for each in change.kind_guards)),
        audit=audit,
        ledger=tuple(each for change in changes for each in change.ledger),
        series=tuple(each for change in changes for each in change.series),
        generations=tuple(each for change in changes for each in change.generations),
        outgoing=tuple(each for change in changes for each in change.outgoing),
        forgotten=tuple(each for change in changes for each in change.forgotten),
        ended=tuple(each for change in changes for each in change.ended),
    )


def _later(
    earlier: Put | Delete | Guard | None, write: Put | Delete | Guard
) -> Put | Delete | Guard:
    if earlier is None or (isinstance(earlier, Guard) and earlier.expected == write.expected):
        return write
    created_and_deleted = isinstance(write, Delete) and earlier.expected == 0
    if isinstance(earlier, Delete) or earlier.expected != write.expected or created_and_deleted:
        where = write.address
        raise NotPossible(
            f"Two of these operations create and delete the {where.kind.value} {where.key!r}. One "
            "change cannot do both; leave one out."
        )
    if isinstance(write, Guard):
        return earlier
    return replace(write, before=earlier.before) if not isinstance(earlier, Guard) else write


def _joined(earlier: Refresh | None, later: Refresh) -> Refresh:
    if earlier is None:
        return later
    over = {*later.killed, *later.restored}
    return Refresh(
        later.environment,
        flags={**earlier.flags, **later.flags},
        segments={**earlier.segments, **later.segments},
        killed=(*(each for each in earlier.killed if each not in over), *later.killed),
        restored=(*(each for each in earlier.restored if each not in over), *later.restored),
    )
