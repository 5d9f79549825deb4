"""Rules, segments and what a flag serves, as sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from markupsafe import Markup

from tidegate_server.dashboard import words

COMPARES: Final[Mapping[str, str]] = {
    "equals": "is",
    "in": "is one of",
    "contains": "contains",
    "starts_with": "starts with",
    "ends_with": "ends with",
    "matches": "matches",
    "greater_than": "is greater than",
    "greater_or_equal": "is at least",
    "less_than": "is less than",
    "less_or_equal": "is at most",
    "before": "is before",
    "after": "is after",
    "semver_equal": "is version",
    "semver_greater": "is a version above",
    "semver_greater_or_equal": "is at least version",
    "semver_less": "is a version below",
    "semver_less_or_equal": "is at most version",
    "in_cidr": "is in the network",
    "exists": "is given",
}
"""Every operator in words, in the order in which forms offer them."""


def condition(document: Mapping[str, Any], project: str) -> Markup:
    """Return a condition in words, such as "country is DE and plan is one of pro, team"."""
    if "segment" in document:
        return Markup('they are in <a class="w" href="/p/{0}/segments/{1}">{1}</a>').format(
            project, document["segment"]
        )
    between = {"all": Markup(" and "), "any": Markup(" or "), "none": Markup(" or ")}
    for group, word in between.items():
        if group in document:
            parts = [_nested(each, project) for each in document[group]]
            joined = word.join(parts) if parts else Markup("nothing")
            if not parts:
                return Markup("always") if group != "any" else Markup("never")
            return Markup("none of these holds: {}").format(joined) if group == "none" else joined
    attribute = Markup('<span class="w">{}</span>').format(document["attribute"])
    compares = COMPARES.get(document["operator"], document["operator"])
    if document["operator"] == "exists":
        return Markup("{} {}").format(attribute, compares)
    return Markup('{} {} <span class="w">{}</span>').format(
        attribute, compares, plain(document.get("value"))
    )


def _nested(document: Mapping[str, Any], project: str) -> Markup:
    inner = condition(document, project)
    grouped = any(len(document.get(group, ())) > 1 for group in ("all", "any"))
    return Markup("({})").format(inner) if grouped or "none" in document else inner


def plain(value: Any) -> str:
    """Return a value as people write it: a list with commas, true and false in small letters."""
    if isinstance(value, list):
        return ", ".join(plain(each) for each in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "nothing" if value is None else str(value)


def variant(key: str, treatment: str | None = None) -> Markup:
    """Return a variant's key; the treatment of a live release has its colour."""
    kind = "variant t" if key == treatment else "variant"
    return Markup('<span class="{}">{}</span>').format(kind, key)


def serve(document: Mapping[str, Any], treatment: str | None = None) -> Markup:
    """Return what is served: one variant, or the parts of a split."""
    if document.get("variant"):
        return variant(document["variant"], treatment)
    parts = [
        Markup("{} {}").format(words.percent(each["weight"]), variant(each["variant"], treatment))
        for each in document["split"]
    ]
    return Markup(", ").join(parts[:-1]) + Markup(" and ") + parts[-1] if parts[1:] else parts[0]


def serve_words(document: Mapping[str, Any]) -> str:
    """Return what is served, without markup."""
    if document.get("variant"):
        return str(document["variant"])
    return ", ".join(
        f"{words.percent(each['weight'])} {each['variant']}" for each in document["split"]
    )
