"""Requests that the server makes to its own routes, for a page or for a planned change.

They name their caller in the WSGI environment, where no header of an outer request can reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from tidegate_server.domain.callers import Caller
from tidegate_server.domain.sessions import Session

CALLER: Final = "tidegate.caller"


SESSION: Final = "tidegate.session"


def inner_environ(caller: Caller, session: Session | None = None) -> dict[str, Any]:
    """Return what the WSGI environment of a request in the name of a caller has more.

    Args:
        caller: in whose name.
        session: theirs, if they sit at the browser for which the request is made.
    """
    return {CALLER: caller, SESSION: session}


def inner_caller(environ: Mapping[str, Any]) -> Caller | None:
    """Return in whose name the server itself makes a request; None: a client makes it."""
    return cast("Caller | None", environ.get(CALLER))


def inner_session(environ: Mapping[str, Any]) -> Session | None:
    """Return the session of the browser for which the server itself makes a request."""
    return cast("Session | None", environ.get(SESSION))
