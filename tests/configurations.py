"""Random valid configurations of a project, in JSON."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

TEXTS = st.text(
    st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="\u2800\u3164\uffa0"),
    max_size=30,
)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
KEYS = st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "string": TEXTS,
    "number": NUMBERS,
    "object": st.dictionaries(TEXTS, TEXTS | NUMBERS | st.lists(TEXTS, max_size=2), max_size=3),
}


def conditions(segments: list[str]) -> st.SearchStrategy[Json]:
    comparison = st.one_of(
        st.fixed_dictionaries(
            {"attribute": st.just("plan"), "operator": st.just("equals"), "value": TEXTS}
        ),
        st.fixed_dictionaries(
            {
                "attribute": st.just("country"),
                "operator": st.just("in"),
                "value": st.lists(TEXTS, min_size=1, max_size=3),
            }
        ),
    )
    leaf = comparison
    if segments:
        leaf = comparison | st.fixed_dictionaries({"segment": st.sampled_from(segments)})
    group = st.sampled_from(["all", "any", "none"])
    return leaf | st.builds(
        lambda name, parts: {name: parts}, group, st.lists(leaf, min_size=1, max_size=2)
    )


@st.composite
def segments(draw: st.DrawFn, key: str, others: list[str]) -> Json:
    included = draw(st.lists(TEXTS.filter(bool), unique=True, max_size=3))
    return {
        "key": key,
        "name": draw(TEXTS),
        "description": draw(TEXTS | st.just("One.\n\nTwo: # three\n")),
        "when": draw(st.none() | conditions(others)),
        "included": included,
        "excluded": [f"{each}!" for each in included if f"{each}!" not in included],
    }


@st.composite
def targetings(draw: st.DrawFn, variants: list[str], others: list[str]) -> Json:
    served = st.sampled_from(variants).map(lambda each: {"variant": each})
    half = [{"variant": each, "weight": 50} for each in variants[:2]]
    serve = served | st.just({"split": half})
    ids = draw(st.lists(NAMES, unique=True, max_size=2))
    return {
        "enabled": draw(st.booleans()),
        "off_variant": draw(st.sampled_from(variants)),
        "kill_variant": draw(st.none() | st.sampled_from(variants)),
        "default": draw(serve),
        "rules": [
            {"id": each, "when": draw(conditions(others)), "serve": draw(serve)} for each in ids
        ],
    }


@st.composite
def flags(draw: st.DrawFn, key: str, others: list[str], environments: list[str]) -> Json:
    type_ = draw(st.sampled_from(sorted(VALUES)))
    names = draw(st.lists(NAMES, unique=True, min_size=2, max_size=3))
    values = [True, False, True] if type_ == "boolean" else [draw(VALUES[type_]) for _ in names]
    temporary = draw(st.booleans())
    return {
        "key": key,
        "type": type_,
        "variants": [
            {"key": name, "value": value} for name, value in zip(names, values, strict=False)
        ],
        "name": draw(TEXTS),
        "description": draw(TEXTS),
        "tags": draw(st.lists(TEXTS.filter(bool), max_size=2)),
        "owner": draw(TEXTS),
        "temporary": temporary,
        "expected_end": draw(st.none() | st.dates().map(str)) if temporary else None,
        "client_side": draw(st.booleans()),
        "metadata": draw(st.dictionaries(NAMES, st.booleans() | NUMBERS | TEXTS, max_size=2)),
        "targeting": {each: draw(targetings(names, others)) for each in environments},
    }


@st.composite
def policies(draw: st.DrawFn, key: str, others: list[str], webhooks: list[str]) -> Json:
    first = draw(st.integers(1, 60))
    return {
        "key": key,
        "name": draw(TEXTS),
        "interval": draw(st.sampled_from(["30s", "1m", "90s"])),
        "stages": [
            {
                "percentage": first,
                "segments": draw(st.lists(st.sampled_from(others), max_size=1)) if others else [],
                "min_samples": draw(st.integers(0, 10_000)),
            },
            {"percentage": 100, "name": draw(NAMES)},
        ],
        "bake": draw(st.sampled_from(["1h", "2d", "90m"])),
        "notify": [{"webhook": each, "events": ["completed"]} for each in webhooks],
        "windows": draw(st.just({}) | st.just({"timezone": "Europe/Berlin"})),
    }


@st.composite
def configurations(draw: st.DrawFn, environments: list[str]) -> Json:
    """Return the flags, segments, policies and webhooks of a project, which fit together."""
    names = draw(st.lists(KEYS, unique=True, max_size=2))
    found: list[Json] = []
    for key in names:
        found.append(draw(segments(key, [each["key"] for each in found])))
    webhooks = draw(st.lists(KEYS, unique=True, max_size=1))
    return {
        "segments": found,
        "webhooks": [
            {
                "key": key,
                "url": draw(st.sampled_from(["https://a.example/x?y=z", "https://a.example"])),
                "timeout": draw(st.sampled_from(["5s", "500ms"])),
                "enabled": draw(st.booleans()),
            }
            for key in webhooks
        ],
        "flags": [
            draw(flags(key, names, environments))
            for key in draw(st.lists(KEYS, unique=True, max_size=2))
        ],
        "policies": [
            draw(policies(key, names, webhooks))
            for key in draw(st.lists(KEYS, unique=True, max_size=1))
        ],
    }
