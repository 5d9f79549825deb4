"""Starting a release: at once, later, or as a proposal, and what it will do, before it does it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, make_response, render_template, request

from tidegate_server.dashboard import api, policy_sentences, shell
from tidegate_server.dashboard.api import Answer, ApiProblem
from tidegate_server.dashboard.charts.policy_steps import policy_steps
from tidegate_server.dashboard.forms import FormState, attempt, done, pressed, typed, typed_values
from tidegate_server.dashboard.rule_sentences import serve_words
from tidegate_server.dashboard.sides import sides


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(
        "/p/<key:project>/e/<key:environment>/releases/new",
        view_func=new_release,
        methods=["GET", "POST"],
    )


def new_release(project: str, environment: str) -> Response:
    """Show the form of a new release: which flag, which variant, how carefully; start it."""
    shell.check_may("release")
    frame = shell.open_place(project, environment, "releases")
    place = frame.place
    assert place is not None
    where = ("projects", project, "environments", environment)
    key = typed("flag") or request.args.get("flag", "")
    created: dict[str, str] = {}

    def show(form: FormState, ahead: dict[str, Any] | None = None) -> Response:
        flag = api.get_if_allowed("projects", project, "flags", key) if key else None
        targeting = api.get(*where, "flags", key) if flag else None
        policies = api.all_of("projects", project, "policies")
        chosen = typed("policy") or request.args.get("policy", "")
        if not chosen and policies:
            chosen = policies[0]["key"]
        treatment = typed("treatment") or request.args.get("treatment", "")
        if flag and targeting and not treatment:
            others = [each["key"] for each in flag["variants"]]
            served = targeting["default"].get("variant")
            treatment = next((each for each in others if each != served), "")
        return shell.render(
            "new_release.html",
            frame,
            form=form,
            flag=flag,
            unknown="" if flag or not key else key,
            targeting=targeting,
            serves=serve_words(targeting["default"]) if targeting else "",
            flags=[] if flag else api.all_of("projects", project, "flags"),
            policies=[(each, policy_sentences.summary(each)) for each in policies],
            chosen=chosen,
            treatment=treatment,
            rule=typed("rule") or request.args.get("rule", ""),
            protected=place.approvals,
            **(ahead or _ahead(project, where, _body(key, chosen, treatment)) if flag else {}),
        )

    if request.method == "GET":
        return show(FormState())
    body = _body(key, typed("policy"), typed("treatment"))
    if pressed() == "preview":
        ahead = _ahead(project, where, body)
        if "part" in request.form:
            return make_response(render_template("release_ahead.html", **ahead))
        return show(FormState(typed_values()), ahead)

    def act() -> Answer:
        answer = api.ask("POST", api.path(*where, "releases"), body=body)
        if answer.status == HTTPStatus.CREATED:
            created["page"] = f"{place.address}/releases/{answer.body['id']}"
        return answer

    return attempt(act, show, lambda: done(created["page"], f"The release of {key} began."))


def _body(flag: str, policy: str, treatment: str) -> dict[str, Any]:
    """Return what the form asks for, as the API takes it."""
    return {
        "flag": flag,
        "treatment": treatment,
        "policy": policy,
        "rule": typed("rule") or request.args.get("rule", "") or None,
        "reason": typed("reason"),
        "draft": request.form.get("draft") == "yes",
    }


def _ahead(project: str, where: tuple[str, ...], body: dict[str, Any]) -> dict[str, Any]:
    """Return what a release would do: the steps of its policy, and who changes sides."""
    found = api.get_if_allowed("projects", project, "policies", body["policy"])
    if found is None:
        return {"steps": None, "lines": [], "sides": None, "sides_problem": ""}
    chart = policy_steps(
        policy_sentences.steps(found),
        policy_sentences.bake_ms(found),
        policy_sentences.says(found),
    )
    told, problem = None, ""
    if body["treatment"]:
        try:
            asked = {**body, "reason": ""}
            preview = api.ask("POST", api.path(*where, "releases", "preview"), body=asked).body
            told = sides(preview, body["flag"])
        except ApiProblem as refused:
            if refused.status == HTTPStatus.UNAUTHORIZED:
                raise
            problem = refused.detail
    lines = policy_sentences.stage_lines(found)
    return {"steps": chart, "lines": lines, "sides": told, "sides_problem": problem}
