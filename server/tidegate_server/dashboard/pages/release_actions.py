"""Acting on a release: what is offered in each state, and pages that say first what will happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, Response, abort, request

from tidegate_server.dashboard import api, release_needs, release_sentences, shell, words
from tidegate_server.dashboard.api import Answer, ApiProblem
from tidegate_server.dashboard.forms import FormState, attempt, done, typed
from tidegate_server.dashboard.reason_words import reason_words
from tidegate_server.dashboard.shortcuts import PAUSE, ROLL_BACK


@dataclass(frozen=True, slots=True)
class Action:
    """What a person may do to a release.

    Attributes:
        title: the question of its page; ``{flag}`` is the flag's key.
        button: the verb.
        icon: the icon of the button.
        did: what the next page says.
        route: the name of the API's action.
        permission: what it needs.
        key: the letter that opens its page.
        bad: whether it stops something.
        stop: whether it is a full stop.
        later: whether it can be scheduled.
    """

    title: str
    button: str
    icon: str
    did: str
    route: str
    permission: str = "release"
    key: str = ""
    bad: bool = False
    stop: bool = False
    later: bool = True


ACTIONS: Final[Mapping[str, Action]] = {
    "pause": Action(
        *("Pause the release of {flag}?", "Pause", "pause", "Paused.", "pause", "kill"), key=PAUSE
    ),
    "stop": Action(
        *("Stop the release of {flag} fully?", "Full stop", "stop", "Stopped.", "pause", "kill"),
        stop=True,
    ),
    "resume": Action("Resume the release of {flag}?", "Resume", "release", "Resumed.", "resume"),
    "advance": Action(
        "Open the next stage of {flag} now?", "Open the next stage", "advance", "Opened.", "advance"
    ),
    "begin": Action("Begin the release of {flag}?", "Begin", "release", "Begun.", "begin"),
    "approve": Action(
        *("Approve that {flag} goes on?", "Approve", "check", "Approved.", "approve", "approve"),
        later=False,
    ),
    "retry": Action(
        "Start the next attempt of {flag} now?", "Try again", "replay", "Started.", "retry"
    ),
    "rollback": Action(
        *("Roll {flag} back?", "Roll back", "back", "Rolled back.", "rollback", "kill"),
        key=ROLL_BACK,
        bad=True,
    ),
    "complete": Action(
        "Complete the release of {flag}?", "Complete", "check", "Completed.", "complete"
    ),
}

RUNNING = ("pause", "rollback", "advance", "stop", "complete")
OFFERED: Final[Mapping[str, tuple[str, ...]]] = {
    "draft": ("begin", "rollback"),
    "running": RUNNING,
    "holding": RUNNING,
    "baking": ("pause", "rollback", "stop", "complete"),
    "awaiting_approval": ("approve", "rollback", "pause", "advance", "stop", "complete"),
    "cooldown": ("retry", "rollback", "pause", "stop", "complete"),
    "paused": ("resume", "rollback", "stop", "complete"),
    "stopped": ("resume", "rollback", "complete"),
    "killed": ("rollback",),
}
"""What is offered in each state, the first two as buttons."""

FIRST: Final = ("begin", "approve", "retry", "resume")
"""What goes on where a release waits for a person."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A button that opens the page of an action."""

    name: str
    action: Action
    first: bool


def offered(release: dict[str, Any]) -> list[Offer]:
    """Return what the reader may do to a release as it is, in the order of its buttons."""
    stage = release["stage"]
    last = stage["number"] == stage["of"]
    return [
        Offer(name, ACTIONS[name], name in FIRST)
        for name in OFFERED.get(release_sentences.display_state(release), ())
        if shell.may(ACTIONS[name].permission) and not (name == "advance" and last)
    ]


PREVIEWED: Final = ("begin", "advance", "retry", "rollback", "complete")
"""What the API can say in advance of the people whom it concerns."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(
        "/p/<key:project>/e/<key:environment>/releases/<key:release>/<key:action>",
        view_func=act_on_release,
        methods=["GET", "POST"],
    )


def act_on_release(project: str, environment: str, release: str, action: str) -> Response:
    """Say what an action does; do it when the form comes back."""
    chosen = ACTIONS.get(action)
    if chosen is None:
        abort(404)
    shell.check_may(chosen.permission)
    frame = shell.open_place(project, environment, "releases")
    where = ("projects", project, "environments", environment, "releases", release)
    found = api.get(*where)
    base = f"/p/{project}/e/{environment}/releases/{release}"

    def show(form: FormState) -> Response:
        return shell.render(
            "release_action.html",
            frame,
            release=found,
            base=base,
            action=chosen,
            title=chosen.title.format(flag=found["flag"]),
            effects=effects(action, found),
            people=_people(where, action),
            form=form,
        )

    def act() -> Answer:
        body: dict[str, Any] = {"reason": typed("reason")}
        if chosen.stop:
            body["stop"] = True
        return api.ask("POST", api.path(*where, chosen.route), body=body)

    if request.method == "GET":
        return show(FormState())
    return attempt(act, show, lambda: done(base, f"{found['flag']}: {chosen.did}"))


def _people(where: tuple[str, ...], action: str) -> str:
    """Return who of the people seen in the last hour would change sides, in words."""
    if action not in PREVIEWED:
        return ""
    try:
        found = api.ask("POST", api.path(*where, "preview"), body={"action": action}).body
    except ApiProblem:
        return ""  # it is no longer possible, which the form says when it is sent
    return words.tied(str(found["text"])) if found["seen"] else ""


def effects(action: str, release: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what an action does: an icon, what happens, and to whom."""
    treatment, control = release["treatment"], release["control"]
    now, stages = release_sentences.open_to(release), release["policy"]["stages"]
    share = release["open_percentage"] or 0
    number = release["stage"]["number"]
    following = stages[number] if number < len(stages) else None
    match action:
        case "pause":
            return [
                ("people", f"Nothing changes for anybody: it stays open to {now}.", ""),
                ("back", "A rollback still happens", "when evidence speaks against it."),
            ]
        case "stop":
            return [
                ("people", f"Nothing changes for anybody: it stays open to {now}.", ""),
                ("stop", "Nothing automatic happens, not even a rollback,", "until it is resumed."),
            ]
        case "resume":
            return [("release", "The policy goes on from here", f"with {now}.")]
        case "advance" if following is not None:
            who = release_sentences.audience(following["segments"], following["percentage"])
            return [
                ("people", f"It opens to {who} at once,", f"now it is open to {now}."),
                *_skipped(release),
            ]
        case "begin":
            first = release_sentences.audience(stages[0]["segments"], stages[0]["percentage"])
            return [("people", f"It opens to {first} at once.", "")]
        case "approve":
            given = len(release["approvals"]) + 1
            stage = stages[number - 1]["approval"] or {}
            count, needed = stage.get("count", 1), max(stage.get("count", 1) - given, 0)
            more = f"{needed} of {count} are missing then." if needed else ""
            next_one = (
                "everyone"
                if following is None
                else release_sentences.audience(following["segments"], following["percentage"])
            )
            what = f"It may open to {next_one}" if not needed else "Your approval counts"
            return [("check", what, more or "when everything else still agrees.")]
        case "retry":
            again = release_sentences.audience(
                stages[number - 1]["segments"], stages[number - 1]["percentage"]
            )
            why = reason_words(release["reason"], release)
            return [
                ("people", f"It opens to {again} at once,", "the same people as before."),
                ("warn", "It was closed because:", why),
            ]
        case "rollback":
            return [
                ("people", f"Everyone gets {control}.", f"Now {now} get {treatment}."),
                ("release", "The release ends.", "Another one can start afterwards."),
            ]
        case "complete":
            more = f"{100 - share:g} of 100 people more than now." if share < 100 else ""
            return [
                ("people", f"Everyone gets {treatment} at once.", more),
                ("release", "The release ends,", "and no control group is left to compare with."),
            ]
    return []


def _skipped(release: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what a release still needs, which an advance by hand does without."""
    now, zone = shell.now(), shell.reader_zone()
    needs = release_needs.still_needs(release, now, zone).removeprefix("It still needs ")
    return [("hand", "It does not wait for", needs)] if needs else []
