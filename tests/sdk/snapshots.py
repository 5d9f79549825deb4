"""Hypothesis strategies for snapshots and contexts: documents of the wire format, mostly valid."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from tests.sdk.documents import in_key_set, key_set

FLAGS = ["checkout", "search", "theme"]
SEGMENTS = ["staff", "beta", "europe"]
KEYS = ["", "ann", "bob", "müller", "😀", *(f"user-{number}" for number in range(12))]
RULES = ["first", "second", "third"]

KEY_SETS = [
    key_set("salt", "ann", "müller", *(f"user-{number}" for number in range(0, 12, 2))),
    key_set("pepper", "bob", "", "user-4"),
]

VALUES: dict[str, list[Any]] = {
    "boolean": [True, False, True],
    "string": ["a", "", "c"],
    "number": [0, 1.5, -3],
    "object": [{}, [], {"deep": [1, {"x": None}]}],
}
NAMES = ["on", "off", "third"]

ATTRIBUTES: dict[str, list[Any]] = {
    "plan": ["free", "pro", "PRO", "", None, 1, True],
    "age": [0, 17, 18, 18.0, 18.5, -1, "18", False, 10**30],
    "email": ["ann@example.org", "bob@example.com", "@", None, 7],
    "release": ["1.2.3", "v1.2", "1.2.3-rc.1", "1.2.3-rc.2", "2.0.0+b", "latest", 2],
    "address": ["10.1.2.3", "192.0.2.1", "::ffff:10.1.2.3", "2001:db8::5", "nowhere", 10],
    "at": ["2026-05-01", "2026-05-01T12:00:00Z", "2026-05-01T12:00:00+02:00", 1777636800, "never"],
    "groups": [["admin"], ["admin", "user"], [], ["Admin", 1, None], "admin"],
    "user": [{"address": {"country": "DE"}}, {"address": "DE"}, {}, None, "DE"],
    "user.address.country": ["FR"],
}

percentages = st.sampled_from([0, 0.001, 1, 10, 33.333, 50, 90, 99.999, 100]) | st.integers(
    0, 100_000
).map(lambda buckets: buckets / 1000)


def _comparison(attribute: str, operator: str, value: Any) -> dict[str, Any]:
    return {"attribute": attribute, "operator": operator, "value": value}


def _in_segment(key: str) -> dict[str, Any]:
    return {"segment": key}


def _comparisons() -> st.SearchStrategy[dict[str, Any]]:
    attribute = st.sampled_from([*ATTRIBUTES, "targetingKey", "absent", "user.address"])
    scalar = st.sampled_from(["free", "pro", "DE", "ann", "", 1, 18, 1.5, True, False])
    words = st.sampled_from(["ann", "admin", "user-1", "pro", "1.2", "@example.", "", "10."])
    several = words | st.lists(words, min_size=1, max_size=3)

    def of(operators: list[str], value: st.SearchStrategy[Any]) -> Any:
        return st.builds(_comparison, attribute, st.sampled_from(operators), value)

    return st.one_of(
        of(["equals"], scalar),
        of(["in"], st.lists(scalar, max_size=4)),
        of(["contains", "starts_with", "ends_with"], several),
        of(["matches"], st.sampled_from(["^u", "[0-9]$", "ann|bob", "^$", ".", "@.*[.]org$"])),
        of(
            ["greater_than", "greater_or_equal", "less_than", "less_or_equal"],
            st.sampled_from([0, 17.5, 18, -1, 10**30]),
        ),
        of(["before", "after"], st.sampled_from(["2026-05-01T10:30:00Z", "2026-05-01", 0, 2e9])),
        of(
            [
                "semver_equal",
                "semver_greater",
                "semver_greater_or_equal",
                "semver_less",
                "semver_less_or_equal",
            ],
            st.sampled_from(["1.2.3", "1.2", "v1.2.3-rc.1", "2"]),
        ),
        of(["in_cidr"], st.sampled_from(["10.0.0.0/8", "::/0", ["192.0.2.1", "2001:db8::/32"]])),
        of(["exists"], st.none()),
    )


conditions: st.SearchStrategy[dict[str, Any]] = st.recursive(
    _comparisons() | st.sampled_from([*SEGMENTS, "unknown"]).map(_in_segment),
    lambda inner: st.builds(
        lambda form, parts: {form: parts},
        st.sampled_from(["all", "any", "none"]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=5,
)

_often = st.sampled_from([True, False, True])
_rarely = st.sampled_from([False] * 15 + [True] + [False] * 4)

_in_key_set = st.sampled_from(KEY_SETS).map(in_key_set)

keys = st.lists(st.sampled_from(KEYS), max_size=3, unique=True)


def segments(key: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"key": st.just(key)},
        optional={
            "when": st.one_of(
                st.none(),
                conditions,
                st.sampled_from(SEGMENTS).map(_in_segment),
                _in_key_set,
                st.builds(lambda one, other: {"any": [one, other]}, _in_key_set, conditions),
                st.builds(
                    lambda one, other: {"all": [{"none": [one]}, other]}, _in_key_set, conditions
                ),
            ),
            "included": keys,
            "excluded": keys,
        },
    )


@st.composite
def _serves(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"variant": draw(st.sampled_from(names)), "split": []}
    cuts = sorted(draw(st.sets(st.integers(1, 99_999), max_size=2)))
    edges = [0, *cuts, 100_000]
    parts = [
        {"variant": draw(st.sampled_from(names)), "weight": (high - low) / 1000}
        for low, high in pairwise(edges)
    ]
    return {"variant": None, "split": parts}


@st.composite
def _releases(draw: st.DrawFn, names: list[str], rules: list[str]) -> dict[str, Any]:
    openings = [
        {
            "stage": stage,
            "percentage": draw(percentages),
            "segments": draw(st.sampled_from([[], [], ["staff"], ["beta", "europe"], ["unknown"]])),
        }
        for stage in range(1, draw(st.sampled_from([2, 3, 4, 1])))
    ]
    id = f"rel_{draw(st.integers(1, 3))}"
    return {
        "id": id,
        "rule": draw(
            st.sampled_from([*rules, None, *rules] if draw(st.booleans()) else [None, "unknown"])
        ),
        "control": draw(st.sampled_from(names)),
        "treatment": draw(st.sampled_from(names)),
        "salt": id,
        "stage": draw(st.integers(1, 3)),
        "step": draw(st.integers(1, 5)),
        "openings": openings,
        "report_interval": 7.5,
    }


@st.composite
def flags(draw: st.DrawFn, key: str) -> dict[str, Any]:
    type = draw(st.sampled_from(list(VALUES)))
    size = draw(st.integers(2, 3))
    values = list(VALUES[type][:size])
    if draw(_rarely):
        values[0] = draw(st.sampled_from([1, "x", True, None, {}]))
    names = NAMES[:size]
    served = [*names, "missing"] if draw(_rarely) else names
    rules = draw(st.lists(st.sampled_from(RULES), max_size=2, unique=True))
    others = st.sampled_from([*FLAGS, *FLAGS, "unknown"])
    return {
        "key": key,
        "type": type,
        "version": draw(st.integers(1, 9)),
        "salt": draw(st.sampled_from([key, "imported", ""])),
        "variants": [
            {"key": name, "value": value} for name, value in zip(names, values, strict=True)
        ],
        "enabled": not draw(_rarely),
        "off_variant": draw(st.sampled_from(served)),
        "default": draw(_serves(served)),
        "rules": [
            {"id": id, "when": draw(conditions), "serve": draw(_serves(names))} for id in rules
        ],
        "prerequisites": [
            {"flag": other, "variants": draw(st.sampled_from([NAMES, ["on", "off"], ["on"], []]))}
            for other in (draw(st.lists(others, max_size=2, unique=True)) if draw(_often) else ())
        ],
        "killed": draw(st.sampled_from([*names, "missing"])) if draw(_rarely) else None,
        "release": draw(_releases(names, rules)) if draw(_often) else None,
        "metadata": draw(st.sampled_from([{}, {"owner": "shop"}, {"stage": "", "limit": 1.5}])),
    }


@st.composite
def snapshots(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "schema": 1,
        "project": "shop",
        "environment": "production",
        "version": draw(st.integers(1, 100)),
        "flags": {key: draw(flags(key)) for key in draw(_most(FLAGS))},
        "segments": {key: draw(segments(key)) for key in draw(_most(SEGMENTS))},
    }


@st.composite
def updates(draw: st.DrawFn, version: int) -> dict[str, Any]:
    """An update to ``version`` that sets some flags and segments and removes others."""
    return {
        "version": version,
        "flags": {key: draw(st.none() | flags(key)) for key in draw(_some(FLAGS))},
        "segments": {key: draw(st.none() | segments(key)) for key in draw(_some(SEGMENTS))},
    }


def _most(keys: list[str]) -> st.SearchStrategy[list[str]]:
    return st.permutations(keys) | _some(keys)


def _some(keys: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(keys), unique=True)


contexts: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"targetingKey": st.sampled_from([*KEYS, None])},
    optional={
        **{name: st.sampled_from(values) for name, values in ATTRIBUTES.items()},
    },
)
