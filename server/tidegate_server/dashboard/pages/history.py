"""The versions of a flag, a segment or a policy: what changed, and bringing one back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell
from tidegate_server.dashboard.api import Answer, ApiProblem
from tidegate_server.dashboard.audit_sentences import past
from tidegate_server.dashboard.differences import field_differences
from tidegate_server.dashboard.forms import FormState, attempt, done, typed
from tidegate_server.dashboard.shell import Shell
from tidegate_server.dashboard.sides import Sides, sides
from tidegate_server.dashboard.typed_numbers import whole_number

PAGE = 30


@dataclass(frozen=True, slots=True)
class Versioned:
    """A document that keeps its versions.

    Attributes:
        key: its own.
        kind: its part of the address and of the API.
        where: its path in the API.
        base: the address of its page.
        title: what it is, in words.
        preview: the path in the API that says who would change sides; None: there is none.
    """

    key: str
    kind: str
    where: tuple[str, ...]
    base: str
    title: str
    preview: tuple[str, ...] | None = None


OF_FLAGS: Final = ("targeting", "definition")
"""What a flag consists of: what it serves in one environment, and what it is in all of them."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    flag = "/p/<key:project>/e/<key:environment>/flags/<key:flag>/history"
    blueprint.add_url_rule(flag, view_func=list_flag_versions)
    blueprint.add_url_rule(
        f"{flag}/<any(targeting, definition):kind>/<int:revision>",
        view_func=show_flag_version,
        methods=["GET", "POST"],
    )
    shared = "/p/<key:project>/<any(segments, policies):kind>/<key:key>/history"
    blueprint.add_url_rule(shared, view_func=list_versions)
    blueprint.add_url_rule(
        f"{shared}/<int:revision>", view_func=show_version, methods=["GET", "POST"]
    )


def list_flag_versions(project: str, environment: str, flag: str) -> Response:
    """List the versions of what a flag serves here, and of its definition."""
    frame = shell.open_place(project, environment, "flags")
    return _list(frame, [_of_flag(project, environment, flag, kind) for kind in OF_FLAGS])


def show_flag_version(
    project: str, environment: str, flag: str, kind: str, revision: int
) -> Response:
    """Show what a version of a flag changed, or how it differs from another; bring it back."""
    frame = shell.open_place(project, environment, "flags")
    return _show(frame, _of_flag(project, environment, flag, kind), revision)


def list_versions(project: str, kind: str, key: str) -> Response:
    """List the versions of a segment or a policy."""
    frame = shell.open_project(project, kind)
    return _list(frame, [_shared(frame, project, kind, key)])


def show_version(project: str, kind: str, key: str, revision: int) -> Response:
    """Show a version of a segment or a policy; bring it back."""
    frame = shell.open_project(project, kind)
    return _show(frame, _shared(frame, project, kind, key), revision)


def _of_flag(project: str, environment: str, flag: str, kind: str) -> Versioned:
    base = f"/p/{project}/e/{environment}/flags/{flag}"
    if kind == "definition":
        where: tuple[str, ...] = ("projects", project, "flags", flag)
        return Versioned(flag, kind, where, base, "Name, owner, variants", None)
    where = ("projects", project, "environments", environment, "flags", flag)
    return Versioned(
        flag, kind, where, base, f"What it serves in {environment}", (*where, "preview")
    )


def _shared(frame: Shell, project: str, kind: str, key: str) -> Versioned:
    preview = None
    if kind == "segments" and frame.place is not None and frame.place.environment:
        place = ("projects", project, "environments", frame.place.environment)
        preview = (*place, kind, key, "preview")
    where = ("projects", project, kind, key)
    return Versioned(key, kind, where, f"/p/{project}/{kind}/{key}", "Versions", preview)


def _address(document: Versioned, revision: int) -> str:
    kind = f"/{document.kind}" if document.kind in OF_FLAGS else ""
    return f"{document.base}/history{kind}/{revision}"


def _list(frame: Shell, documents: list[Versioned]) -> Response:
    parts = []
    for each in documents:
        cursor = request.args.get(each.kind)
        page = api.get(*each.where, "history", limit=PAGE, cursor=cursor)
        lines = [(version, did(version), _address(each, version["revision"]))
                 for version in page["items"]]  # fmt: skip
        parts.append((each, lines, page["next_cursor"]))
    return shell.render("history.html", frame, document=documents[0], parts=parts)


def did(version: Mapping[str, Any]) -> str:
    """Return what somebody did to make a version."""
    noun, _, verb = version["action"].partition(".")
    return f"{past(verb)} the {noun.replace('_', ' ')}"


def _show(frame: Shell, document: Versioned, revision: int) -> Response:
    present = api.ask("GET", api.path(*document.where))
    versions = api.get(*document.where, "history", limit=100)["items"]
    version = api.get(*document.where, "history", str(revision))
    revisions = [each["revision"] for each in versions if not each["deleted"]]
    earlier = [each for each in revisions if each < revision]
    other = whole_number(request.args.get("with", ""))
    if other is None:
        other = earlier[0] if earlier else revision

    def show(form: FormState) -> Response:
        difference = api.get(
            *document.where, "history", str(min(other, revision)), "diff", to=max(other, revision)
        )
        now = api.get(*document.where, "history", str(revisions[0]), "diff", to=revision)
        return shell.render(
            "version.html",
            frame,
            document=document,
            version=version,
            did=did(version),
            revisions=revisions,
            other=other,
            between=difference,
            changes=field_differences(difference["changes"]),
            back=field_differences(now["changes"]),
            is_present=revision == revisions[0],
            sides=_sides(document, version["document"]),
            etag=form.etag(present.etag),
            form=form,
            may_edit=shell.may("write"),
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        where = api.path(*document.where, "history", str(revision), "restore")
        return api.ask("POST", where, if_match=typed("etag"), reason=typed("reason"))

    says = f"{document.key} is what it was at revision {revision}."
    return attempt(act, show, lambda: done(document.base, says))


def _sides(document: Versioned, version: dict[str, Any]) -> Sides | None:
    """Return who would change sides if a version came back; None: nobody can tell."""
    if document.preview is None:
        return None
    left_out = ("killed", "release", "included_set", "excluded_set")
    body = {name: value for name, value in version.items() if name not in left_out}
    try:
        found = api.ask("POST", api.path(*document.preview), body=body).body
    except ApiProblem as problem:
        if problem.status == HTTPStatus.UNAUTHORIZED:
            raise
        return None
    return sides(found, document.key, str(version.get("off_variant", "")))
