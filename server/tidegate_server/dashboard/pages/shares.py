"""Links that show the report of a release, or a badge, to people who have no account."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, make_response, render_template, request

from tidegate_server.dashboard import api, shell, words
from tidegate_server.dashboard.api import Answer, ApiProblem
from tidegate_server.dashboard.charts.badge import badge
from tidegate_server.dashboard.forms import FormState, attempt, done, typed
from tidegate_server.dashboard.pages.release import cleanup, release_values
from tidegate_server.dashboard.release_sentences import CHIPS, OVER
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.permissions import Grant, Permission

LASTS = (("1d", "a day"), ("7d", "a week"), ("30d", "30 days"), ("90d", "90 days"))
BADGE_SECONDS = 60
"""How long a badge may be kept by browsers and proxies."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    place = "/p/<key:project>/e/<key:environment>"
    for of in ("releases/<key:release>", "flags/<key:flag>"):
        blueprint.add_url_rule(f"{place}/{of}/share", view_func=share, methods=["GET", "POST"])
    blueprint.add_url_rule(
        "/shared/<key:project>/<key:share>/<key:secret>", view_func=shared_report
    )
    blueprint.add_url_rule(
        "/badge/<key:project>/<key:share>/<key:secret>.svg", view_func=show_badge
    )


def share(project: str, environment: str, release: str = "", flag: str = "") -> Response:
    """Show the links to a release or to the state of a flag; make one, or revoke one."""
    shell.check_may("release")
    kind, shown = ("releases", release) if release else ("flags", flag)
    frame = shell.open_place(project, environment, kind)
    where = ("projects", project, "environments", environment)
    base = f"/p/{project}/e/{environment}/{kind}/{shown}"
    found = api.get(*where, kind, shown)
    made: dict[str, Any] = {}

    def show(form: FormState) -> Response:
        links = api.all_of(*where, "shares")
        now = shell.now()
        return shell.render(
            "share.html",
            frame,
            release=release,
            flag=found["flag"],
            base=base,
            links=[
                (each, each["expires_at"] and words.parse_instant(each["expires_at"]) < now)
                for each in links
                if each["release"] == release and each["flag"] == found["flag"]
            ],
            lasts=LASTS,
            made=made,
            form=form,
        )

    if request.method == "GET":
        return show(FormState())
    if id := typed("revoke"):
        return attempt(
            lambda: api.ask("DELETE", api.path(*where, "shares", id)),
            show,
            lambda: done(f"{base}/share", "Revoked: the link no longer works."),
        )

    def act() -> Answer:
        kind = "badge" if flag or typed("kind") == "badge" else "report"
        body = {
            "kind": kind,
            **({"release": release} if release else {"flag": flag}),
            "lasts": None if kind == "badge" else typed("lasts") or "7d",
        }
        answer = api.ask("POST", api.path(*where, "shares"), body=body)
        made.update(answer.body)
        return answer

    return attempt(act, show, lambda: show(FormState()))


def shared_report(project: str, share: str, secret: str) -> Response:
    """Show the report of a release to whoever has its link, without signing in."""
    opened = _open(project, share, secret)
    if opened["kind"] != "report":
        raise ApiProblem(shell.NOT_FOUND, {"detail": "This link shows no report."})
    # What the link shows is asked for in the name of the link, and of nobody else.
    g.caller = Caller(
        id=f"share-{share}",
        name=f"link {share}",
        known_as=f"link {share}",
        grants=(Grant(frozenset({Permission.READ}), project),),
        answerable=f"share:{share}",
    )
    environment, release = opened["environment"], opened["release"]
    where = ("projects", project, "environments", environment, "releases", release)
    found = api.get(*where)
    page = render_template(
        "shared.html",
        **release_values(project, environment, found),
        cleanup=cleanup(*where) if found["state"] in OVER else [],
        place=shell.Place(project, environment, production=False),
        expires=opened["expires_at"],
        base="",
    )
    response = make_response(page)
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def show_badge(project: str, share: str, secret: str) -> Response:
    """Show the state of a flag or a release, and nothing else."""
    opened = _open(project, share, secret)
    if opened["kind"] != "badge":
        raise ApiProblem(shell.NOT_FOUND, {"detail": "This link shows no badge."})
    kind, _, word = CHIPS.get(opened["state"], ("", "", opened["state"].capitalize()))
    share_of = opened["percentage"]
    if opened["state"] in ("running", "holding", "baking") and share_of is not None:
        word = f"{word}, {words.percent(share_of)}"
    response = Response(badge(opened["flag"], word.lower(), kind), mimetype="image/svg+xml")
    response.headers["Cache-Control"] = f"public, max-age={BADGE_SECONDS}"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["X-Robots-Tag"] = "noindex"
    return response


def _open(project: str, share: str, secret: str) -> Any:
    """Return what a link shows; raises ``ApiProblem`` if it does not work."""
    answer, _ = api.ask_without_reader(
        "POST", api.path("shared", project, share), {"secret": secret}
    )
    return answer.body
