"""The audit log of a project or of the server: who changed what, and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from itertools import groupby
from typing import Any, Final
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell, words
from tidegate_server.dashboard.api import Answer, ApiProblem
from tidegate_server.dashboard.audit_sentences import audit_line
from tidegate_server.dashboard.differences import field_differences
from tidegate_server.dashboard.document_addresses import (
    Document,
    address_of,
    page_of,
    present_page_of,
)
from tidegate_server.dashboard.forms import FormState, attempt, done, typed
from tidegate_server.dashboard.shell import Shell
from tidegate_server.domain.audited_kinds import AUDITED_KINDS
from tidegate_server.domain.kill_switch import KILLS, RESTORES
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import NotFound

PAGE: Final = 50
SHOWN: Final = 3
"""How many changed fields of an entry the list shows."""

FILTERS: Final = ("text", "actor", "action", "object", "key", "environment")
DAYS: Final = ("from", "to")
"""The filters that are days, in the reader's time zone; both belong to the period."""

ACTS: Final = ("release", "change_request", "scheduled_change")
"""Objects whose documents are results of acts, and cannot be what they were."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    for base in ("/p/<key:project>/audit", "/audit"):
        blueprint.add_url_rule(base, view_func=list_audit)
        blueprint.add_url_rule(f"{base}/verify", view_func=verify_audit)
        blueprint.add_url_rule(f"{base}/<key:entry>", view_func=show_entry)
        blueprint.add_url_rule(
            f"{base}/<key:entry>/bring-back/<int:number>",
            view_func=bring_back,
            methods=["GET", "POST"],
        )


def _frame(project: str) -> Shell:
    return shell.open_project(project, "audit") if project else shell.open_server()


def _where(project: str, *parts: str) -> tuple[str, ...]:
    return (*(("projects", project) if project else ()), "audit", *parts)


def list_audit(project: str = "") -> Response:
    """Show the audit log of a project, or of the server, the newest first."""
    chosen = {
        name: value for name in (*FILTERS, *DAYS) if (value := request.args.get(name, "").strip())
    }
    errors: dict[str, str] = {}
    query = {name: chosen.get(name) for name in FILTERS} | _period(chosen, errors)
    page: Mapping[str, Any] = {"items": [], "next_cursor": None}
    if not errors:
        cursor = request.args.get("cursor")
        page = api.get(*_where(project), limit=PAGE, cursor=cursor, **query)
    today = shell.now().astimezone(shell.reader_zone()).date()
    exported = urlencode({name: value for name, value in query.items() if value})
    reader = api.reader()
    return shell.render(
        "audit.html",
        _frame(project),
        days=_by_day(page["items"]),
        chosen=chosen,
        errors=errors,
        objects=AUDITED_KINDS,
        more_chosen=any(name in chosen for name in (*FILTERS[1:5], *DAYS)),
        today=today.isoformat(),
        week=(today - timedelta(days=6)).isoformat(),
        base=f"/p/{project}/audit" if project else "/audit",
        export=f"{api.path(*_where(project, 'export'))}?{exported}",
        later=page["next_cursor"],
        project=project,
        server_wide=reader.allows(Permission.READ, None, None),
    )


def _period(chosen: Mapping[str, str], errors: dict[str, str]) -> dict[str, str]:
    """Return the period that the days mean, for the API; a day that is none is an error."""
    found = {}
    for name in DAYS:
        if name not in chosen:
            continue
        try:
            day = date.fromisoformat(chosen[name])
        except ValueError:
            errors[name] = "Write a day as 2026-05-01."
            continue
        begins = day + timedelta(days=name == "to")
        at = datetime.combine(begins, time(), shell.reader_zone())
        found[name] = at.isoformat()
    if not errors and chosen.get("to", "9") < chosen.get("from", ""):
        errors["to"] = "The last day is not before the first one."
    return found


def _by_day(items: list[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Return entries in words with their first differences, by the day in the reader's zone."""
    zone, now = shell.reader_zone(), shell.now()

    def day(entry: Mapping[str, Any]) -> str:
        at = words.parse_instant(entry["at"]).astimezone(zone)
        days = (now.astimezone(zone).date() - at.date()).days
        named = {0: "Today", 1: "Yesterday"}.get(days, f"{at:%A}")
        return f"{named}, {at.day} {at:%B %Y}"

    return [(name, [_line(each) for each in group]) for name, group in groupby(items, day)]


def _line(entry: dict[str, Any]) -> tuple[Any, list[Any], int]:
    """Return an entry in words, the first fields that an edit changed, and how many more."""
    line = audit_line(entry)
    edited = [each for each in entry["documents"] if each["revision_before"]]
    if line.kind == "move" or entry["action"].partition(".")[0] in ACTS or _is_kill(entry):
        return line, [], 0
    changes = [change for each in edited for change in each["changes"]]
    left_out = sum(each["changes_left_out"] for each in edited)
    shown = field_differences(changes[:SHOWN])
    return line, shown, max(0, len(changes) - SHOWN) + left_out


def _is_kill(entry: Mapping[str, Any]) -> bool:
    return entry["action"] in (*KILLS, *RESTORES)


def show_entry(entry: str, project: str = "") -> Response:
    """Show an entry with everything that it changed, and how to bring back what was before."""
    found = api.get(*_where(project, entry))
    return shell.render(
        "audit_entry.html",
        _frame(project),
        project=project,
        base=f"/p/{project}/audit" if project else "/audit",
        entry=found,
        line=audit_line(found),
        documents=[
            (
                each,
                field_differences(each["changes"]),
                present_page_of(Document.of(each, project)),
                _can_come_back(found, each, project),
            )
            for each in found["documents"]
        ],
    )


def _can_come_back(entry: Mapping[str, Any], document: Mapping[str, Any], project: str) -> bool:
    """Return whether the reader may make a document what it was before an entry."""
    address = address_of(Document.of(document, project))
    if (
        address is None
        or not document["revision_before"]
        or entry["action"].partition(".")[0] in ACTS
        or _is_kill(entry)
    ):
        return False
    return api.reader().allows(address.editor, project or None, document["environment"] or None)


def bring_back(entry: str, number: int, project: str = "") -> Response:
    """Show what would change if a document were again as before an entry; make it so."""
    found = api.get(*_where(project, entry))
    documents = found["documents"]
    if number >= len(documents) or not _can_come_back(found, documents[number], project):
        raise NotFound("There is nothing to bring back here.")
    document = Document.of(documents[number], project)
    address = address_of(document)
    assert address is not None
    revision = documents[number]["revision_before"]
    version = (*address.parts, "history", str(revision))
    present = _present(address.parts)

    def show(form: FormState) -> Response:
        now = present if not form.conflict else _present(address.parts)
        changes = api.get(*version, "diff")["changes"] if now is not None else []
        # From now to then, the other way round than the API compares them.
        turned = [
            {
                "field": each["field"],
                **({"before": each["after"]} if "after" in each else {}),
                **({"after": each["before"]} if "before" in each else {}),
            }
            for each in changes
        ]
        return shell.render(
            "bring_back.html",
            _frame(project),
            project=project,
            base=f"/p/{project}/audit" if project else "/audit",
            entry=found,
            document=document,
            revision=revision,
            gone=now is None,
            etag=form.etag(now.etag) if now is not None else "",
            fields=field_differences(turned),
            form=form,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        etag = request.form.get("etag") or None
        path = api.path(*version, "restore")
        return api.ask("POST", path, if_match=etag, reason=typed("reason"))

    here = page_of(document) or request.path.rpartition("/bring-back/")[0]
    return attempt(act, show, lambda: done(here, f"{document.key} is again as at {revision}."))


def _present(parts: tuple[str, ...]) -> Answer | None:
    """Return a document as it is now; None: it was deleted."""
    try:
        return api.ask("GET", api.path(*parts))
    except ApiProblem as problem:
        if problem.slug == "not-found":
            return None
        raise


def verify_audit(project: str = "") -> Response:
    """Say whether anybody changed, inserted or removed entries."""
    known = request.args.get("known", "").strip()
    error = ""
    result: Mapping[str, Any] | None = None
    try:
        result = api.get(*_where(project, "verification"), known=known or None)
    except ApiProblem as problem:
        if not problem.fields:
            raise
        error = next(iter(problem.fields.values()))
    return shell.render(
        "verify_audit.html",
        _frame(project),
        project=project,
        base=f"/p/{project}/audit" if project else "/audit",
        known=known,
        error=error,
        result=result,
    )
