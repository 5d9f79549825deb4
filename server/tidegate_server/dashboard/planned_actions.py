"""Operations that are made later: what each does in words, and whom it affects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from tidegate_server.dashboard import api, policy_sentences, words
from tidegate_server.dashboard.api import ApiProblem
from tidegate_server.dashboard.audit_sentences import called
from tidegate_server.dashboard.conflicts import set_fields, shown
from tidegate_server.dashboard.differences import FieldDifference, field_differences
from tidegate_server.dashboard.document_addresses import Document, present_page_of
from tidegate_server.domain.json_differences import differences

PREVIEWED: Final = re.compile(
    r"/api/v1/projects/(?P<project>[^/?]+)/environments/(?P<environment>[^/?]+)"
    r"/flags/(?P<flag>[^/?]+)$"
)
"""The path of a targeting, of which the API says who would change sides."""

IMPERATIVES: Final[Mapping[str, str]] = {
    "targeting.edit": "change who gets {target}",
    "flag.create": "make the flag {target}",
    "flag.kill": "kill {target}",
    "flag.restore": "restore {target}",
    "tag.kill": "kill every flag with the tag {target}",
    "tag.restore": "restore every flag that was killed with the tag {target}",
    "release.start": "start a release of {flag}",
    "release.begin": "begin the release of {flag}",
    "release.advance": "open the next stage of {flag}",
    "release.rollback": "roll {flag} back",
    "release.complete": "complete the release of {flag}",
    "release.pause": "pause the release of {flag}",
    "release.resume": "resume the release of {flag}",
    "release.approve": "approve the release of {flag}",
    "release.retry": "start the next attempt of {flag}",
    "person.create": "add {who}",
    "person.edit": "change {who}",
    "person.delete": "delete {who}",
}
"""What an action does, in words; others are read from their name."""

STARTED: Final = re.compile(
    r"/api/v1/projects/(?P<project>[^/?]+)/environments/(?P<environment>[^/?]+)/releases$"
)
"""The path that starts a release."""

SCHEDULE: Final = "scheduled_change.create"

EDITED: Final = re.compile(
    r"/api/v1/projects/[^/?]+(?:/environments/(?P<environment>[^/?]+))?"
    r"/(?P<kind>flags|segments|policies)/(?P<key>[^/?]+)$"
)
"""The path of a document that an operation may write as a whole."""

KINDS: Final = {"flags": "flag", "segments": "segment", "policies": "policy"}

ChangedDocument = tuple[Mapping[str, Any], list[FieldDifference], str | None]
"""A document, what changes in it, and the address of its page; None: it has none yet."""


def action_sentence(action: Mapping[str, Any]) -> str:
    """Return what a planned action does, such as "change who gets checkout in production"."""
    if action["action"] == SCHEDULE:
        return _scheduled_sentence(action)
    noun, _, verb = str(action["action"]).partition(".")
    verb = {"edit": "change", "create": "make"}.get(verb, verb.replace("_", " "))
    sentence = IMPERATIVES.get(action["action"], f"{verb} the {noun.replace('_', ' ')} {{target}}")
    target, details = action["target"], action["details"]
    says = sentence.format_map(
        {
            "target": called(noun, target, details),
            "flag": details.get("flag", target),
            "who": details.get("email", target),
        }
    )
    return f"{says} in {action['environment']}" if action["environment"] else says


def changed_documents(changes: Sequence[Mapping[str, Any]], project: str) -> list[ChangedDocument]:
    """Return the documents that a plan changes, what changes in each, and where its page is.

    Args:
        changes: as the API lists them.
        project: whose documents they are; empty: the server's.
    """
    found = []
    for each in changes:
        # The id of a release says nothing; ``planned_releases`` says what it opens.
        fields = [field for field in field_differences(each["changes"]) if field.name != "release"]
        if fields or not each["changes"] or each.get("changes_left_out"):
            page = present_page_of(Document.of(each, project)) if each["revision_before"] else None
            found.append((each, fields, page))
    return found


def planned_releases(operations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the releases open that operations start, each as a sentence."""
    found = []
    for each in operations:
        match, body = STARTED.match(each["path"]), each["body"]
        if match is None or each["method"] != "POST" or not isinstance(body, dict):
            continue
        policy = body.get("policy", "")
        says = f"{body.get('flag')} in {match['environment']}: {body.get('treatment')} opens"
        if body.get("rule"):
            says += f" in rule {body['rule']}"
        known = api.get_if_allowed("projects", match["project"], "policies", policy)
        stages = f" to {policy_sentences.summary(known)}," if known else ""
        says += f"{stages} under the policy {policy}."
        if body.get("draft"):
            says += " It only measures until a person begins it."
        found.append(says)
    return found


def _scheduled_sentence(action: Mapping[str, Any]) -> str:
    """Return what is scheduled, such as "change who gets checkout in production later"."""
    named = (each.partition(" ") for each in action["details"].get("operations", "").split(", "))
    environment = action["environment"]
    says = [
        action_sentence({"action": verb, "target": of, "environment": environment, "details": {}})
        for verb, _, of in named
        if verb
    ]
    return f"{' and '.join(says)} later" if says else "schedule a change"


def scheduled_operations(operations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the operations that these would schedule; none if their reader may not see them."""
    return [
        each
        for operation in _schedules(operations)
        for each in operation["body"].get("operations", ())
    ]


def scheduled_times(operations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return when what operations schedule would be made, in words."""
    found = []
    for operation in _schedules(operations):
        body = operation["body"]
        at = str(body.get("at") or "")
        when = _on_calendar(at) if at else f"again and again, {every_words(body.get('every'))}"
        found.append(f"{when}, on the clock of {body.get('timezone', 'UTC')}")
    return found


def _on_calendar(at: str) -> str:
    """Return a time on a wall clock in words, "Sat 1 May 2027, 09:00"; others as they are."""
    try:
        local = datetime.fromisoformat(at)
    except ValueError:
        return at
    return at if local.tzinfo else f"{local:%a} {local.day} {local:%b %Y}, {local:%H:%M}"


def _schedules(operations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [
        each
        for each in operations
        if each["path"].endswith("/scheduled-changes") and isinstance(each["body"], dict)
    ]


def written_documents(
    operations: Sequence[Mapping[str, Any]], project: str
) -> list[ChangedDocument]:
    """Return the documents that operations write as a whole, compared with what they are now.

    Args:
        operations: of the API.
        project: whose documents they are.
    """
    found: list[ChangedDocument] = []
    for each in operations:
        match = EDITED.match(each["path"])
        if match is None or each["method"] != "PUT" or not isinstance(each["body"], dict):
            continue
        try:
            present = set_fields(api.ask("GET", each["path"]).body)
        except ApiProblem:  # it is not there any more, which the run would say
            continue
        wanted = set_fields(each["body"])
        before = {name: value for name, value in present.items() if name in each["body"]}
        kind = "targeting" if match["environment"] else KINDS[match["kind"]]
        environment = match["environment"] or ""
        named = {"kind": kind, "key": match["key"], "environment": environment}
        page = present_page_of(Document.of(named, project))
        found.append((named, shown(differences(before, wanted)), page))
    return found


def affected_users(operations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return in words whom operations affect of the recently seen users, as the API says it."""
    found = []
    for each in operations:
        match = PREVIEWED.match(each["path"])
        if match is None or each["method"] != "PUT" or each["body"] is None:
            continue
        path = ("projects", match["project"], "environments", match["environment"])
        address = api.path(*path, "flags", match["flag"], "preview")
        try:
            preview = api.ask("POST", address, body=each["body"]).body
        except ApiProblem:  # what the request would do now is refused, which the page says
            continue
        found.append(f"{match['flag']} in {match['environment']}: {preview['text']}")
    return found


def every_words(every: Mapping[str, Any] | None) -> str:
    """Return when a scheduled change is repeated, in words; empty: it runs once."""
    if every is None:
        return ""
    names = dict(words.WEEKDAYS)
    chosen = every.get("days") or names
    when = "every day" if len(chosen) == len(names) else ", ".join(names[each] for each in chosen)
    if every.get("month_days"):
        when += f", if it is day {' or '.join(map(str, every['month_days']))} of the month"
    return f"{every['time']}, {when}"
