"""The blueprint of the dashboard: its security policy, its errors, its static files."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from http import HTTPStatus
from importlib import import_module
from pkgutil import iter_modules
from urllib.parse import quote

from flask import Blueprint, Flask, Response, redirect, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from tidegate_server.dashboard import (
    access_words,
    assets,
    content_policy,
    forms,
    icons,
    pages,
    shell,
    words,
)
from tidegate_server.dashboard.api import ApiProblem
from tidegate_server.dashboard.charts.evidence_gauge import evidence_gauge
from tidegate_server.dashboard.charts.rollout_bar import release_bar, rollout_bar, share_label
from tidegate_server.dashboard.device_names import device_name
from tidegate_server.dashboard.pages.kills import not_heard_from
from tidegate_server.dashboard.pages.sign_in import sign_in_again
from tidegate_server.dashboard.policy_sentences import milliseconds
from tidegate_server.dashboard.release_sentences import open_to
from tidegate_server.dashboard.rule_forms import SERVE
from tidegate_server.dashboard.shortcuts import SHORTCUTS
from tidegate_server.errors import TidegateError
from tidegate_server.web import problem_documents

FORM = "application/x-www-form-urlencoded"
WEIGHT = f"-{SERVE}".encode()
"""What is in the name of the field of a weight."""

MOST_FIELDS = 10_000
"""How many fields a form may have. One of 500 rules, the most that a flag may have, has 5,000,
besides the weights of its variants: these are not counted, as they add no lines to a page."""

FOREVER = "public, max-age=31536000, immutable"

blueprint = Blueprint("dashboard", __name__, template_folder="templates")
for _module in iter_modules(pages.__path__):
    import_module(f"{pages.__name__}.{_module.name}").register(blueprint)


@blueprint.before_request
def refuse_endless_forms() -> None:
    """Refuse a form with more fields than any page has: each may become a line of a page.

    Raises:
        RequestEntityTooLarge: it has too many.
    """
    if request.mimetype != FORM:
        return
    names = (each.partition(b"=")[0] for each in request.get_data(cache=True).split(b"&"))
    if sum(WEIGHT not in name for name in names) > MOST_FIELDS:
        raise RequestEntityTooLarge(f"A form may have at most {MOST_FIELDS:,} fields.")


@blueprint.get("/assets/<version>/<name>")
def asset(version: str, name: str) -> ResponseReturnValue:
    """Serve a style sheet or a script."""
    found = assets.all_assets().get(name)
    if found is None or version != assets.version():
        return problem_documents.problem(
            HTTPStatus.NOT_FOUND, "not-found", "Not found", "There is no such file; load the page."
        )
    response = Response(found.content, content_type=found.content_type)
    response.headers["Cache-Control"] = FOREVER
    return response


@blueprint.after_request
def add_policy(response: Response) -> Response:
    """Allow a page its own styles and scripts, and nothing else."""
    response.headers.setdefault("Content-Security-Policy", content_policy.OWN)
    # With no-referrer, browsers send forms with the origin null, which no check could accept.
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@blueprint.errorhandler(ApiProblem)
def show_problem(problem: ApiProblem) -> ResponseReturnValue:
    """Show what the API refused; who is not signed in signs in first and then comes back."""
    try:
        if problem.status != HTTPStatus.UNAUTHORIZED:
            return shell.render_problem(problem)
        if request.method == "POST":
            return sign_in_again()
    except HTTPException as error:
        # The form, which would be shown again, is too long or did not arrive.
        return problem_documents.from_http_exception(error)
    return redirect(f"/sign-in?next={quote(request.full_path.rstrip('?'))}", 303)


@blueprint.errorhandler(TidegateError)
def show_error(error: TidegateError) -> ResponseReturnValue:
    """Show an error of the page itself, as the API would answer it."""
    answer = problem_documents.from_error(error)
    return show_problem(ApiProblem(HTTPStatus(answer.status_code), answer.get_json(force=True)))


def install(app: Flask) -> None:
    """Give an application the dashboard."""
    app.register_blueprint(blueprint)
    environment = app.jinja_env
    environment.trim_blocks = True
    environment.lstrip_blocks = True
    environment.globals.update(
        icon=icons.icon,
        icon_symbols=icons.symbols,
        asset=assets.address,
        theme=partial(shell.preference, "theme"),
        density=partial(shell.preference, "density"),
        shortcuts=SHORTCUTS,
        letters_off=partial(shell.preference, "keys"),
        time=_time,
        clock=_clock,
        csrf_field=forms.csrf_field,
        may=shell.may,
        reader_zone=shell.reader_zone,
        weekdays=words.WEEKDAYS,
        rate=words.rate,
        rollout_bar=rollout_bar,
        release_bar=release_bar,
        open_to=open_to,
        share_label=share_label,
        evidence_gauge=evidence_gauge,
        not_heard_from=not_heard_from,
    )
    environment.filters.update(
        role_name=access_words.role_name,
        place_name=access_words.place_name,
        grant_name=access_words.grant_name,
        device_name=device_name,
        number=words.number,
        count=words.count,
        percent=words.percent,
        duration=words.duration,
        span=lambda text: words.duration(milliseconds(text)),
        link_words=words.link_words,
        tied=words.tied,
    )


def _time(text: str | None, *, seconds: bool = False) -> object:
    return words.time_element(text, shell.now(), shell.reader_zone(), seconds=seconds)


def _clock(at: datetime) -> str:
    return words.clock(at, shell.now(), shell.reader_zone())
