"""List and end sessions: one's own, or those of people who may do nothing that one may not."""

from __future__ import annotations

from tidegate_server.admin.access_documents import present_access
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.people_edits import has_power_over, require_power_over
from tidegate_server.domain.sessions import Session
from tidegate_server.errors import Forbidden, NotFound
from tidegate_server.web.backend import backend
from tidegate_server.web.sign_in import end_sessions as end_and_note


def sessions_of(caller: Caller, person: str) -> list[Session]:
    """Return the sessions of a person, the last used first.

    Args:
        caller: who asks.
        person: the id of the person; empty: the caller.

    Raises:
        NotFound: there is no such person.
        Forbidden: they may do what the caller may not.
    """
    id = person or caller.person
    if not id:
        raise Forbidden("The token belongs to a program, which has no sessions; name a person.")
    services = backend()
    if id != caller.person:
        access = present_access(services.store)
        stored = access.people.get(id)
        if stored is None:
            raise NotFound(f"There is no person {id!r}.")
        require_power_over(access, stored.document, caller)
    now_ms = services.store.now_ms()
    return [each for each in services.store.sessions.of_person(id) if each.ends_ms > now_ms]


def sessions_of_everyone(caller: Caller) -> list[Session]:
    """Return the sessions of everyone who may do nothing that the caller may not, and their own.

    The last used is the first.
    """
    services = backend()
    access = present_access(services.store)
    people = [
        id
        for id, stored in access.people.items()
        if id == caller.person or has_power_over(access, stored.document, caller)
    ]
    now_ms = services.store.now_ms()
    return [each for each in services.store.sessions.of_people(people) if each.ends_ms > now_ms]


def end_session(caller: Caller, person: str, id: str, reason: str) -> None:
    """End a session; raises ``NotFound`` if there is none with this id, or as ``sessions_of``."""
    found = [each for each in sessions_of(caller, person) if each.id == id]
    if not found:
        raise NotFound(f"There is no session {id!r}; it may have ended.")
    end_and_note(found, caller.name, reason)


def end_sessions(caller: Caller, person: str, except_id: str, reason: str) -> int:
    """End the sessions of a person but one, and return how many; raises as ``sessions_of``."""
    found = [each for each in sessions_of(caller, person) if each.id != except_id]
    end_and_note(found, caller.name, reason)
    return len(found)
