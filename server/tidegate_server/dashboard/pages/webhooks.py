"""Settings: webhooks and their deliveries."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.forms import FormState, attempt, done, pressed, typed
from tidegate_server.dashboard.pages.settings import BASE, ask_to_delete, render_tab

PAGE: Final = 50

FORMATS: Final = (
    ("json", "signed JSON"),
    ("slack", "Slack"),
    ("teams", "Microsoft Teams"),
    ("discord", "Discord"),
    ("email", "mail"),
)

CHIPS: Final = {
    "waiting": ("warn", "clock", "Waiting"),
    "delivered": ("good", "check", "Delivered"),
    "given_up": ("bad", "x", "Given up"),
}
"""The class, the icon and the word of each state of a delivery."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    item = f"{BASE}/webhooks/<key:webhook>"
    both = ["GET", "POST"]
    blueprint.add_url_rule(f"{BASE}/webhooks", view_func=webhooks, methods=both)
    blueprint.add_url_rule(item, view_func=show_webhook, methods=both)
    blueprint.add_url_rule(f"{item}/delete", view_func=delete_webhook, methods=both)
    blueprint.add_url_rule(f"{item}/deliveries/<key:delivery>", view_func=show_delivery)


def webhooks(project: str) -> Response:
    """Show the webhooks of a project; make one, whose secret only the answer shows."""
    where = ("projects", project, "webhooks")
    made: dict[str, Any] = {}

    def show(form: FormState) -> Response:
        return render_tab(
            "settings_webhooks.html",
            project,
            "webhooks",
            items=api.all_of(*where),
            formats=FORMATS,
            form=form,
            made=made,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        body = {"key": typed("key"), "url": typed("url"), "format": typed("format") or "json"}
        answer = api.ask("POST", api.path(*where), body=body, reason=typed("reason"))
        made.update(answer.body)
        return answer

    return attempt(act, show, lambda: show(FormState()))


def show_webhook(project: str, webhook: str) -> Response:
    """Show a webhook with its deliveries; change it, test it, give it another secret."""
    where = ("projects", project, "webhooks", webhook)
    made: dict[str, Any] = {}

    def show(form: FormState) -> Response:
        found = api.ask("GET", api.path(*where))
        page = api.get(*where, "deliveries", limit=PAGE, cursor=request.args.get("cursor"))
        return render_tab(
            "settings_webhook.html",
            project,
            "webhooks",
            webhook=found.body,
            etag=form.etag(found.etag),
            deliveries=[(each, CHIPS[each["state"]]) for each in page["items"]],
            later=page["next_cursor"],
            formats=FORMATS,
            form=form,
            made=made,
        )

    if request.method == "GET":
        return show(FormState())
    verb = pressed("save")

    def act() -> Answer:
        if verb == "test":
            return api.ask("POST", api.path(*where, "test"), body={"reason": typed("reason")})
        if verb == "rotate":
            answer = api.ask("POST", api.path(*where, "rotate"), reason=typed("reason"))
            made.update(answer.body)
            return answer
        body = {
            **{name: typed(name) for name in ("url", "format", "timeout", "name", "description")},
            "enabled": request.form.get("enabled") == "yes",
        }
        return api.ask("PUT", api.path(*where), body=body, if_match=request.form.get("etag"))

    if verb == "rotate":
        return attempt(act, show, lambda: show(FormState()))
    says = "A test message is on its way; it is below." if verb == "test" else "Saved."
    return attempt(act, show, lambda: done(request.path, says))


def delete_webhook(project: str, webhook: str) -> Response:
    """Ask whether to delete a webhook; delete it."""
    shell.check_may("write")
    says = "Its messages that wait are dropped. A webhook that a policy names stays."
    return ask_to_delete(project, "webhooks", webhook, f"webhook {webhook}", says)


def show_delivery(project: str, webhook: str, delivery: str) -> Response:
    """Show a delivery: what was sent, and what was answered."""
    found = api.get("projects", project, "webhooks", webhook, "deliveries", delivery)
    return render_tab(
        "delivery.html",
        project,
        "webhooks",
        webhook=webhook,
        delivery=found,
        chip=CHIPS[found["state"]],
    )
