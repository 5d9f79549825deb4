"""What a flag serves to one user and why, now or at an earlier version."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell
from tidegate_server.dashboard.api import ApiProblem
from tidegate_server.dashboard.context_forms import KEY, read_context, shown_attributes
from tidegate_server.dashboard.forms import FormState, done, pressed, refused, typed, typed_values
from tidegate_server.dashboard.typed_numbers import whole_number


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(
        "/p/<key:project>/e/<key:environment>/flags/<key:flag>/playground",
        view_func=playground,
        methods=["GET", "POST"],
    )


def playground(project: str, environment: str, flag: str) -> Response:
    """Evaluate a flag for the context of a form, keep a context, or forget one.

    The context stays out of the address, because it may name a person.
    """
    frame = shell.open_place(project, environment, "flags")
    definition = api.get("projects", project, "flags", flag)
    contexts = ("projects", project, "contexts")
    base = f"/p/{project}/e/{environment}/flags/{flag}"
    saved = api.all_of(*contexts)

    def show(form: FormState, result: Any = None, status: int = HTTPStatus.OK) -> Response:
        return shell.render(
            "playground.html",
            frame,
            status=status,
            flag=definition,
            base=base,
            form=form,
            saved=saved,
            result=result,
        )

    if request.method == "GET":
        return show(FormState())
    values, button = typed_values(), pressed("ask")
    verb, _, key = button.partition(" ")
    if verb == "use":
        chosen = next((each for each in saved if each["key"] == key), None)
        context = chosen["context"] if chosen else {}
        values |= {"key": context.get(KEY) or "", "attributes": shown_attributes(context)}
    try:
        if verb == "forget":
            address = api.path(*contexts, key)
            etag = api.ask("GET", address).etag
            why = f"no longer needed to try {flag} out"
            api.ask("DELETE", address, if_match=etag, reason=why)
            return done(f"{base}/playground", f"The context {key} is forgotten.")
        context = read_context(values.get("key", "").strip(), values.get("attributes", ""))
        if verb == "keep":
            body = {"key": typed("name"), "context": context}
            api.ask("POST", api.path(*contexts), body=body, reason=f"to try {flag} out")
            saved[:] = api.all_of(*contexts)
        result = _evaluate(project, environment, flag, context)
    except ValueError as error:
        form = FormState(values, {"attributes": str(error)})
        return show(form, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    except ApiProblem as problem:
        if problem.status == HTTPStatus.UNAUTHORIZED:
            raise
        return show(_refused(problem, verb), status=problem.status)
    return show(FormState(values), result)


def _evaluate(project: str, environment: str, flag: str, context: dict[str, Any]) -> Any:
    body: dict[str, Any] = {"context": context}
    version = typed("version").replace(",", "")
    if (number := whole_number(version)) is not None:
        body["version"] = number
    elif version:
        errors = [{"pointer": "/version", "detail": "Give the number of a version, such as 214."}]
        raise ApiProblem(HTTPStatus.UNPROCESSABLE_ENTITY, {"errors": errors})
    where = api.path("projects", project, "environments", environment, "flags", flag, "evaluate")
    return api.ask("POST", where, body=body).body


def _refused(problem: ApiProblem, verb: str) -> FormState:
    """Return the form; the key of a context that is kept is its name, not the targeting key."""
    form = refused(problem)
    if verb == "keep" and "key" in form.errors:
        errors = {**form.errors, "name": form.errors["key"]}
        del errors["key"]
        return FormState(form.values, errors, form.problem)
    return form
