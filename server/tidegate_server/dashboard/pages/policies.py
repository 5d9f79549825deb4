"""Policies: what one does, how long it takes, and how many it hurts."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import yaml
from flask import Blueprint, Response, request
from markupsafe import Markup

from tidegate_server.dashboard import api, policy_sentences, shell, words
from tidegate_server.dashboard.api import Answer, ApiProblem
from tidegate_server.dashboard.charts.policy_steps import policy_steps
from tidegate_server.dashboard.charts.simulation_charts import dots, stage_bars, time_bar
from tidegate_server.dashboard.forms import FormState, attempt, done, refuse, typed
from tidegate_server.dashboard.object_history import latest_changes
from tidegate_server.dashboard.shell import Place
from tidegate_server.documents import shipped
from tidegate_server.documents.lint import lint

SERVER_SETS: Final = ("revision", "updated_at", "warnings", "used_by")
SIMULATED_RUNS = 50
MOST_FLAGS = 20
ASKED: Final = ("flag", "traffic", "fails", "times")
"""What a simulation is asked with: a flag, at whose traffic, or the traffic; and the errors."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    project = "/p/<key:project>/policies"
    blueprint.add_url_rule(project, view_func=list_policies)
    blueprint.add_url_rule(
        f"{project}/<key:policy>", view_func=show_policy, methods=["GET", "POST"]
    )


def list_policies(project: str) -> Response:
    """Show the policies of a project."""
    frame = shell.open_project(project, "policies")
    page = api.get("projects", project, "policies", limit=50, cursor=request.args.get("cursor"))
    return shell.render(
        "policies.html",
        frame,
        project=project,
        lines=[(each, policy_sentences.summary(each)) for each in page["items"]],
        shipped=[(name, shipped.policy(name).description) for name in shipped.NAMES],
        later=page["next_cursor"],
    )


def show_policy(project: str, policy: str) -> Response:
    """Show what a policy does; with traffic in the address, simulate releases; delete it."""
    frame = shell.open_project(project, "policies")
    where = ("projects", project, "policies", policy)
    answer = api.ask("GET", api.path(*where))
    found = answer.body
    steps = policy_sentences.steps(found)
    simulated, problem = None, ""
    asked = {name: request.args.get(name, "").strip() for name in ASKED}
    flags = _busy_flags(frame.place)
    if asked["flag"] in flags:
        asked["traffic"] = words.number(flags[asked["flag"]]).replace(",", "")
    if "traffic" in request.args:
        try:
            simulated = _simulate(project, policy, asked)
        except ApiProblem as error:
            if error.status == HTTPStatus.UNAUTHORIZED:
                raise
            problem = "; ".join(error.fields.values()) or error.detail

    def show(form: FormState) -> Response:
        return shell.render("policy.html", frame, etag=form.etag(answer.etag), form=form, **shown)

    shown = {
        "project": project,
        "policy": found,
        "chart": policy_steps(steps, policy_sentences.bake_ms(found), policy_sentences.says(found)),
        "steps": policy_sentences.stage_lines(found),
        "rules": policy_sentences.rules(found),
        "source": as_yaml(found),
        "simulated": simulated and _pictures(simulated),
        "problem": problem,
        "asked": asked,
        "flags": flags,
        "record": api.get("projects", project, "policies", policy, "record"),
        "findings": lint(as_yaml(found), "The policy").hints,
        "history": latest_changes("policy", policy, project),
    }
    if request.method == "GET":
        return show(FormState())
    shell.check_may("write")
    if typed("confirm") != policy:
        return refuse(show, {"confirm": f"Type {policy} to delete it."})

    def act() -> Answer:
        return api.ask("DELETE", api.path(*where), if_match=typed("etag"), reason=typed("reason"))

    return attempt(act, show, lambda: done(f"/p/{project}/policies", f"{policy} is deleted."))


def _busy_flags(place: Place | None) -> dict[str, float]:
    """Return how often a minute flags of a place are evaluated at present, the busiest first."""
    if place is None or not place.environment:
        return {}
    where = ("projects", place.project, "environments", place.environment, "flags")
    found = api.get_if_allowed(*where, limit=100, sort="-updated")
    busy = {
        each["flag"]: each["evaluated"]["per_minute"]
        for each in (found["items"] if found else ())
        if each["evaluated"]["per_minute"] > 0
    }
    return dict(sorted(busy.items(), key=lambda each: -each[1])[:MOST_FLAGS])


def _simulate(project: str, policy: str, asked: dict[str, str]) -> Any:
    body = {
        "policy_key": policy,
        "traffic": _number("traffic", asked),
        "base_error": _number("fails", asked) / 100,
        "times": _number("times", asked),
        "runs": SIMULATED_RUNS,
    }
    return api.ask("POST", api.path("projects", project, "policies", "simulate"), body=body).body


def _number(name: str, asked: dict[str, str]) -> float:
    """Return a number of the query string.

    Raises:
        ApiProblem: it is not a number.
    """
    text = asked[name].replace(",", "").removesuffix("%").strip()
    try:
        return float(text)
    except ValueError:
        errors = [{"pointer": f"/{name}", "detail": f"{text or 'Nothing'} is not a number."}]
        raise ApiProblem(HTTPStatus.UNPROCESSABLE_ENTITY, {"errors": errors}) from None


def _pictures(simulated: dict[str, Any]) -> dict[str, Any]:
    """Return what the page draws of healthy and of bad releases, on one scale of time."""
    healthy, bad = simulated["healthy"], simulated["bad"]
    full, stopped = healthy["full_ms"], bad["stopped_ms"]
    whole = max([each["most"]["value"] for each in (full, stopped) if each] or [1.0]) * 1.1
    runs = healthy["runs"]
    completed = round(runs * healthy["completed"]["value"]) if healthy["completed"] else 0
    hits = [
        (each["name"], count) for each, count in zip(bad["by_stage"], bad["stages"], strict=False)
    ]
    where = ", ".join(f"{count} in {name}" for name, count in hits if count) or "none"
    return {
        "healthy": healthy,
        "bad": bad,
        "full": full and _time_bar(full, whole, bad=False),
        "stopped": stopped and _time_bar(stopped, whole, bad=True),
        "dots": dots(completed, runs, f"{completed} of {runs} completed"),
        "completed": completed,
        "complete": simulated["complete"],
        "stages": stage_bars(hits, bad["runs"], f"Stopped first: {where}"),
    }


def _time_bar(spread: dict[str, Any], whole: float, *, bad: bool) -> Markup:
    median, most = spread["median"]["value"], spread["most"]["value"]
    what = "Stopped" if bad else "Everyone has it"
    says = f"{what}: median {words.duration(median)}, nine of ten within {words.duration(most)}"
    return time_bar(median, most, whole, bad=bad, says=says)


def as_yaml(policy: dict[str, Any]) -> str:
    """Return a policy as YAML in the order in which it is documented."""
    document = {name: value for name, value in policy.items() if name not in SERVER_SETS}
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    return text
