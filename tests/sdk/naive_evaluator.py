"""The rules of evaluation, written down a second time, the long way round.

Nothing here is compiled, cached or shared with the SDK: a snapshot's document and a context
are walked anew for every question. It is slow and has to be right.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cmp_to_key
from typing import Any

from tests.sdk import murmur3

Document = Mapping[str, Any]
"""JSON, as it came."""

Whom = Mapping[str, Any]
"""An evaluation context in its flat form, with the targeting key under ``targetingKey``."""

Exposures = tuple[tuple[str, int, int, str], ...]


@dataclass(frozen=True)
class Answer:
    """What a question gets."""

    reason: str
    variant: str | None = None
    value: Any = None
    error_code: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    exposures: Exposures = ()


class NoKey(Exception):
    """A percentage decides, and the context has no targeting key."""


def ask(snapshot: Document, key: str, whom: Whom) -> Answer:
    flag = snapshot["flags"].get(key)
    if flag is None:
        return Answer("ERROR", error_code="FLAG_NOT_FOUND")
    variants = {variant["key"]: variant["value"] for variant in flag["variants"]}
    if not all(_is_of(flag["type"], value) for value in variants.values()):
        return Answer("ERROR", error_code="PARSE_ERROR")
    if flag.get("killed") is not None:
        variant = flag["killed"] if flag["killed"] in variants else flag["off_variant"]
        return _give(flag, variant, "DISABLED", killed=True)
    if flag["off_variant"] not in variants:
        return Answer("ERROR", error_code="PARSE_ERROR")
    if not flag["enabled"]:
        return _give(flag, flag["off_variant"], "DISABLED")
    if _waits_for_itself(snapshot, key) or not _names_in_use(flag) <= variants.keys():
        return Answer("ERROR", error_code="PARSE_ERROR")
    exposures: Exposures = ()
    for prerequisite in flag.get("prerequisites", ()):
        found = ask(snapshot, prerequisite["flag"], whom)
        exposures += found.exposures
        if found.variant is None or found.variant not in prerequisite["variants"]:
            answer = _give(flag, flag["off_variant"], "DISABLED")
            return _exposed(answer, exposures)
    try:
        return _exposed(_decide(snapshot, flag, whom), exposures)
    except NoKey:
        return Answer("ERROR", error_code="TARGETING_KEY_MISSING", exposures=exposures)


def _exposed(answer: Answer, before: Exposures) -> Answer:
    return Answer(
        answer.reason, answer.variant, answer.value, answer.error_code, answer.metadata,
        before + answer.exposures,
    )  # fmt: skip


def _is_of(type: str, value: Any) -> bool:
    if value is None:
        return True  # whoever asks has a default
    if type == "boolean":
        return value is True or value is False
    if type == "number":
        return not isinstance(value, bool) and isinstance(value, int | float)
    return isinstance(value, str if type == "string" else dict | list)


def _waits_for_itself(snapshot: Document, start: str) -> bool:
    def asked_by(key: str) -> list[str]:
        flag = snapshot["flags"].get(key)
        if flag is None or not flag["enabled"] or flag.get("killed") is not None:
            return []
        return [prerequisite["flag"] for prerequisite in flag.get("prerequisites", ())]

    return start in _reached(asked_by(start), asked_by)


def _reached(first: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    reached = set(first)
    while True:
        further = reached.union(*(following(key) for key in reached))
        if further == reached:
            return reached
        reached = further


def _names_in_use(flag: Document) -> set[str]:
    """Variants that rules, the default rule and the release would serve."""
    places = [(rule["id"], rule["serve"]) for rule in flag.get("rules", ())]
    places.append((None, flag["default"]))
    release = flag.get("release")
    names = set()
    for rule, serve in places:
        if release is not None and release.get("rule") == rule:
            names |= {release["control"], release["treatment"]}
        elif serve.get("variant") is not None:
            names.add(serve["variant"])
        else:
            names |= {part["variant"] for part in serve["split"]}
    return names


def _decide(snapshot: Document, flag: Document, whom: Whom) -> Answer:
    for rule in flag.get("rules", ()):
        if holds(snapshot, rule["when"], whom):
            return _serve(snapshot, flag, rule["serve"], rule["id"], "TARGETING_MATCH", whom)
    plain = not (flag.get("rules") or flag.get("prerequisites") or flag.get("release"))
    return _serve(snapshot, flag, flag["default"], None, "STATIC" if plain else "DEFAULT", whom)


def _serve(
    snapshot: Document, flag: Document, serve: Document, rule: str | None, reason: str, whom: Whom
) -> Answer:
    release = flag.get("release")
    if release is not None and release.get("rule") == rule:
        return _release(snapshot, flag, release, rule, reason, whom)
    if serve.get("variant") is not None:
        return _give(flag, serve["variant"], reason, rule)
    place, at = _bucket(flag["salt"], whom), 0
    for part in serve["split"]:
        at += _buckets(part["weight"])
        if place < at:
            return _give(flag, part["variant"], "SPLIT", rule)
    return _give(flag, serve["split"][-1]["variant"], "SPLIT", rule)


def _release(
    snapshot: Document, flag: Document, release: Document, rule: str | None, reason: str, whom: Whom
) -> Answer:
    matching = [
        opening
        for opening in release["openings"]
        if not opening.get("segments")
        or any(_in_segment(snapshot, segment, whom) for segment in opening["segments"])
    ]
    if not matching:
        return _give(flag, release["control"], reason, rule, release)
    stratum = max(matching, key=lambda opening: opening["percentage"])  # the first of equals
    opened = _buckets(stratum["percentage"])
    if opened >= 100_000:
        arm = "treatment"
    elif opened <= 0:
        arm = "control"
    else:
        arm = "treatment" if _bucket(release["salt"], whom) < opened else "control"
    if 0 < opened < 100_000:
        reason = "SPLIT"
    elif stratum.get("segments"):
        reason = "TARGETING_MATCH"
    exposure = (release["id"], release["step"], stratum["stage"], arm)
    return _give(flag, release[arm], reason, rule, release, exposures=(exposure,))


def _give(
    flag: Document,
    variant: str,
    reason: str,
    rule: str | None = None,
    release: Document | None = None,
    killed: bool = False,
    exposures: Exposures = (),
) -> Answer:
    metadata = {"flagVersion": flag["version"]}
    if rule is not None:
        metadata["ruleId"] = rule
    if release is not None:
        metadata |= {"releaseId": release["id"], "stage": release["stage"]}
    if killed:
        metadata["killed"] = True
    for each in flag["variants"]:
        if each["key"] == variant:
            return Answer(reason, variant, each["value"], None, metadata, exposures)
    return Answer("ERROR", error_code="PARSE_ERROR")


def _bucket(salt: str, whom: Whom) -> int:
    key = whom.get("targetingKey")
    if not isinstance(key, str):
        raise NoKey
    return murmur3.x86_32(f"{salt}:{key}".encode()) * 100_000 >> 32


def _buckets(percentage: float) -> int:
    return int(percentage * 1000 + 0.5)


def _in_segment(snapshot: Document, key: str, whom: Whom) -> bool:
    segment = snapshot["segments"].get(key)
    if segment is None:
        return False

    def named_by(other: str) -> list[str]:
        found = snapshot["segments"].get(other)
        return list(_segments_in(found.get("when"))) if found else []

    if key in _reached(named_by(key), named_by):
        return False
    user = whom.get("targetingKey")
    if user in segment.get("excluded", ()):
        return False
    if user in segment.get("included", ()):
        return True
    return segment.get("when") is not None and holds(snapshot, segment["when"], whom)


def _segments_in(condition: Document | None) -> Iterator[str]:
    if condition is None:
        return
    if "segment" in condition:
        yield condition["segment"]
    for form in ("all", "any", "none"):
        for part in condition.get(form, ()):
            yield from _segments_in(part)


def holds(snapshot: Document, condition: Document, whom: Whom) -> bool:
    if "segment" in condition:
        return _in_segment(snapshot, condition["segment"], whom)
    if "all" in condition:
        return not [part for part in condition["all"] if not holds(snapshot, part, whom)]
    if "any" in condition:
        return bool([part for part in condition["any"] if holds(snapshot, part, whom)])
    if "none" in condition:
        return not [part for part in condition["none"] if holds(snapshot, part, whom)]
    actual = _attribute(whom, condition["attribute"])
    return compare(condition["operator"], actual, condition.get("value"))


def _attribute(whom: Whom, path: str) -> Any:
    if path in whom:
        return whom[path]
    head, dot, rest = path.partition(".")
    if not dot:
        return None
    inner = whom.get(head)
    if not isinstance(inner, Mapping):
        return None
    return _nested(inner, rest)


def _nested(inner: Mapping[str, Any], path: str) -> Any:
    head, dot, rest = path.partition(".")
    found = inner.get(head)
    if not dot:
        return found
    return _nested(found, rest) if isinstance(found, Mapping) else None


def compare(operator: str, actual: Any, value: Any) -> bool:
    """Whether an attribute's value satisfies an operator. Patterns must mean the same to ``re``."""
    if operator == "exists":
        return actual is not None
    if operator == "equals":
        return _same(actual, value)
    if operator == "in":
        return any(_same(actual, item) for item in value)
    several = value if isinstance(value, list) else [value]
    if operator == "contains" and isinstance(actual, list):
        return any(_same(item, part) for item in actual for part in several)
    if operator in ("contains", "starts_with", "ends_with", "matches", "in_cidr"):
        return isinstance(actual, str) and any(_text(operator, actual, each) for each in several)
    if operator in ("before", "after"):
        return _ordered(operator, _seconds(actual), _seconds(value))
    if operator.startswith("semver"):
        return _ordered(operator.removeprefix("semver_"), _semver(actual), _semver(value))
    return _ordered(operator, actual if _is_number(actual) else None, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    if _is_number(one) and _is_number(other):
        return bool(one == other)
    return type(one) is type(other) and isinstance(one, str | bool) and one == other


def _text(operator: str, actual: str, part: str) -> bool:
    if operator == "contains":
        return part in actual
    if operator == "starts_with":
        return actual[: len(part)] == part
    if operator == "ends_with":
        return actual[len(actual) - len(part) :] == part and len(part) <= len(actual)
    if operator == "matches":
        return re.search(part, actual) is not None
    network = ipaddress.ip_network(part)
    try:
        address = ipaddress.ip_address(actual)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped and network.version == 4:
        address = address.ipv4_mapped
    return address.version == network.version and (
        int(network.network_address) <= int(address) <= int(network.broadcast_address)
    )


def _ordered(operator: str, actual: Any, limit: Any) -> bool:
    if actual is None or limit is None:
        return False
    truth: bool = {
        "greater_than": actual > limit,
        "greater": actual > limit,
        "after": actual > limit,
        "greater_or_equal": actual >= limit,
        "less_than": actual < limit,
        "less": actual < limit,
        "before": actual < limit,
        "less_or_equal": actual <= limit,
        "equal": actual == limit,
    }[operator]
    return truth


def _seconds(value: Any) -> float | None:
    if _is_number(value):
        return float(value)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _semver(value: Any) -> Any:
    """An ordering key by section 11 of semver.org 2.0.0."""
    found = isinstance(value, str) and re.fullmatch(
        r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", value
    )
    if not found:
        return None
    numbers = [int(part or 0) for part in found.groups()[:3]]

    def by_precedence(one: str | None, other: str | None) -> int:
        if one is None or other is None:
            return (one is None) - (other is None)
        for a, b in zip(one.split("."), other.split("."), strict=False):
            if a != b:
                if a.isdigit() and b.isdigit():
                    return 1 if int(a) > int(b) else -1
                if a.isdigit() != b.isdigit():
                    return -1 if a.isdigit() else 1
                return 1 if a > b else -1
        return len(one.split(".")) - len(other.split("."))

    return numbers, cmp_to_key(by_precedence)(found.group(4))
