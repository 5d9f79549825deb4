"""What surrounds every page: the place, the navigation, the banners, theme and time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import Response, g, make_response, render_template, request

from tidegate_server.dashboard import api
from tidegate_server.dashboard.api import KEPT, ApiProblem
from tidegate_server.dashboard.forms import (
    DONE_COOKIE,
    YEAR,
    fields_to_keep,
    set_cookie,
    taken_done,
)
from tidegate_server.dashboard.shortcuts import GO
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import Forbidden
from tidegate_server.web import session_cookies
from tidegate_server.web.access_control import require_permission

ZONE_COOKIE = "tidegate-zone"
NOT_FOUND = HTTPStatus.NOT_FOUND

PLACE_COOKIE = "tidegate-place"
"""Where the reader was last: a project and an environment."""

PREFERENCES = {"theme": ("light", "dark"), "density": ("compact",), "keys": ("off",)}
"""What a reader may choose for a browser, each kept in a cookie ``tidegate-<name>``."""

PAGES = (
    ("flags", "Flags", "flag"),
    ("releases", "Releases", "release"),
    ("segments", "Segments", "people"),
    ("policies", "Policies", "policy"),
    ("changes", "Changes", "ask"),
    ("instances", "Instances", "server"),
    ("audit", "Audit", "log"),
    ("settings", "Settings", "gear"),
)
"""Name, title and icon of each page of the navigation."""

MOST_PROJECTS = 20
"""How many projects the navigation names; the page of projects has all."""

OF_ENVIRONMENTS = ("flags", "releases", "instances")
"""The pages that each environment has of its own; the others belong to the whole project."""


@dataclass(frozen=True, slots=True)
class Place:
    """The project and the environment that a page is about.

    Attributes:
        production: whether people who use the product are affected.
        approvals: how many other people must approve a change here; 0: it is not protected.
    """

    project: str
    environment: str
    production: bool
    approvals: int = 0

    @property
    def address(self) -> str:
        """The beginning of the addresses of this environment's pages."""
        return f"/p/{self.project}/e/{self.environment}"

    def page_like(self, page: str) -> str:
        """Return the address of this environment's page of a name, else of its flags."""
        return f"{self.address}/{page if page in OF_ENVIRONMENTS else 'flags'}"


@dataclass(frozen=True, slots=True)
class Link:
    """A page in the navigation; ``bad`` marks a count that asks for a person."""

    name: str
    title: str
    icon: str
    address: str
    key: str = ""
    count: str | None = None
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill in force, for the banner on every page of the environment.

    ``flags`` are those that one kill of a tag has killed together, or only one.
    """

    flags: tuple[str, ...]
    tag: str
    variant: str
    actor: str
    reason: str
    url: str
    at: str
    address: str
    receipt: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Shell:
    """What a page's frame shows.

    Attributes:
        place: None on pages of the whole server.
        places: every place of the project that the reader may see.
        projects: the keys of the other projects that the reader may see, not more than fit.
        page: the name of the page in the navigation.
        reader: who is signed in.
        done: what the last form did, said once.
        moment: when the place was read, as its events have it.
    """

    place: Place | None
    places: tuple[Place, ...] = ()
    projects: tuple[str, ...] = ()
    page: str = ""
    links: tuple[Link, ...] = ()
    kills: tuple[Kill, ...] = ()
    reader: str = ""
    done: str = ""
    moment: str = ""


def reader_zone() -> ZoneInfo:
    """Return the reader's time zone: a cookie names it that a script sets; else UTC."""
    name = request.cookies.get(ZONE_COOKIE, "")
    try:
        return ZoneInfo(name) if name and len(name) < 64 else ZoneInfo("UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def now() -> datetime:
    """Return the time of this request, the same throughout a page."""
    if "now" not in g:
        g.now = datetime.now(UTC)
    moment: datetime = g.now
    return moment


def preference(name: str) -> str | None:
    """Return what the reader chose for this browser; None: what is usual."""
    chosen = request.cookies.get(f"tidegate-{name}", "")
    return chosen if chosen in PREFERENCES[name] else None


def may(permission: str, *, shared: bool = False) -> bool:
    """Return whether the reader may do something in the place that this page's address names.

    A page offers only what its reader may do. The API checks it again.

    Args:
        permission: what it needs.
        shared: it is about what all environments of the project share.
    """
    project, environment = _named_place()
    return api.reader().allows(Permission(permission), project, None if shared else environment)


def check_may(permission: str, *, shared: bool = False) -> None:
    """Refuse a page that is of no use to a reader who may not do something, as ``may`` says.

    Raises:
        Forbidden: the reader may not do it.
    """
    project, environment = _named_place()
    where = (project, None if shared else environment)
    require_permission(api.reader(), Permission(permission), *where)


def _named_place() -> tuple[str | None, str | None]:
    """Return the project and the environment that this page's address names."""
    parts = request.view_args or {}
    return parts.get("project"), parts.get("environment")


def is_production(environment: dict[str, Any]) -> bool:
    """Return whether an environment is one that people outside of the team use."""
    return bool(environment["key"] == "production" or environment["required_approvals"])


def open_place(project: str, environment: str, page: str) -> Shell:
    """Return the frame of a page of an environment.

    Raises:
        ApiProblem: there is no such place for this reader.
    """
    found_places = places(project)
    place = next((each for each in found_places if each.environment == environment), None)
    if place is None:
        # The API says so in its own words.
        found = api.get("projects", project, "environments", environment)
        place = _place(project, found)
    return _shell(place, found_places, page)


def _shell(place: Place, beside: list[Place], page: str) -> Shell:
    # Before all else: what happens from now on, the page may not show.
    moment = api.get_if_allowed(*_environment_of(place), "events", "moment")
    found = api.get_if_allowed(*_flags_of(place), limit=1)
    totals = found["totals"] if found else None
    return Shell(
        place,
        tuple(beside),
        _other_projects(place.project),
        page,
        tuple(_links(place, totals, _waiting_requests(place.project))),
        tuple(_kills(place)) if totals and totals["killed"] else (),
        reader=api.reader().known_as,
        done=taken_done(),
        moment=moment["moment"] if moment else "",
    )


def open_project(project: str, page: str) -> Shell:
    """Return the frame of a page of a whole project; its first environment is its place.

    Raises:
        ApiProblem: there is no such project for this reader.
    """
    found_places = places(project)
    if not found_places:
        return Shell(
            Place(project, "", production=False),
            projects=_other_projects(project),
            page=page,
            links=tuple(_links_of_project(project)),
            reader=api.reader().known_as,
            done=taken_done(),
        )
    return _shell(first_of(found_places), found_places, page)


def open_server() -> Shell:
    """Return the frame of a page of the whole server, which has no place."""
    return Shell(None, reader=api.reader().known_as, done=taken_done())


def first_of(found_places: list[Place]) -> Place:
    """Return the place that a project shows first: where people use the product."""
    return next((each for each in found_places if each.production), found_places[0])


def last_place() -> tuple[str, str]:
    """Return the project and the environment where the reader was last; empty: unknown."""
    project, _, environment = request.cookies.get(PLACE_COOKIE, "").partition(" ")
    return project, environment


def _other_projects(project: str) -> tuple[str, ...]:
    keys = (each["key"] for each in api.get("projects", limit=MOST_PROJECTS)["items"])
    return tuple(key for key in keys if key != project)


def _environment_of(place: Place) -> tuple[str, ...]:
    return ("projects", place.project, "environments", place.environment)


def _flags_of(place: Place) -> tuple[str, ...]:
    return (*_environment_of(place), "flags")


def _kills(place: Place) -> list[Kill]:
    """Return the kills in force, the latest first; what one kill of a tag killed is one."""
    killed = api.get(*_flags_of(place), state="killed", limit=100)["items"]
    together: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each in killed:
        tag, at = each["killed"]["tag"], each["killed"]["at"]
        together.setdefault((tag or each["flag"], at if tag else ""), []).append(each)
    kills = [_kill(place, each) for each in together.values()]
    return sorted(kills, key=lambda kill: kill.at, reverse=True)


def _kill(place: Place, killed: list[dict[str, Any]]) -> Kill:
    first = killed[0]
    about, tag = first["killed"], first["killed"]["tag"]
    return Kill(
        tuple(each["flag"] for each in killed),
        tag,
        first["kill_variant"] or first["off_variant"],
        about["actor"],
        about["reason"],
        about["url"],
        about["at"],
        f"{place.address}/kills" if tag else f"{place.address}/flags/{first['flag']}",
        first["receipt"],
    )


def _waiting_requests(project: str) -> int:
    """Return how many change requests of a project wait for approvals or to be applied."""
    found = api.get_if_allowed("projects", project, "change-requests", limit=100)
    return sum(each["state"] in ("proposed", "approved") for each in found["items"]) if found else 0


def _links(place: Place, totals: dict[str, int] | None, waiting: int) -> list[Link]:
    shared = f"/p/{place.project}"
    counts: dict[str, tuple[str, bool]] = {}
    if waiting:
        counts["changes"] = (f"{waiting:,} wait{'s' if waiting == 1 else ''}", False)
    if totals is not None:
        killed = totals["killed"]
        counts["flags"] = (f"{killed} killed", True) if killed else (f"{totals['all']:,}", False)
        if totals["releasing"]:
            counts["releases"] = (f"{totals['releasing']:,}", False)
    return [
        Link(
            name,
            title,
            icon,
            f"{place.address if name in OF_ENVIRONMENTS else shared}/{name}",
            GO[name],
            *counts.get(name, (None, False)),
        )
        for name, title, icon in PAGES
    ]


def _links_of_project(project: str) -> list[Link]:
    """Return the pages of a project that has no environment yet."""
    return [
        Link(name, title, icon, f"/p/{project}/{name}", GO[name])
        for name, title, icon in PAGES
        if name not in OF_ENVIRONMENTS
    ]


def places(project: str) -> list[Place]:
    """Return the places of a project that the reader may see."""
    environments = api.all_of("projects", project, "environments")
    return [_place(project, each) for each in environments]


def _place(project: str, environment: dict[str, Any]) -> Place:
    approvals = environment["required_approvals"]
    return Place(project, environment["key"], is_production(environment), approvals)


def render(template: str, shell: Shell, *, status: int = 200, **values: Any) -> Response:
    """Return a page, made of a template and its frame."""
    page = render_template(template, shell=shell, place=shell.place, **values)
    response = make_response(page, status)
    if shell.place is not None and "environment" in (request.view_args or {}):
        set_cookie(response, PLACE_COOKIE, f"{shell.place.project} {shell.place.environment}", YEAR)
    if shell.done:
        response.delete_cookie(DONE_COOKIE)
    return response


def render_problem(problem: ApiProblem) -> Response:
    """Return the page that says what the API refused; what was typed into a form is there, too."""
    page = render_template(
        "problem.html", problem=problem, shell=Shell(None), typed=_typed_before(), kept=KEPT
    )
    return make_response(page, problem.status)


def _typed_before() -> list[tuple[str, str]]:
    """Return what was typed into the form that is refused; none if another site has sent it."""
    if request.method != "POST":
        return []
    try:
        session_cookies.require_own_origin()
    except Forbidden:
        return []
    return fields_to_keep()
