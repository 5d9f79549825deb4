"""Reads the configuration in a request, object by object, and finds every problem in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from marshmallow import Schema, ValidationError

from tidegate_server.admin.configuration.export import hidden_url
from tidegate_server.admin.configuration.schemas import PARTS
from tidegate_server.admin.presented_documents import presented
from tidegate_server.documents.json_pointers import pointer, problems
from tidegate_server.domain.change import Address, Stored
from tidegate_server.domain.configuration import (
    SECTIONS,
    Configuration,
    ImportProblem,
    WantedFlag,
)
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    targeting_address,
)
from tidegate_server.domain.projects import Project
from tidegate_server.domain.webhooks import Webhook
from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.strict_text import parse_json

MEMBERS = ("project", *SECTIONS.values(), "prune", "plan")


@dataclass(slots=True)
class ParsedConfiguration:
    """A configuration as it was read from a request.

    Attributes:
        wanted: what could be read.
        project: the project's own fields; None: the request has none.
        plan: the plan that the caller has seen; empty: none.
        pointers: where in the request each document is.
        problems: what could not be read.
    """

    wanted: Configuration = field(default_factory=Configuration)
    project: Mapping[str, Any] | None = None
    plan: str = ""
    pointers: dict[Address, str] = field(default_factory=dict)
    problems: list[ImportProblem] = field(default_factory=list)

    def pointer(self, problem: ImportProblem) -> str:
        """Return where in the request a problem is."""
        return self.pointers.get(problem.address, "") + problem.problem.pointer


def parse_configuration(text: str) -> ParsedConfiguration:
    """Read a configuration.

    Raises:
        Unreadable: the text is not JSON, or is ambiguous.
        Invalid: it is not an object with the members of a configuration.
    """
    body = parse_json(text, "The body")
    _check_members(body)
    parsed = ParsedConfiguration(plan=body.get("plan", ""))
    if "project" in body:
        parsed.project = _load(parsed, Kind.PROJECT, body["project"], "/project")
    sections = {
        section: dict(_objects(parsed, kind, body[section]))
        for kind, section in SECTIONS.items()
        if section in body
    }
    parsed.wanted = Configuration(**sections, prune=body.get("prune", False))
    return parsed


def _check_members(body: Any) -> None:
    if not isinstance(body, dict):
        raise Invalid("The body must be an object.", FieldProblem("", "This must be an object."))
    found = []
    for name, value in body.items():
        at = pointer(name)
        if name not in MEMBERS:
            names = ", ".join(MEMBERS)
            found.append(FieldProblem(at, f"There is no such member; the members are {names}."))
        elif name in SECTIONS.values() and not isinstance(value, list):
            found.append(FieldProblem(at, "This must be a list."))
        elif name == "prune" and not isinstance(value, bool):
            found.append(FieldProblem(at, "This must be true or false."))
        elif name == "plan" and not isinstance(value, str):
            found.append(FieldProblem(at, "This must be a string."))
    if found:
        raise Invalid(f"Nothing was changed. {found[0].pointer}: {found[0].detail}", *found)


def _objects(
    parsed: ParsedConfiguration, kind: Kind, items: list[Any]
) -> Iterator[tuple[str, Any]]:
    known: set[str] = set()
    field = "id" if kind is Kind.HOOK else "key"
    for number, item in enumerate(items):
        at = pointer(SECTIONS[kind], number)
        loaded = _load(parsed, kind, item, at)
        if loaded is None:
            continue
        key = _key(loaded)
        if key in known:
            problem = FieldProblem(f"/{field}", f"There are two of {key!r}; remove one.")
            parsed.pointers[Address(kind, key)] = at
            parsed.problems.append(ImportProblem(Address(kind, key), problem))
            continue
        known.add(key)
        parsed.pointers[Address(kind, key)] = at
        if isinstance(loaded, WantedFlag):
            for environment in loaded.targetings:
                where = targeting_address(environment, key)
                parsed.pointers[where] = at + pointer("targeting", environment)
        yield key, loaded


def _load(parsed: ParsedConfiguration, kind: Kind, item: Any, at: str) -> Any:
    """Return what an item describes; None, and its problems, if it cannot be read."""
    try:
        if kind is Kind.PROJECT:
            # Only what is given is compared with the project.
            schema = _schema(kind)
            return schema.load(item, partial=tuple(schema.fields.keys() - {"key"}))
        return _schema(kind).load(item)
    except ValidationError as error:
        key = item.get("key", "") if isinstance(item, dict) else ""
        address = Address(kind, key if isinstance(key, str) else "")
        # Its place is in the pointers of the problems: its key may not be one, or not be its own.
        unplaced = replace(address, environment=at)
        parsed.pointers[unplaced] = at
        parsed.problems += [ImportProblem(unplaced, each) for each in problems(error.messages)]
        return None


def _key(loaded: Any) -> str:
    if isinstance(loaded, WantedFlag):
        return loaded.definition.key
    key: str = getattr(loaded, "key", "") or getattr(loaded, "id", "")
    return key


@cache
def _schema(kind: Kind) -> Schema:
    return PARTS[kind]()


def with_present_urls(wanted: Configuration, documents: ProjectDocuments) -> Configuration:
    """Return a configuration with the present URL of each webhook that has only the shown part."""
    if wanted.webhooks is None:
        return wanted
    webhooks = {
        key: _with_present_url(webhook, documents.webhooks.get(key))
        for key, webhook in wanted.webhooks.items()
    }
    return replace(wanted, webhooks=webhooks)


def _with_present_url(webhook: Webhook, stored: Stored | None) -> Webhook:
    if stored is None or webhook.url != hidden_url(stored.document):
        return webhook
    return replace(webhook, url=stored.document.url)


def project_problems(
    parsed: ParsedConfiguration, project: str, stored: Project
) -> Iterator[ImportProblem]:
    """Yield what of the project's own fields is not as it is: an import does not change them."""
    given = parsed.project
    if given is None:
        return
    address = Address(Kind.PROJECT, project)
    parsed.pointers[address] = "/project"
    if given["key"] != project:
        message = (
            f"This is the configuration of project {given['key']!r}, and the request is for "
            f"{project!r}. Choose the other project, or change this key to copy the configuration."
        )
        yield ImportProblem(address, FieldProblem("/key", message))
    for name, present in presented(Kind.PROJECT, stored).items():
        if name != "key" and given.get(name, present) != present:
            message = (
                f"An import does not change the project's own {name}, which is {present!r} and "
                f"belongs to the whole server. Change it with PUT /api/v1/projects/{project}, or "
                "write here what it is."
            )
            yield ImportProblem(address, FieldProblem(f"/{name}", message))


def hidden_url_problems(wanted: Configuration) -> Iterator[ImportProblem]:
    """Yield a problem for each webhook whose URL still has no path where a part is hidden."""
    for key, webhook in (wanted.webhooks or {}).items():
        if "…" in webhook.url:
            message = (
                "The … stands for the present path of the URL, and the project has no such "
                "webhook. Write the whole URL, or create the webhook with `tidegate webhook "
                "create`."
            )
            yield ImportProblem(Address(Kind.WEBHOOK, key), FieldProblem("/url", message))
