"""The command palette, which without a script is a page of results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Blueprint, Response, make_response, render_template, request

from tidegate_server.dashboard import api, flag_sentences, release_sentences, shell
from tidegate_server.dashboard.shell import Place, Shell
from tidegate_server.dashboard.shortcuts import LEADER

MOST = 8
BEGIN = ("begin", "connect", "application", "tour")
"""The words by which the first page is found."""

OVER: Final = ("completed", "rolled_back")
"""The states of releases with which nothing can be done any more."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One result: where it leads, and its state, so that it answers without being followed.

    ``keys`` are what leads there from every page; empty: none.
    """

    icon: str
    text: str
    says: str
    address: str
    keys: str = ""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule("/p/<key:project>/e/<key:environment>/search", view_func=search)


def search(project: str, environment: str) -> Response:
    """Find what may be done here, and what there is; what is found does nothing by itself."""
    frame = shell.open_place(project, environment, "")
    place = frame.place
    assert place is not None
    text = request.args.get("q", "").strip().lower()
    groups = [
        ("Here", _fitting(_here(place), text)),
        ("Flags", _flags(place, text)),
        ("Releases", _releases(place, text)),
        ("Segments", _documents(place, text, "segments", "people")),
        ("Policies", _documents(place, text, "policies", "policy")),
        ("Do", _fitting(_make(place), text)),
        ("Pages", _pages(place, frame, text)),
    ]
    found = _once(groups)
    if request.args.get("part"):
        return make_response(render_template("search_results.html", groups=found, text=text))
    return shell.render("search.html", frame, groups=found, text=text)


def _once(groups: list[tuple[str, list[Hit]]]) -> list[tuple[str, list[Hit]]]:
    """Return the groups with each address in the first one that has it; empty ones are left out."""
    known: set[str] = set()
    found = []
    for title, hits in groups:
        fresh = [hit for hit in hits if hit.address not in known]
        known |= {hit.address for hit in fresh}
        if fresh:
            found.append((title, fresh))
    return found


def _fitting(hits: list[Hit], text: str) -> list[Hit]:
    """Return the hits that have every word."""
    return [each for each in hits if all(word in each.text.lower() for word in text.split())]


def _pages(place: Place, frame: Shell, text: str) -> list[Hit]:
    hits = _fitting(
        [
            Hit(each.icon, each.title, "", each.address, f"{LEADER} {each.key}")
            for each in frame.links
        ],
        text,
    )
    if any(word.startswith(text) for word in BEGIN):
        hits.append(Hit("plus", "Begin", "connect an application", f"{place.address}/begin"))
    return hits


def _here(place: Place) -> list[Hit]:
    """Return what may be done with the flag or the release of the page that asks."""
    path = urlsplit(request.referrer or "").path
    if not path.startswith(f"{place.address}/"):
        return []
    kind, _, rest = path.removeprefix(f"{place.address}/").partition("/")
    key = rest.partition("/")[0]
    where = ("projects", place.project, "environments", place.environment)
    if kind == "releases" and key:
        release = api.get_if_allowed(*where, "releases", key)
        return (
            [*_for_release(place, release), *_for_flag(place, release["flag"])] if release else []
        )
    return _for_flag(place, key) if kind == "flags" and key else []


def _for_flag(place: Place, flag: str) -> list[Hit]:
    where = ("projects", place.project, "environments", place.environment)
    targeting = api.get_if_allowed(*where, "flags", flag)
    if targeting is None:
        return []
    base, hits = f"{place.address}/flags/{flag}", []
    if targeting["killed"] and shell.may("kill"):
        hits.append(Hit("restore", f"Restore {flag}\u2026", "killed", f"{base}/restore"))
    elif shell.may("kill"):
        hits.append(Hit("kill", f"Kill {flag}\u2026", "asks first", f"{base}/kill"))
    if shell.may("write"):
        hits.append(Hit("edit", f"Edit whom {flag} serves what\u2026", "", f"{base}/rules"))
    if shell.may("write", shared=True):
        hits.append(Hit("edit", f"Edit {flag}\u2026", "name, owner, variants", f"{base}/edit"))
    hits += [
        Hit("search", f"Try {flag} for somebody", "", f"{base}/playground"),
        Hit("log", f"Versions of {flag}", "compare, bring back", f"{base}/history"),
        Hit("x", f"Clean up {flag}\u2026", "code, archive, delete", f"{base}/clean-up"),
    ]
    return hits


def _for_release(place: Place, release: dict[str, Any]) -> list[Hit]:
    base, flag = f"{place.address}/releases/{release['id']}", release["flag"]
    if release["state"] in OVER or not shell.may("release"):
        return []
    says = f"{release_sentences.chip(release).word.lower()}, {release_sentences.open_now(release)}"
    pause = ("release", "Resume", "resume") if release["state"] == "paused" else (
        "pause", "Pause", "pause"
    )  # fmt: skip
    acts = (pause, ("back", "Roll back", "rollback"))
    return [
        Hit(icon, f"{verb} the release of {flag}\u2026", says, f"{base}/{act}")
        for icon, verb, act in acts
    ]


def _make(place: Place) -> list[Hit]:
    """Return what may be made anew."""
    shared = f"/p/{place.project}"
    made = (
        ("write", "New flag\u2026", f"{place.address}/flags/new"),
        ("release", "Start a release\u2026", f"{place.address}/releases/new"),
        ("write", "New segment\u2026", f"{shared}/segments/new"),
        ("write", "New policy\u2026", f"{shared}/policies/new"),
    )
    return [
        Hit("plus", text, "", address)
        for may, text, address in made
        if shell.may(may, shared=may == "write")
    ]


def _documents(place: Place, text: str, kind: str, icon: str) -> list[Hit]:
    """Return segments or policies by their words."""
    if not text:
        return []
    found = api.get_if_allowed("projects", place.project, kind, limit=100)
    hits = [
        Hit(icon, each["key"], each["name"] or each["description"],
            f"/p/{place.project}/{kind}/{each['key']}")
        for each in (found["items"] if found else ())
        if all(word in f"{each['key']} {each['name']}".lower() for word in text.split())
    ]  # fmt: skip
    return hits[:MOST]


def _flags(place: Place, text: str) -> list[Hit]:
    """Return flags by their words; with "kill" before them, their kill pages."""
    wants_kill = text.startswith("kill") and shell.may("kill")
    page = api.get(
        *("projects", place.project, "environments", place.environment, "flags"),
        limit=MOST,
        q=text.removeprefix("kill").strip() or None,
        expand="flag,release",
    )
    hits: list[Hit] = []
    for each in page["items"]:
        flag = each["definition"]
        on = {variant["key"] for variant in flag["variants"]} - {each["off_variant"]}
        state = flag_sentences.flag_state(
            each, each["active_release"], on, shell.now(), shell.reader_zone()
        )
        address = f"{place.address}/flags/{flag['key']}"
        if wants_kill and not state.killed:
            hits.append(Hit("kill", f"Kill {flag['key']}\u2026", state.says, f"{address}/kill"))
        else:
            hits.append(Hit("flag", flag["key"], f"{state.chip.word}, {state.says}", address))
    return hits


def _releases(place: Place, text: str) -> list[Hit]:
    page = api.get(
        "projects", place.project, "environments", place.environment, "releases", limit=50
    )
    return [
        Hit(
            release_sentences.chip(each).icon,
            f"{each['flag']}: {release_sentences.chip(each).word.lower()}",
            release_sentences.open_now(each),
            f"{place.address}/releases/{each['id']}",
        )
        for each in page["items"]
        if text in each["flag"].lower()
    ][:MOST]
