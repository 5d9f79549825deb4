"""A second, simple implementation of evaluation, to compare the SDK with.

It compiles and caches nothing and shares no code with the SDK: each evaluation walks through
the snapshot's document. It is slow and must be right.
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
"""Decoded JSON."""

FlatContext = Mapping[str, Any]
"""An evaluation context in its flat form, with the targeting key under ``targetingKey``."""

Exposures = tuple[tuple[str, int, int, str], ...]


@dataclass(frozen=True)
class Result:
    """The result of an evaluation."""

    reason: str
    variant: str | None = None
    value: Any = None
    error_code: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    exposures: Exposures = ()


class NoKey(Exception):
    """A percentage decides but the context has no targeting key."""


def evaluate(snapshot: Document, key: str, context: FlatContext) -> Result:
    flag = snapshot["flags"].get(key)
    if flag is None:
        return Result("ERROR", error_code="FLAG_NOT_FOUND")
    variants = {variant["key"]: variant["value"] for variant in flag["variants"]}
    if not all(_is_of(flag["type"], value) for value in variants.values()):
        return Result("ERROR", error_code="PARSE_ERROR")
    if flag.get("killed") is not None:
        variant = flag["killed"] if flag["killed"] in variants else flag["off_variant"]
        return _result(flag, variant, "DISABLED", killed=True)
    if flag["off_variant"] not in variants:
        return Result("ERROR", error_code="PARSE_ERROR")
    if not flag["enabled"]:
        return _result(flag, flag["off_variant"], "DISABLED")
    if _leads_back_to_itself(snapshot, key) or not _names_in_use(flag) <= variants.keys():
        return Result("ERROR", error_code="PARSE_ERROR")
    exposures: Exposures = ()
    for prerequisite in flag.get("prerequisites", ()):
        other = evaluate(snapshot, prerequisite["flag"], context)
        exposures += other.exposures
        if other.variant is None or other.variant not in prerequisite["variants"]:
            result = _result(flag, flag["off_variant"], "DISABLED")
            return _exposed(result, exposures)
    try:
        return _exposed(_decide(snapshot, flag, context), exposures)
    except NoKey:
        return Result("ERROR", error_code="TARGETING_KEY_MISSING", exposures=exposures)


def _exposed(result: Result, before: Exposures) -> Result:
    return Result(
        result.reason, result.variant, result.value, result.error_code, result.metadata,
        before + result.exposures,
    )  # fmt: skip


def _is_of(type: str, value: Any) -> bool:
    if value is None:
        return True  # the caller's default is used
    if type == "boolean":
        return value is True or value is False
    if type == "number":
        return not isinstance(value, bool) and isinstance(value, int | float)
    return isinstance(value, str if type == "string" else dict | list)


def _leads_back_to_itself(snapshot: Document, start: str) -> bool:
    def prerequisites_of(key: str) -> list[str]:
        flag = snapshot["flags"].get(key)
        if flag is None or not flag["enabled"] or flag.get("killed") is not None:
            return []
        return [prerequisite["flag"] for prerequisite in flag.get("prerequisites", ())]

    return start in _reached(prerequisites_of(start), prerequisites_of)


def _reached(first: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    reached = set(first)
    while True:
        further = reached.union(*(following(key) for key in reached))
        if further == reached:
            return reached
        reached = further


def _names_in_use(flag: Document) -> set[str]:
    """Return the variants that the rules, the default rule and the release can serve."""
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


def _decide(snapshot: Document, flag: Document, context: FlatContext) -> Result:
    for rule in flag.get("rules", ()):
        if holds(snapshot, rule["when"], context):
            return _serve(snapshot, flag, rule["serve"], rule["id"], "TARGETING_MATCH", context)
    plain = not (flag.get("rules") or flag.get("prerequisites") or flag.get("release"))
    return _serve(snapshot, flag, flag["default"], None, "STATIC" if plain else "DEFAULT", context)


def _serve(
    snapshot: Document,
    flag: Document,
    serve: Document,
    rule: str | None,
    reason: str,
    context: FlatContext,
) -> Result:
    release = flag.get("release")
    if release is not None and release.get("rule") == rule:
        return _release(snapshot, flag, release, rule, reason, context)
    if serve.get("variant") is not None:
        return _result(flag, serve["variant"], reason, rule)
    bucket, end = _bucket(flag["salt"], context), 0
    for part in serve["split"]:
        end += _buckets(part["weight"])
        if bucket < end:
            return _result(flag, part["variant"], "SPLIT", rule)
    return _result(flag, serve["split"][-1]["variant"], "SPLIT", rule)


def _release(
    snapshot: Document,
    flag: Document,
    release: Document,
    rule: str | None,
    reason: str,
    context: FlatContext,
) -> Result:
    matching = [
        opening
        for opening in release["openings"]
        if not opening.get("segments")
        or any(_in_segment(snapshot, segment, context) for segment in opening["segments"])
    ]
    if not matching:
        return _result(flag, release["control"], reason, rule, release)
    stratum = max(matching, key=lambda opening: opening["percentage"])  # the first of equals
    opened = _buckets(stratum["percentage"])
    if opened >= 100_000:
        arm = "treatment"
    elif opened <= 0:
        arm = "control"
    else:
        arm = "treatment" if _bucket(release["salt"], context) < opened else "control"
    if 0 < opened < 100_000:
        reason = "SPLIT"
    elif stratum.get("segments"):
        reason = "TARGETING_MATCH"
    exposure = (release["id"], release["step"], stratum["stage"], arm)
    return _result(flag, release[arm], reason, rule, release, exposures=(exposure,))


def _result(
    flag: Document,
    variant: str,
    reason: str,
    rule: str | None = None,
    release: Document | None = None,
    killed: bool = False,
    exposures: Exposures = (),
) -> Result:
    metadata = {**flag.get("metadata", {}), "flagVersion": flag["version"]}
    if rule is not None:
        metadata["ruleId"] = rule
    if release is not None:
        metadata |= {"releaseId": release["id"], "stage": release["stage"]}
    if killed:
        metadata["killed"] = True
    for each in flag["variants"]:
        if each["key"] == variant:
            return Result(reason, variant, each["value"], None, metadata, exposures)
    return Result("ERROR", error_code="PARSE_ERROR")


def _bucket(salt: str, context: FlatContext) -> int:
    key = context.get("targetingKey")
    if not isinstance(key, str):
        raise NoKey
    return murmur3.x86_32(f"{salt}:{key}".encode()) * 100_000 >> 32


def _buckets(percentage: float) -> int:
    return int(percentage * 1000 + 0.5)


def _in_segment(snapshot: Document, key: str, context: FlatContext) -> bool:
    segment = snapshot["segments"].get(key)
    if segment is None:
        return False

    def named_by(other: str) -> list[str]:
        nested = snapshot["segments"].get(other)
        return list(_segments_in(nested.get("when"))) if nested else []

    if key in _reached(named_by(key), named_by):
        return False
    user = context.get("targetingKey")
    if user in segment.get("excluded", ()):
        return False
    if user in segment.get("included", ()):
        return True
    return segment.get("when") is not None and holds(snapshot, segment["when"], context)


def _segments_in(condition: Document | None) -> Iterator[str]:
    if condition is None:
        return
    if "segment" in condition:
        yield condition["segment"]
    for form in ("all", "any", "none"):
        for part in condition.get(form, ()):
            yield from _segments_in(part)


KEY_SETS: dict[str, frozenset[str]] = {}
"""The keys of key sets, by digest, as tests add them."""


def holds(snapshot: Document, condition: Document, context: FlatContext) -> bool:
    if "key_set" in condition:
        return context.get("targetingKey") in KEY_SETS[condition["key_set"]]
    if "segment" in condition:
        return _in_segment(snapshot, condition["segment"], context)
    if "all" in condition:
        return not [part for part in condition["all"] if not holds(snapshot, part, context)]
    if "any" in condition:
        return bool([part for part in condition["any"] if holds(snapshot, part, context)])
    if "none" in condition:
        return not [part for part in condition["none"] if holds(snapshot, part, context)]
    actual = _attribute(context, condition["attribute"])
    return compare(condition["operator"], actual, condition.get("value"))


def _attribute(context: FlatContext, path: str) -> Any:
    if path in context:
        return context[path]
    head, dot, rest = path.partition(".")
    if not dot:
        return None
    inner = context.get(head)
    if not isinstance(inner, Mapping):
        return None
    return _nested(inner, rest)


def _nested(inner: Mapping[str, Any], path: str) -> Any:
    head, dot, rest = path.partition(".")
    value = inner.get(head)
    if not dot:
        return value
    return _nested(value, rest) if isinstance(value, Mapping) else None


def compare(operator: str, actual: Any, value: Any) -> bool:
    """Return whether a value meets a comparison. Patterns must mean the same in ``re``."""
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
    try:
        address = _wide(ipaddress.ip_address(actual))
    except ValueError:
        return False
    network = ipaddress.ip_network(part)
    first, last = _wide(network.network_address), _wide(network.broadcast_address)
    # Networks that contain more than mapped addresses are for IPv6 addresses only.
    return first <= address <= last and (":" in actual or first >= _MAPPED)


_MAPPED = 0xFFFF << 32


def _wide(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    """Return the number of an address in IPv6, in which IPv4 addresses are mapped ones."""
    return int(address) + (_MAPPED if address.version == 4 else 0)


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
        size = abs(value)
        return None if not size < 1e14 else value if size < 1e11 else value / 1000
    if not isinstance(value, str) or not value.isascii():
        return None
    day, clock = value[:10], value[10:].upper()
    try:
        midnight = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    if len(day) != 10 or not clock:
        return midnight.timestamp() if len(day) == 10 else None
    # A time: HH:MM, then :SS and a fraction, then an offset; each of the last three may be missing.
    parts = re.fullmatch(r"[T ](\d\d):(\d\d)(:\d\d)?(\.\d+)?(Z|[+-]\d\d:\d\d)?", clock, re.ASCII)
    if not parts or (parts[4] and not parts[3]):
        return None
    hour, minute, second = int(parts[1]), int(parts[2]), int((parts[3] or ":0")[1:])
    offset = parts[5] if parts[5] and parts[5] != "Z" else "+00:00"
    ahead = int(offset[1:3]) * 60 + int(offset[4:])
    if hour > 23 or minute > 59 or second > 59 or int(offset[1:3]) > 23 or int(offset[4:]) > 59:
        return None
    micros = int((parts[4] or ".0")[1:7].ljust(6, "0"))
    minutes = hour * 60 + minute - (ahead if offset[0] == "+" else -ahead)
    return midnight.timestamp() + minutes * 60 + second + micros / 1e6


def _semver(value: Any) -> Any:
    """Return a sort key by section 11 of semver.org 2.0.0."""
    match = isinstance(value, str) and re.fullmatch(
        r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?",
        value,
        re.ASCII,
    )
    if not match:
        return None
    before, build = ((match.group(index) or "x").split(".") for index in (4, 5))
    for part in [*filter(None, match.groups()[:3]), *before]:
        if part.isdigit() and part != str(int(part)):
            return None
    if "" in before or "" in build:
        return None
    numbers = [int(part or 0) for part in match.groups()[:3]]

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

    return numbers, cmp_to_key(by_precedence)(match.group(4))
