"""Killing a flag or all flags with a tag, the kills in force, and restoring."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, release_sentences, shell
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.forms import FormState, asks_when, attempt, done, refuse, typed
from tidegate_server.dashboard.pages.flags import active_release
from tidegate_server.dashboard.shell import Place

USUAL_REASONS = ("Errors", "Slow", "Wrong results", "As a precaution")

MOST_NAMED = 10
"""How many of the processes that have not answered are named."""

Effect = tuple[str, str, str]
"""An icon, what happens, and to whom."""


TAGGED = 100
"""Of how many flags the tags are offered."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    place = "/p/<key:project>/e/<key:environment>"
    both = ["GET", "POST"]
    for action, view in (("kill", kill), ("restore", restore)):
        blueprint.add_url_rule(f"{place}/flags/<key:flag>/{action}", view_func=view, methods=both)
    blueprint.add_url_rule(f"{place}/kill", view_func=kill_tag, methods=both)
    blueprint.add_url_rule(f"{place}/restore", view_func=restore_tag, methods=both)
    blueprint.add_url_rule(f"{place}/kills", view_func=list_kills)


def kill(project: str, environment: str, flag: str) -> Response:
    """Say what a kill does; kill when the form comes back.

    In production it takes a second move: to hold the button, or to type the flag's key.
    """
    shell.check_may("kill")
    frame = shell.open_place(project, environment, "flags")
    place = _place(frame)
    where = ("projects", project, "environments", environment, "flags", flag)
    base = f"{place.address}/flags/{flag}"

    def show(form: FormState) -> Response:
        targeting = api.get(*where)
        definition = api.get("projects", project, "flags", flag)
        release = active_release(project, environment, targeting)
        off = targeting["kill_variant"] or targeting["off_variant"]
        return shell.render(
            "kill.html",
            frame,
            what=flag,
            word=flag,
            back=base,
            crumbs=((f"{place.address}/flags", "Flags"), (base, flag)),
            off=off,
            effects=[*_effects(release, off), _processes(place)],
            tags=definition["tags"],
            command=f'tidegate kill {flag} --environment {environment} --reason "…"',
            usual=USUAL_REASONS,
            production=place.production,
            form=form,
        )

    return _confirmed_kill(
        place,
        flag,
        show,
        lambda body: api.ask("POST", api.path(*where, "kill"), body=body),
        lambda: done(base, f"{flag} is killed."),
    )


def _tags(project: str) -> list[str]:
    """Return tags to choose from: of the first flags only, because a kill does not wait."""
    page = api.get("projects", project, "flags", limit=TAGGED)
    return sorted({tag for flag in page["items"] for tag in flag["tags"]})


def kill_tag(project: str, environment: str) -> Response:
    """Say which flags a kill of a tag kills; kill them when the form comes back."""
    shell.check_may("kill")
    frame = shell.open_place(project, environment, "flags")
    place, tag = _place(frame), request.args.get("tag", "") or typed("tag")
    where = ("projects", project, "environments", environment)

    def show(form: FormState) -> Response:
        flags = api.all_of(*where, "flags", tag=tag) if tag else []
        return shell.render(
            "kill.html",
            frame,
            what=f"every flag with the tag {tag}" if tag else "",
            word=tag,
            back=f"{place.address}/flags",
            crumbs=((f"{place.address}/flags", "Flags"),),
            off="the kill variant",
            effects=[*_tag_effects(flags), _processes(place)] if flags else [],
            tags=[] if tag else _tags(project),
            flags=flags,
            tag=tag,
            command=f'tidegate kill --tag {tag} --environment {environment} --reason "…"',
            usual=USUAL_REASONS,
            production=place.production,
            form=form,
        )

    version: dict[str, int] = {}

    def act(body: dict[str, str]) -> Answer:
        answer = api.ask("POST", api.path(*where, "kill"), body={"tag": tag, **body})
        version["is"] = answer.body["version"]
        return answer

    return _confirmed_kill(
        place,
        tag,
        show,
        act,
        lambda: done(
            f"{place.address}/kills?version={version['is']}",
            f"Every flag with the tag {tag} is killed.",
        ),
    )


def _confirmed_kill(
    place: Place,
    word: str,
    show: Any,
    act: Any,
    then: Any,
) -> Response:
    """Show the form of a kill; kill when it comes back with all that production asks for.

    Args:
        place: where.
        word: what may be typed instead of holding the button.
        show: returns the page with a form.
        act: kills, with the body of the request.
        then: returns where to go afterwards.
    """
    if request.method == "GET":
        return show(FormState())  # type: ignore[no-any-return]
    reason = typed("reason")
    held = request.form.get("held") == "yes" or typed("confirm") == word
    errors = {}
    if place.production and not reason:
        errors["reason"] = "Say why in a word or two; everyone on call reads it."
    if place.production and not held:
        errors["confirm"] = f"Type {word} to kill it, or hold the button."
    if errors:
        return refuse(show, errors)
    return attempt(lambda: act({"reason": reason, "url": typed("url")}), show, then)


def _place(frame: shell.Shell) -> Place:
    assert frame.place is not None
    return frame.place


def _effects(release: dict[str, Any] | None, off: str) -> list[Effect]:
    """Return what a kill of one flag does, and to whom."""
    if release is None:
        return [("people", "Everyone", f"gets {off} with their next request.")]
    who = release_sentences.open_to(release)
    share = release["open_percentage"] or 0
    return [
        (
            "people",
            f"{who[0].upper()}{who[1:]}",
            f"{'loses' if who == 'everyone' else 'lose'} {release['treatment']} and "
            f"{'gets' if who == 'everyone' else 'get'} {off} with the next request."
            + (" The others already have it." if share < 100 else ""),
        ),
        (
            "pause",
            "The release stops.",
            "A restore leaves it paused, so nothing reopens by itself.",
        ),
    ]


def _tag_effects(flags: list[dict[str, Any]]) -> list[Effect]:
    """Return what a kill of all flags with a tag does."""
    count, already = len(flags), sum(each["killed"] is not None for each in flags)
    releases = sum(each["release"] is not None for each in flags)
    flags_word = "flag" if count == 1 else "flags"
    return [
        (
            "people",
            f"Everyone gets the kill variant of {count} {flags_word},",
            "of all of them at the same moment."
            + (f" Killed already, and left so: {already}." if already else ""),
        ),
        *(
            [
                (
                    "pause",
                    f"{releases} release{'s stop' if releases > 1 else ' stops'}.",
                    "A restore leaves them paused.",
                )
            ]
            if releases
            else []
        ),
    ]


def _processes(place: Place) -> Effect:
    """Return how many processes will say that they have applied a kill."""
    found = api.get(
        *("projects", place.project, "environments", place.environment, "instances"),
        live="true",
        limit=1,
    )
    live = found["total"]
    if not live:
        return "server", "No process is live,", "so none will say that it has applied it."
    if live == 1:
        return "server", "1 live process", "will say that it has applied it."
    return "server", f"{live:,} live processes", "will say that they have applied it."


def list_kills(project: str, environment: str) -> Response:
    """Show the kills in force in an environment, and how far each has reached."""
    frame = shell.open_place(project, environment, "flags")
    found = api.all_of("projects", project, "kills")
    here = [each for each in found if each["environment"] == environment]
    here.sort(key=lambda each: each["killed"]["at"], reverse=True)
    version = request.args.get("version", "")
    receipt = None
    if version.isascii() and version.isdigit():
        receipt = api.get_if_allowed(
            "projects", project, "environments", environment, "receipts", version
        )
    tags = dict.fromkeys(each["killed"]["tag"] for each in here if each["killed"]["tag"])
    return shell.render("kills.html", frame, kills=here, receipt=receipt, tags=list(tags))


def not_heard_from(place: Place, waiting: list[str]) -> list[dict[str, Any]]:
    """Return the processes that have not answered, by their ids, a few of them."""
    if not waiting:
        return []
    found = api.get_if_allowed(
        *("projects", place.project, "environments", place.environment, "instances"),
        live="true",
        limit=100,
    )
    known = {each["id"]: each for each in (found["items"] if found else ())}
    return [known[id] for id in waiting if id in known][:MOST_NAMED]


def restore(project: str, environment: str, flag: str) -> Response:
    """Say what comes back; restore when the form comes back."""
    shell.check_may("kill")
    frame = shell.open_place(project, environment, "flags")
    place = _place(frame)
    where = ("projects", project, "environments", environment, "flags", flag)
    base = f"{place.address}/flags/{flag}"
    targeting = api.get(*where)
    release = active_release(project, environment, targeting)

    def show(form: FormState) -> Response:
        told = None
        if targeting["killed"] is not None:
            told = api.ask("POST", api.path(*where, "restore", "preview")).body
        return shell.render(
            "restore.html",
            frame,
            flag=flag,
            base=base,
            targeting=targeting,
            release=release,
            told=told,
            form=form,
        )

    if request.method == "GET":
        return show(FormState())
    if not asks_when() and not typed("reason"):
        return refuse(show, {"reason": "Say what was fixed; everyone on call reads it."})
    body = {"reason": typed("reason"), "url": typed("url")}

    def act() -> Answer:
        if request.form.get("also") == "rollback" and release is not None:
            release_path = api.path(*where[:4], "releases", release["id"], "rollback")
            api.ask("POST", release_path, body={"reason": body["reason"]})
        return api.ask("POST", api.path(*where, "restore"), body=body)

    return attempt(act, show, lambda: done(base, f"{flag} is restored."))


def restore_tag(project: str, environment: str) -> Response:
    """Say which flags come back with a tag; restore them when the form comes back."""
    shell.check_may("kill")
    frame = shell.open_place(project, environment, "flags")
    place, tag = _place(frame), request.args.get("tag", "") or typed("tag")
    found = api.all_of("projects", project, "kills")
    flags = [
        each["flag"]
        for each in found
        if each["environment"] == environment and each["killed"]["tag"] == tag and tag
    ]

    def show(form: FormState) -> Response:
        return shell.render("restore_tag.html", frame, tag=tag, flags=flags, form=form)

    if request.method == "GET":
        return show(FormState())
    if not asks_when() and not typed("reason"):
        return refuse(show, {"reason": "Say what was fixed; everyone on call reads it."})

    def act() -> Answer:
        path = api.path("projects", project, "environments", environment, "restore")
        body = {"tag": tag, "reason": typed("reason"), "url": typed("url")}
        return api.ask("POST", path, body=body)

    return attempt(act, show, lambda: done(f"{place.address}/kills", f"{tag} is restored."))
