"""Settings: where everybody is signed in to this server."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api
from tidegate_server.dashboard.pages.settings import BASE, check_administers, render_tab

PAGE: Final = 100


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(f"{BASE}/sessions", view_func=sessions)


def sessions(project: str) -> Response:
    """Show the sessions that the reader may end, the last used first."""
    check_administers(project)
    page = api.get("sessions", everyone="true", limit=PAGE, cursor=request.args.get("cursor"))
    return render_tab(
        "settings_sessions.html",
        project,
        "sessions",
        items=page["items"],
        later=page["next_cursor"],
    )
