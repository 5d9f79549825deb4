"""The identities of people at identity providers."""

from __future__ import annotations

from tidegate_server.admin.access_documents import read_access_documents
from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.people.invitations import required_person
from tidegate_server.domain import identity_edits
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Change
from tidegate_server.errors import NotFound
from tidegate_server.store import Store


def unlink(store: Store, person: str, identity: str, *, caller: Caller, reason: str = "") -> None:
    """Make an identity nobody's; the sessions of the person end.

    Raises:
        NotFound: there is no such person, or it is not theirs.
        Forbidden: the person may do what the caller may not.
    """

    def make_change() -> Change:
        access = read_access_documents(store)
        found = required_person(access, person, caller)
        change = identity_edits.unlink(
            access, found, identity, actor=caller.name, now_ms=store.now_ms(), reason=reason
        )
        if change is None:
            raise NotFound(f"{found.email} has no identity {identity!r}.")
        return change

    commit_with_retry(store, make_change)
