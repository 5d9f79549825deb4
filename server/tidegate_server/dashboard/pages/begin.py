"""The first visit: a flag, code to paste, a policy and a release, each with what it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, policy_sentences, shell, snippets
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.connection import Connection, connection, seen
from tidegate_server.dashboard.forms import FormState, attempt, done, pressed, typed
from tidegate_server.dashboard.planned_actions import action_sentence
from tidegate_server.dashboard.shell import Place, Shell
from tidegate_server.dashboard.snippets import Setting
from tidegate_server.documents import shipped
from tidegate_server.web.backend import public_address

STEPS: Final = ("flag", "connect", "segment", "policy", "release")
OPTIONAL: Final = ("segment",)
SET_BY_SERVER: Final = ("revision", "updated_at", "evaluated", "stale", "warnings")
PLACEHOLDERS: Final = {"sdk": "tg_sdk_...", "client": "tg_client_..."}
FIRST_SHARE: Final = 50
"""Of a segment that goes first, in percent: the others of it are the control."""

WAITING: Final = 3
"""How many changes that wait the page shows."""

NOT_CONNECTED: Final = Connection(False, "", "")


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    address = "/p/<key:project>/e/<key:environment>/begin"
    blueprint.add_url_rule(address, view_func=begin, methods=["GET", "POST"])


@dataclass(frozen=True, slots=True)
class _Visit:
    """What there is already.

    Attributes:
        flag: the one that this is about; None: the project has none.
        keys: of the first flags, to choose another one.
        guide: which code is shown.
    """

    frame: Shell
    project: str
    environment: str
    flag: dict[str, Any] | None
    keys: list[str]
    segments: list[dict[str, Any]]
    policies: list[dict[str, Any]]
    connection: Connection
    guide: str
    release: str
    forms: dict[str, FormState] = field(default_factory=dict)
    secret: dict[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> dict[str, bool]:
        """Which steps are done."""
        return {
            "flag": self.flag is not None,
            "connect": bool(self.connection.who),
            "segment": bool(self.segments),
            "policy": bool(self.policies),
            "release": bool(self.release),
        }

    @property
    def protected(self) -> list[Place]:
        """The protected environments of the project."""
        return [each for each in self.frame.places if each.approvals]

    @property
    def guards_origin(self) -> Place | None:
        """The protected environment where people approve that pages may ask; None: at once."""
        place = self.frame.place
        if place is not None and place.approvals:
            return place
        # What a flag is guards every environment.
        is_allowed = self.flag is not None and self.flag["client_side"]
        return None if is_allowed else next(iter(self.protected), None)

    @property
    def base(self) -> str:
        """The address of this page, about this flag."""
        flag = f"&flag={self.flag['key']}" if self.flag else ""
        return f"/p/{self.project}/e/{self.environment}/begin?with={self.guide}{flag}"


def begin(project: str, environment: str) -> Response:
    """Show the steps from nothing to a release; take the present one."""
    visit = _visit(project, environment)
    if request.method == "GET":
        return _show(visit, request.args.get("step", ""))
    what = pressed()
    if visit.flag is None and what != "flag":
        return _show(visit, "flag")
    act, after, says = {
        "flag": _make_flag,
        "token": _make_token,
        "origin": _allow_origin,
        "segment": _make_segment,
        "policy": _make_policy,
        "release": _start_release,
    }.get(what, _make_flag)(visit)
    step = "connect" if what in ("token", "origin") else what

    def show(form: FormState) -> Response:
        visit.forms[what] = form
        return _show(visit, step)

    return attempt(
        act,
        show,
        lambda: _show(visit, "connect") if what == "token" else done(after(), says),
        together=what == "origin",
    )


def _visit(project: str, environment: str) -> _Visit:
    frame = shell.open_place(project, environment, "begin")
    here = ("projects", project, "environments", environment)
    keys = [each["key"] for each in api.get("projects", project, "flags", limit=100)["items"]]
    wanted = request.args.get("flag", "")
    chosen = wanted if wanted in keys else next(iter(keys), "")
    guide = request.args.get("with", "")
    targeting = api.get(*here, "flags", chosen) if chosen else {}
    assert frame.place is not None
    return _Visit(
        frame,
        project,
        environment,
        api.get("projects", project, "flags", chosen) if chosen else None,
        keys,
        api.get("projects", project, "segments", limit=20)["items"],
        api.all_of("projects", project, "policies"),
        connection(frame.place, chosen, shell.now()) if chosen else NOT_CONNECTED,
        guide if guide in dict(snippets.TITLES) else "python",
        targeting.get("release") or "",
    )


def _show(visit: _Visit, wanted: str) -> Response:
    finished = visit.finished
    due = next((step for step in STEPS if not finished[step] and step not in OPTIONAL), "")
    present = wanted if wanted in STEPS and (visit.flag or wanted == "flag") else due
    place, role = visit.frame.place, "client" if visit.guide == "javascript" else "sdk"
    assert place is not None
    setting = Setting(
        public_address(),
        visit.flag["key"] if visit.flag else "hello",
        visit.flag["type"] if visit.flag else "boolean",
        visit.secret.get("secret", PLACEHOLDERS[role]),
        visit.secret.get("name", "my-app"),
    )
    waits = visit.flag is not None and not visit.connection.connected
    return shell.render(
        "begin.html",
        visit.frame,
        visit=visit,
        flag=visit.flag,
        present=present,
        finished=finished,
        guide=snippets.guide(visit.guide, setting),
        titles=snippets.TITLES,
        url=setting.url,
        reader=visit.frame.reader,
        seen=seen(place, visit.frame.places, setting.flag, shell.now()) if waits else [],
        waits=waits,
        origins=_origins(visit) if visit.guide == "javascript" else [],
        shipped=[
            (each["key"], each["description"], policy_sentences.summary(each))
            for each in map(shipped.canonical, shipped.NAMES)
        ],
        policies=[(each["key"], policy_sentences.summary(each)) for each in visit.policies],
        treatments=_treatments(visit),
        waiting=_waiting(visit),
        blank=FormState(),
    )


def _waiting(visit: _Visit) -> list[tuple[dict[str, Any], str, int]]:
    """Return the latest changes that wait, with what they do and how many people must approve."""
    if not visit.protected:
        return []
    where = ("projects", visit.project, "change-requests")
    found: list[dict[str, Any]] = []
    for state in ("proposed", "approved"):
        found += api.get(*where, state=state, limit=WAITING)["items"]
    return [
        (
            each,
            " and ".join(action_sentence(act) for act in each["actions"]),
            max(0, each["required_approvals"] - len(each["approvals"])),
        )
        for each in sorted(found, key=lambda each: str(each["created_at"]), reverse=True)[:WAITING]
    ]


def _origins(visit: _Visit) -> list[str]:
    found = api.get("projects", visit.project, "environments", visit.environment)
    origins: list[str] = found["allowed_origins"]
    return origins


def _treatments(visit: _Visit) -> list[str]:
    """Return the variants that a release may open: all but the one that everyone has."""
    if visit.flag is None:
        return []
    here = ("projects", visit.project, "environments", visit.environment)
    default = api.get(*here, "flags", visit.flag["key"])["default"].get("variant")
    return [each["key"] for each in visit.flag["variants"] if each["key"] != default]


Step = tuple[Callable[[], Answer], Callable[[], str], str]
"""What a form does, where it leads then, and what the next page says."""


def _make_flag(visit: _Visit) -> Step:
    body = {
        "key": typed("key"),
        "type": "boolean",
        "description": typed("description"),
        "temporary": True,
    }
    base = f"/p/{visit.project}/e/{visit.environment}/begin?with={visit.guide}&flag={typed('key')}"
    return (
        lambda: api.ask("POST", api.path("projects", visit.project, "flags"), body=body),
        lambda: base,
        f"{typed('key')} is made. It serves off to everyone, so nothing changed.",
    )


def _make_token(visit: _Visit) -> Step:
    body: dict[str, Any] = {
        "name": typed("name"),
        "role": "client" if visit.guide == "javascript" else "sdk",
        "project": visit.project,
        "environment": visit.environment,
        "owner": typed("owner"),
    }
    if typed("expires_in"):
        body["expires_in"] = typed("expires_in")

    def act() -> Answer:
        answer = api.ask("POST", api.path("tokens"), body=body)
        visit.secret.update(name=typed("name"), secret=answer.body.get("secret", ""))
        return answer

    return act, lambda: visit.base, ""


def _allow_origin(visit: _Visit) -> Step:
    """Let pages of an origin ask for the flag: both need to be allowed, and one may be already."""
    assert visit.flag is not None
    origin, flag = typed("allowed_origins"), visit.flag["key"]
    origins, is_allowed = _origins(visit), visit.flag["client_side"]

    def allow_origin() -> Answer:
        where = ("projects", visit.project, "environments", visit.environment)
        allowed = origins if origin in origins else [*origins, origin]
        return _change(where, {"allowed_origins": allowed})

    def allow_flag() -> Answer:
        return _change(("projects", visit.project, "flags", flag), {"client_side": True})

    def act() -> Answer:
        if is_allowed:
            return allow_origin()
        # What is refused comes first, so that nothing is half done.
        guarded = visit.guards_origin is not None
        parts = (allow_flag, allow_origin) if guarded else (allow_origin, allow_flag)
        return [part() for part in parts][-1]

    return act, lambda: f"{visit.base}&step=connect", f"Pages of {origin} may ask for {flag}."


def _change(where: tuple[str, ...], fields: dict[str, Any]) -> Answer:
    """Write some fields of a document; the others stay as they are."""
    before = api.ask("GET", api.path(*where))
    known = {name: value for name, value in before.body.items() if name not in SET_BY_SERVER}
    body = {**known, **fields}
    return api.ask("PUT", api.path(*where), body=body, if_match=before.etag)


def _make_segment(visit: _Visit) -> Step:
    included = [key.strip() for key in typed("included").replace(",", "\n").splitlines()]
    body = {"key": typed("key"), "included": [key for key in included if key]}
    return (
        lambda: api.ask("POST", api.path("projects", visit.project, "segments"), body=body),
        lambda: f"{visit.base}&step=policy",
        f"{typed('key')} is made.",
    )


def _make_policy(visit: _Visit) -> Step:
    name, first = typed("from"), typed("segment")
    body = shipped.document(name if shipped.is_shipped(name) else "standard")
    if first:
        opening = {**body["stages"][0], "name": first, "segments": [first]}
        body = {**body, "stages": [{**opening, "percentage": FIRST_SHARE}, *body["stages"]]}
    return (
        lambda: api.ask("POST", api.path("projects", visit.project, "policies"), body=body),
        lambda: f"{visit.base}&step=release",
        f"{body['key']} is made. You can read and change it.",
    )


def _start_release(visit: _Visit) -> Step:
    assert visit.flag is not None
    body = {
        "flag": visit.flag["key"],
        "treatment": typed("treatment"),
        "policy": typed("policy"),
        "reason": typed("reason"),
    }
    releases = f"/p/{visit.project}/e/{visit.environment}/releases"
    made: dict[str, str] = {}

    def act() -> Answer:
        path = api.path(*("projects", visit.project, "environments", visit.environment), "releases")
        answer = api.ask("POST", path, body=body)
        made["id"] = answer.body.get("id", "")
        return answer

    return act, lambda: f"{releases}/{made['id']}", f"The release of {visit.flag['key']} began."
