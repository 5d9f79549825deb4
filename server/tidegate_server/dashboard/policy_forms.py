"""A policy as a form beside its YAML.

Either side may be edited. What a reader has changed in the form since it was shown is written into
the document; the rest of it stays as the YAML says, also what the form does not have.

A field is named after its place: ``windows-timezone``, ``checks-0-tolerance-relative``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from tidegate_server.dashboard.typed_numbers import whole_number
from tidegate_server.documents.check_schemas import ATTRIBUTES, applicable_attributes
from tidegate_server.documents.json_pointers import steps
from tidegate_server.domain.checks import Compare, Metric
from tidegate_server.errors import Unreadable
from tidegate_server.strict_text import parse_json


class As(Enum):
    """How a field is written."""

    TEXT = auto()
    LINES = auto()
    NUMBER = auto()
    PERCENT = auto()
    """A share such as 0.05, which the form has as 5 (percent)."""
    KEYS = auto()
    """A list of texts, which the form has with commas."""
    YES = auto()
    """True or false; a box that is checked or not."""


FIELDS: Final = {
    "key": As.TEXT,
    "name": As.TEXT,
    "description": As.LINES,
    "interval": As.TEXT,
    "bake": As.TEXT,
    "holdback": As.NUMBER,
    "harm_budget": As.PERCENT,
    "error_rate": As.TEXT,
    "local_breaker": As.YES,
    "no_data-after": As.TEXT,
    "no_data-action": As.TEXT,
    "rollback-to": As.TEXT,
    "rollback-cooldown": As.TEXT,
    "rollback-max_retries": As.NUMBER,
    "windows-timezone": As.TEXT,
}
"""The fields that a policy has once."""

ITEMS: Final = {
    "stages": {
        "percentage": As.NUMBER,
        "segments": As.KEYS,
        "name": As.TEXT,
        "min_duration": As.TEXT,
        "min_samples": As.NUMBER,
        "max_duration": As.TEXT,
        "undecided": As.TEXT,
        "approval-count": As.NUMBER,
        "approval-approvers": As.KEYS,
        "approval-timeout": As.TEXT,
        "approval-on_timeout": As.TEXT,
        "approval-not_the_starter": As.YES,
    },
    "checks": {
        "metric": As.TEXT,
        "compare": As.TEXT,
        "on_failure": As.TEXT,
        "measure": As.TEXT,
        "query": As.LINES,
        "quantile": As.NUMBER,
        "tolerance-relative": As.PERCENT,
        "tolerance-absolute": As.PERCENT,
        "false_alarm": As.PERCENT,
        "operator": As.TEXT,
        "threshold": As.NUMBER,
        "window": As.TEXT,
        "failure_limit": As.NUMBER,
        "error_limit": As.NUMBER,
        "client_evidence": As.TEXT,
    },
    "windows-advance": {"days": As.KEYS, "from": As.TEXT, "to": As.TEXT},
    "windows-freeze": {"from": As.TEXT, "to": As.TEXT, "reason": As.TEXT},
    "notify": {"webhook": As.TEXT, "events": As.KEYS},
    "confirm": {"webhook": As.TEXT},
}
"""The lists of a policy, and the fields of their items; a new item is begun at its first one."""

NEW: Final[dict[str, dict[str, str]]] = {"checks": {"metric": str(Metric.LATENCY)}}
"""What an item that is added begins with; another error rate would only repeat the first."""

WAS: Final = "was"
"""The field of an item that says which it is in the document; empty: it is new."""


@dataclass(frozen=True, slots=True)
class PolicyForm:
    """A policy, as typed.

    Attributes:
        fields: the text of each field; a checked box is ``yes``.
        items: for each list the text of each field of its items.
        focus: the field that a reader goes on with, after a button.
    """

    fields: dict[str, str]
    items: dict[str, tuple[dict[str, str], ...]]
    focus: str = ""

    @property
    def as_shown(self) -> str:
        """The form as text, from which ``with_changes`` knows later what was edited."""
        items = {name: [_filled(each) for each in of] for name, of in self.items.items() if of}
        shown = {"fields": _filled(self.fields), "items": items}
        return json.dumps(shown, ensure_ascii=False, separators=(",", ":"))


def _filled(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text}


def policy_form(document: Any, focus: str = "") -> PolicyForm:
    """Return the form of a document, which need not be a valid policy."""
    return PolicyForm(
        {name: _text(document, name, written) for name, written in FIELDS.items()},
        {
            name: tuple(
                {WAS: str(at)} | {each: _text(item, each, written[each]) for each in written}
                for at, item in enumerate(_list(document, name))
                if isinstance(item, Mapping)
            )
            for name, written in ITEMS.items()
        },
        focus,
    )


def typed_form(form: Mapping[str, str], button: str) -> PolicyForm:
    """Return a form as it was typed, after a button that changes a list.

    Args:
        form: the fields by name; the items of a list are numbered from 0 without gaps.
        button: ``add LIST``, ``remove LIST N``; anything else changes nothing.
    """
    items = {name: list(_typed_items(form, name)) for name in ITEMS}
    verb, _, rest = button.partition(" ")
    name, _, number = rest.partition(" ")
    focus = ""
    if verb == "add" and name in items:
        new = dict.fromkeys((WAS, *ITEMS[name]), "") | NEW.get(name, {})
        focus = f"{name}-{len(items[name])}-{next(iter(ITEMS[name]))}"
        items[name].append(new)
    elif verb == "remove" and name in items and (at := whole_number(number)) is not None:
        del items[name][at : at + 1]
        focus = name
    return PolicyForm(
        {name: _clean(form.get(f"f-{name}", ""), written) for name, written in FIELDS.items()},
        {name: tuple(each) for name, each in items.items()},
        focus,
    )


def _typed_items(form: Mapping[str, str], name: str) -> Iterator[dict[str, str]]:
    number = 0
    while f"{name}-{number}-{WAS}" in form:
        yield {
            each: _clean(form.get(f"{name}-{number}-{each}", ""), written)
            for each, written in {WAS: As.TEXT, **ITEMS[name]}.items()
        }
        number += 1


def with_changes(document: dict[str, Any], typed: PolicyForm, shown: str) -> dict[str, Any]:
    """Return a document with what a reader has changed in its form.

    Args:
        document: as the YAML says.
        typed: the form as it was sent.
        shown: the form as it was shown.
    """
    before = _read_shown(shown)
    changed = dict(document)
    for name, written in FIELDS.items():
        if typed.fields[name] != before.fields.get(name, ""):
            _put(changed, name, written, typed.fields[name])
    for name, items in typed.items.items():
        known = before.items.get(name, ())
        if items != known:
            _set(changed, name, _changed_items(name, _list(document, name), known, items))
    return changed


def _read_shown(text: str) -> PolicyForm:
    try:
        found = parse_json(text, "This")
        items = {
            name: tuple(
                dict.fromkeys((WAS, *ITEMS[name]), "") | dict(each)
                for each in found["items"].get(name, ())
            )
            for name in ITEMS
        }
        return PolicyForm(dict(found["fields"]), items)
    except (Unreadable, ValueError, KeyError, TypeError, AttributeError):
        return PolicyForm({}, {})


def _changed_items(
    name: str,
    old: list[Any],
    known: tuple[dict[str, str], ...],
    typed: tuple[dict[str, str], ...],
) -> list[Any]:
    """Return the items of a list; those that the form did not show stay at its end."""
    shown = {each[WAS]: each for each in known}
    changed = []
    for each in typed:
        before = shown.get(each[WAS], {})
        at = whole_number(each[WAS]) if before else None
        at = len(old) if at is None else at
        item = old[at] if at < len(old) and isinstance(old[at], dict) else None
        changed.append(_changed_item(name, {} if item is None else item, before, each))
    return changed + [item for at, item in enumerate(old) if str(at) not in shown]


def _changed_item(
    name: str, old: dict[str, Any], before: dict[str, str], typed: dict[str, str]
) -> dict[str, Any]:
    item = dict(old)
    for each, written in ITEMS[name].items():
        if each in typed and typed[each] != (before.get(each, "") if old else ""):
            _put(item, each, written, typed[each])
    if name == "stages" and before.get("approval-count") and not typed["approval-count"]:
        item.pop("approval", None)
    if name == "checks" and any(
        typed[each] != before.get(each, "") for each in ("metric", "compare")
    ):
        allowed = applicable(item.get("metric"), item.get("compare"))
        for each in {_first(each) for each in ITEMS[name]} - allowed:
            item.pop(each, None)
    return item


def applicable(metric: Any, compare: Any) -> frozenset[str]:
    """Return the fields of a check that apply to what it measures and compares.

    Args:
        metric: as written; empty: the error rate.
        compare: as written; empty: control.
    """
    try:
        found = applicable_attributes(
            Metric(metric or Metric.ERROR_RATE), Compare(compare or Compare.CONTROL)
        )
    except ValueError:
        return frozenset(_first(each) for each in ITEMS["checks"])
    names = {attribute: name for name, attribute in ATTRIBUTES.items()}
    return frozenset(names.get(each, each) for each in found)


def _first(name: str) -> str:
    return name.partition("-")[0]


@dataclass(slots=True)
class FieldErrors:
    """What is wrong with a form: a message for each field, item or list, by its name."""

    form: PolicyForm
    messages: dict[str, str] = field(default_factory=dict)

    def add(self, pointer: str, detail: str) -> None:
        """Note what is wrong at a pointer into the document, if the form has the place."""
        place = steps(pointer)
        while place and not self._has("-".join(place)):
            place.pop()
        if place:
            self.messages.setdefault("-".join(place), detail)

    def _has(self, name: str) -> bool:
        if name in FIELDS or name in ITEMS:
            return True
        for of, items in self.form.items.items():
            number, _, each = name.removeprefix(f"{of}-").partition("-")
            at = whole_number(number) if name.startswith(f"{of}-") else None
            if at is not None and at < len(items):
                return not each or each in ITEMS[of]
        return False


def _get(document: Any, name: str) -> Any:
    """Return what is at a place, or None."""
    for step in name.split("-"):
        document = document.get(step) if isinstance(document, Mapping) else None
    return document


def _list(document: Any, name: str) -> list[Any]:
    found = _get(document, name)
    return found if isinstance(found, list) else []


def _set(document: dict[str, Any], name: str, value: Any) -> None:
    """Write a value to its place; None takes it away, with what would be empty around it."""
    step, _, rest = name.partition("-")
    if not rest:
        document[step] = value
        if value is None:
            del document[step]
        return
    inner = document.get(step)
    inner = dict(inner) if isinstance(inner, dict) else {}
    if value is not None or rest.partition("-")[0] in inner:
        _set(inner, rest, value)
    if inner:
        document[step] = inner
    else:
        document.pop(step, None)


def _put(document: dict[str, Any], name: str, written: As, text: str) -> None:
    """Write a field as typed; an empty one is left out. What is no number stays a text."""
    value: Any = text
    if not text:
        value = None
    elif written is As.KEYS:
        value = [each.strip() for each in text.split(",") if each.strip()]
    elif written is As.YES:
        value = True
    elif written in (As.NUMBER, As.PERCENT):
        value = _number(text, written)
    _set(document, name, value)


def _number(text: str, written: As) -> Any:
    try:
        value = float(text.replace(",", "").removesuffix("%").strip())
    except ValueError:
        return text
    if written is As.PERCENT:
        value = round(value / 100, 12)
    return int(value) if value.is_integer() else value


def _text(document: Any, name: str, written: As) -> str:
    value = _get(document, name)
    if written is As.YES:
        return "yes" if value is True else ""
    if name == "approval-count" and value is None and isinstance(_get(document, "approval"), dict):
        return "1"
    if value is None or isinstance(value, Mapping | bool):
        return ""
    if isinstance(value, list):
        return _clean(", ".join(str(each) for each in value), written)
    if written is As.PERCENT and isinstance(value, int | float):
        value = round(value * 100, 10)
    return f"{value:.12g}" if isinstance(value, float) else _clean(str(value), written)


def _clean(text: str, written: As) -> str:
    """Return a text as a browser sends it back: on one line, unless the field has several."""
    return ("\n" if written is As.LINES else " ").join(text.splitlines()).strip()
