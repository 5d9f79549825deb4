"""Parsing documents, and the published schemas, which agree with the parser."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tidegate import Context, model, wire
from tidegate.errors import WireError
from tidegate.evaluation import operators
from tidegate.flag_documents import FlagDocuments
from tidegate.transport import Transport
from tidegate_server.domain import field_problems

from tests.sdk.conftest import Connect
from tests.sdk.server import Environment
from tests.wire_schemas import DOCUMENTS, REPORT, SNAPSHOT, UPDATE, violations

OPERANDS: dict[str, Any] = {
    "equals": True,
    "in": ["pro", 7, False],
    "contains": "@example.",
    "starts_with": ["de-", "at-"],
    "ends_with": ".org",
    "matches": "^(a+)+$",
    "greater_than": 1,
    "greater_or_equal": 1.5,
    "less_than": -3,
    "less_or_equal": 0,
    "before": "2026-05-01T12:00:00Z",
    "after": 1_700_000_000,
    "semver_equal": "2.10.0",
    "semver_greater": "2.10.0-rc.1",
    "semver_greater_or_equal": "v2",
    "semver_less": "3.0",
    "semver_less_or_equal": "2.10.0+build",
    "in_cidr": ["192.0.2.0/24", "2001:db8::/32"],
    "exists": None,
}

EVERY_COMPARISON = [
    {"attribute": f"attribute.{operator}", "operator": operator, "value": value}
    for operator, value in OPERANDS.items()
]

SNAPSHOT_DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "project": "shop",
    "environment": "production",
    "version": 12,
    "flags": {
        "checkout": {
            "key": "checkout",
            "type": "boolean",
            "version": 3,
            "salt": "checkout",
            "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
            "enabled": True,
            "off_variant": "off",
            "default": {
                "variant": None,
                "split": [
                    {"variant": "on", "weight": 12.5},
                    {"variant": "off", "weight": 87.5},
                ],
            },
            "rules": [
                {
                    "id": "staff",
                    "when": {"all": [{"segment": "staff"}, {"none": EVERY_COMPARISON}]},
                    "serve": {"variant": "off", "split": []},
                }
            ],
            "prerequisites": [{"flag": "theme", "variants": ["dark"]}],
            "killed": None,
            "release": {
                "id": "rel_1",
                "rule": "staff",
                "control": "off",
                "treatment": "on",
                "salt": "rel_1",
                "stage": 2,
                "step": 4,
                "openings": [
                    {"stage": 1, "percentage": 100, "segments": ["staff"]},
                    {"stage": 2, "percentage": 5.125, "segments": []},
                ],
                "report_interval": 7.5,
                "measures": ["latency"],
                "local_breaker": {"relative": 0.1, "absolute": 0.002},
            },
        },
        "theme": {
            "key": "theme",
            "type": "object",
            "version": 1,
            "salt": "imported",
            "variants": [
                {"key": "dark", "value": {"ink": [1, 2]}},
                {"key": "Plain.1", "value": []},
            ],
            "enabled": False,
            "off_variant": "dark",
            "default": {"variant": "dark"},
            "killed": "Plain.1",
        },
    },
    "segments": {
        "staff": {
            "key": "staff",
            "when": {"any": [{"attribute": "plan", "operator": "exists"}]},
            "included": ["ann", "zoë"],
            "excluded": ["bob"],
        },
        "nobody": {"key": "nobody"},
    },
}


def test_the_example_is_valid() -> None:
    assert violations(SNAPSHOT, SNAPSHOT_DOCUMENT) == []


@pytest.mark.parametrize("name", ["snapshot", "update", "report"])
def test_every_property_of_a_schema_has_a_description(name: str) -> None:
    schema = DOCUMENTS[name]
    assert schema["description"]
    for name, part in schema["properties"].items():
        assert "description" in part or "$ref" in part, name


def test_a_snapshot_is_parsed_field_by_field() -> None:
    snapshot = wire.parse_snapshot(SNAPSHOT_DOCUMENT)
    checkout = snapshot.flags["checkout"]
    assert (snapshot.project, snapshot.environment, snapshot.version) == ("shop", "production", 12)
    assert checkout.variants == (model.Variant("on", True), model.Variant("off", False))
    assert checkout.default == model.Serve(
        None, (model.WeightedVariant("on", 12.5), model.WeightedVariant("off", 87.5))
    )
    assert checkout.rules[0].serve == model.Serve("off")
    assert checkout.prerequisites == (model.Prerequisite("theme", ("dark",)),)
    assert checkout.release == model.ActiveRelease(
        id="rel_1",
        rule="staff",
        control="off",
        treatment="on",
        salt="rel_1",
        stage=2,
        step=4,
        openings=(model.Opening(1, 100, ("staff",)), model.Opening(2, 5.125)),
        report_interval=7.5,
        measures=("latency",),
        local_breaker=model.Tolerance(0.1, 0.002),
    )
    assert snapshot.flags["theme"].killed == "Plain.1"
    assert snapshot.segments["nobody"] == model.Segment("nobody")
    assert snapshot.segments["staff"] == model.Segment(
        "staff", model.AnyOf((model.Comparison("plan", "exists"),)), ("ann", "zoë"), ("bob",)
    )


def test_a_written_snapshot_parses_to_the_same_snapshot() -> None:
    snapshot = wire.parse_snapshot(SNAPSHOT_DOCUMENT)
    written = json.loads(json.dumps(wire.to_wire(snapshot)))
    assert violations(SNAPSHOT, written) == []
    assert wire.parse_snapshot(written) == snapshot


def test_a_newer_schema_is_refused_with_the_advice_to_update() -> None:
    with pytest.raises(WireError, match="update the SDK") as refused:
        wire.parse_snapshot({**SNAPSHOT_DOCUMENT, "schema": 2})
    assert refused.value.pointer == "/schema"


def test_fields_of_a_newer_server_are_ignored() -> None:
    document = copy.deepcopy(SNAPSHOT_DOCUMENT)
    document["new"] = document["flags"]["checkout"]["new"] = 1
    document["flags"]["checkout"]["release"]["new"] = document["segments"]["staff"]["new"] = 1
    assert wire.parse_snapshot(document) == wire.parse_snapshot(SNAPSHOT_DOCUMENT)


def test_unknown_fields_of_a_condition_are_refused() -> None:
    conditions: list[dict[str, Any]] = [
        {"attribute": "a", "operator": "exists", "of": "somebody"},
        {"all": [], "any": []},
        {"segment": "staff", "version": 2},
        {"unless": []},
        {},
    ]
    for condition in conditions:
        with pytest.raises(WireError):
            wire.parse_condition(condition)


def test_conditions_have_a_maximum_depth() -> None:
    condition: dict[str, Any] = {"all": []}
    for _ in range(wire.MAX_DEPTH):
        condition = {"none": [condition]}
    assert wire.parse_condition(condition)
    with pytest.raises(WireError, match="use a segment"):
        wire.parse_condition({"any": [condition]})


def test_one_wrong_flag_does_not_affect_the_others() -> None:
    document = copy.deepcopy(SNAPSHOT_DOCUMENT)
    document["flags"]["theme"]["type"] = "colour"
    document["segments"]["nobody"]["included"] = [1]
    broken: dict[str, WireError] = {}
    snapshot = wire.parse_snapshot(document, broken)
    assert list(snapshot.flags) == ["checkout"]
    assert list(snapshot.segments) == ["staff"]
    assert {part: error.pointer for part, error in broken.items()} == {
        "flags/theme": "/flags/theme/type",
        "segments/nobody": "/segments/nobody/included/0",
    }


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", '"5"', "true", "null"])
def test_a_percentage_that_is_not_finite_breaks_only_its_flag(number: str) -> None:
    text = json.dumps(SNAPSHOT_DOCUMENT).replace("5.125", number)
    broken: dict[str, WireError] = {}
    snapshot = wire.parse_snapshot(json.loads(text), broken)
    assert list(snapshot.flags) == ["theme"]
    at = "/flags/checkout/release/openings/1/percentage"
    assert broken["flags/checkout"].pointer == at


def test_error_pointers_are_escaped() -> None:
    broken: dict[str, WireError] = {}
    wire.parse_update({"version": 1, "flags": {"a/b~c": 7}, "segments": {}}, broken)
    assert broken["flags/a/b~c"].pointer == "/flags/a~1b~0c"


@pytest.mark.parametrize(
    ("way", "wrong", "pointer"),
    [
        (("rules", 0, "when", "all", 1, "none", 3, "operator"), "like", None),
        (("rules", 0, "when", "all"), {}, None),
        (("rules", 0, "when"), None, None),
        (("rules", 0, "serve"), {}, None),
        (("default", "split", 1, "weight"), "much", None),
        (("release", "openings", 0, "segments", 0), 7, None),
        (("variants", 1), {"key": "off"}, "/variants/1/value"),
        (("prerequisites",), 0, None),
        (("metadata",), ["owner"], None),
        (("metadata",), {"owner": "shop", "sites": [1]}, "/metadata/sites"),
    ],
)
def test_a_nested_error_has_the_pointer_of_its_field(
    way: tuple[Any, ...], wrong: Any, pointer: str | None
) -> None:
    document = copy.deepcopy(SNAPSHOT_DOCUMENT)
    parent: Any = document["flags"]["checkout"]
    for step in way[:-1]:
        parent = parent[step]
    parent[way[-1]] = wrong
    error = refusal(document)
    assert error is not None
    expected = pointer or "".join(f"/{step}" for step in way)
    assert error.pointer == f"/flags/checkout{expected}"
    assert str(error).startswith(f"{error.pointer}: ")


def test_an_update_marks_removed_parts_with_none() -> None:
    flag = SNAPSHOT_DOCUMENT["flags"]["theme"]
    update = wire.parse_update(
        {"version": 13, "flags": {"theme": flag, "old": None}, "segments": {"staff": None}}
    )
    assert update.version == 13
    assert update.flags == {"theme": wire.parse_flag(flag), "old": None}
    assert update.segments == {"staff": None}


# The schemas against what is really sent


def create_every_part(environment: Environment) -> None:
    """Create every kind of part that a snapshot can have."""
    environment.segment("staff", included=["ann"], excluded=["bob"])
    environment.segment("wide", when={"any": [{"segment": "staff"}, *EVERY_COMPARISON]})
    environment.flag(
        "theme", "object", variants=[{"key": "a", "value": {}}, {"key": "b", "value": []}]
    )
    environment.flag(
        "size", "number", variants=[{"key": "s", "value": 1}, {"key": "m", "value": 2.5}]
    )
    environment.flag(
        "word", "string", variants=[{"key": "x", "value": ""}, {"key": "y", "value": "é"}]
    )
    environment.flag("checkout")
    environment.target(
        "word",
        default={"split": [{"variant": "x", "weight": 33.333}, {"variant": "y", "weight": 66.667}]},
        rules=[
            {"id": "first", "when": {"none": [{"segment": "wide"}]}, "serve": {"variant": "x"}},
            {"id": "second", "when": {"all": []}, "serve": {"variant": "y"}},
        ],
        prerequisites=[{"flag": "size", "variants": ["m"]}],
    )
    environment.target("theme", enabled=False)
    environment.release("checkout")
    environment.kill("size")
    environment.flag("gone")
    environment.delete("gone")


def events(
    environment: Environment, last_seen: int | None, count: int
) -> Iterator[tuple[str, Any]]:
    """Yield the next events of the environment's stream."""
    known = None if last_seen is None else (last_seen, environment.snapshot()["incarnation"])
    stream = Transport(environment.url, environment.token).events(known)
    with_data = (event for event in stream if event.data)
    for _ in range(count):
        event = next(with_data)
        yield event.name, json.loads(event.data)


def test_a_servers_snapshot_follows_the_schema(environment: Environment) -> None:
    create_every_part(environment)
    ((name, document),) = events(environment, None, 1)
    assert name == "snapshot"
    assert violations(SNAPSHOT, document) == []
    body = Transport(environment.url, environment.token).snapshot(None)
    assert document == json.loads(body or b"")
    flags = document["flags"]
    assert flags["checkout"]["release"]
    assert flags["size"]["killed"]
    assert flags["word"]["rules"]


def test_a_servers_updates_follow_the_schema(environment: Environment) -> None:
    before = environment.version
    create_every_part(environment)
    for name, document in events(environment, before, environment.version - before):
        assert name == "update"
        assert violations(UPDATE, document) == []


def test_an_sdks_reports_follow_the_schema(environment: Environment, connect: Connect) -> None:
    environment.flag("checkout")
    environment.release("checkout")
    client = connect()
    for number in range(40):
        with client.operation(Context(f"user-{number}")) as operation:
            client.boolean("checkout", False)
            operation.fail()
    client.close()
    assert environment.reports[-1]["counts"]
    assert environment.reports[-1]["failing"]
    for document in environment.reports:
        assert violations(REPORT, document) == []


# The schemas against the parser


def test_the_schema_lists_all_operators() -> None:
    named: list[str] = []
    for form in DOCUMENTS["snapshot"]["$defs"]["comparison"]["oneOf"]:
        operator = form["properties"]["operator"]
        named += operator["enum"] if "enum" in operator else [operator["const"]]
    assert sorted(named) == sorted(operators.OPERATORS)


def test_the_schema_has_the_servers_patterns_of_keys_and_names() -> None:
    definitions = DOCUMENTS["snapshot"]["$defs"]
    assert definitions["key"]["pattern"] == f"^{field_problems.KEY.pattern}$"
    assert definitions["name"]["pattern"] == f"^{field_problems.NAME.pattern}$"


def test_the_schema_has_the_fields_of_the_model() -> None:
    definitions = DOCUMENTS["snapshot"]["$defs"]
    for name, class_ in {
        "flag": model.Flag,
        "variant": model.Variant,
        "serve": model.Serve,
        "weighted_variant": model.WeightedVariant,
        "rule": model.Rule,
        "prerequisite": model.Prerequisite,
        "release": model.ActiveRelease,
        "opening": model.Opening,
        "segment": model.Segment,
        "comparison": model.Comparison,
    }.items():
        assert set(definitions[name]["properties"]) == set(class_.__slots__), name  # type: ignore[attr-defined]


def places(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a document."""
    yield at
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*at, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from places(value, (*at, index))


ONE_PART = [{"variant": "on", "weight": 100}]
WHEN = ("flags", "checkout", "rules", 0, "when")
PLACES = list(places(SNAPSHOT_DOCUMENT))[1:]
SCALARS: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 1, 0.5, 101, "", "on", "unknown", [], {}, [""]]
)


@st.composite
def mutated(draw: st.DrawFn, valid: Any, at: list[tuple[Any, ...]]) -> Any:
    """A valid document with one part removed or replaced by a simple value."""
    document = copy.deepcopy(valid)
    *way, last = draw(st.sampled_from(at))
    parent: Any = document
    for step in way:
        parent = parent[step]
    if draw(st.booleans()):
        del parent[last]
    else:
        parent[last] = draw(SCALARS)
    return document


def refusal(document: Any) -> WireError | None:
    """Return the error of parsing a snapshot; None if it is valid."""
    try:
        wire.parse_snapshot(document)
    except WireError as error:
        return error
    return None


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_the_parser_accepts_what_may_be_missing(place: tuple[Any, ...]) -> None:
    document = copy.deepcopy(SNAPSHOT_DOCUMENT)
    *way, last = place
    parent: Any = document
    for step in way:
        parent = parent[step]
    del parent[last]
    refused = refusal(document)
    assert refused is None or refused.pointer.endswith("/value") or not SNAPSHOT.is_valid(document)


@given(mutated(SNAPSHOT_DOCUMENT, PLACES))
def test_the_parser_accepts_what_the_schema_accepts(document: Any) -> None:
    refused = refusal(document)
    # JSON Schema cannot check patterns, versions and networks.
    if refused is not None and not refused.pointer.endswith("/value"):
        assert not SNAPSHOT.is_valid(document), refused


PLAIN_FLAG: dict[str, Any] = {
    **SNAPSHOT_DOCUMENT["flags"]["checkout"],
    "rules": [
        {
            "id": "paying",
            "when": {"attribute": "plan", "operator": "in", "value": ["pro", "team"]},
            "serve": {"variant": "on"},
        },
        {
            "id": "german",
            "when": {"attribute": "country", "operator": "equals", "value": "DE"},
            "serve": {"variant": "off"},
        },
    ],
}

UNKNOWN_FIELD = copy.deepcopy(PLAIN_FLAG)
UNKNOWN_FIELD["rules"][1]["when"]["unless"] = "staff"
NO_NAME = copy.deepcopy(PLAIN_FLAG)
NO_NAME["rules"][1]["when"]["attribute"] = ""


@given(mutated(PLAIN_FLAG, list(places(PLAIN_FLAG))[1:]))
@example(UNKNOWN_FIELD)
@example(NO_NAME)
def test_a_flag_of_text_comparisons_is_read_in_a_snapshot_as_it_is_alone(document: Any) -> None:
    snapshot = {**SNAPSHOT_DOCUMENT, "flags": {"plain": document}}
    refused = refusal(snapshot)
    if refused is not None:
        with pytest.raises(WireError) as alone_refused:
            wire.parse_flag(document)
        assert refused.pointer == f"/flags/plain{alone_refused.value.pointer}"
        assert refused.message == alone_refused.value.message
        return
    flag = wire.parse_flag(document)
    read = wire.parse_snapshot(snapshot).flags
    alone = wire.flag_documents({"plain": flag})
    assert isinstance(read, FlagDocuments)
    assert dict(read) == {"plain": flag}
    for name in ("releases", "killed", "client_side"):
        assert getattr(read, name) == getattr(alone, name)
    assert read.uses("plain") == alone.uses("plain")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), -1),
        (("version",), "12"),
        (("flags", "Check out"), SNAPSHOT_DOCUMENT["flags"]["theme"]),
        (("flags", "checkout", "type"), "colour"),
        (("flags", "checkout", "type"), "string"),
        (("flags", "checkout", "variants"), []),
        (("flags", "checkout", "extra"), 1),
        (("flags", "checkout", "metadata"), {"owner": None}),
        (("flags", "checkout", "default"), {"variant": "on", "split": ONE_PART}),
        (("flags", "checkout", "default"), {}),
        (("flags", "checkout", "default"), {"split": [{"variant": "on", "weight": 0}]}),
        (("flags", "checkout", "release", "openings", 0, "percentage"), 100.001),
        (WHEN, {"all": [], "any": []}),
        (WHEN, {"attribute": "a", "operator": "like", "value": "b"}),
        (WHEN, {"attribute": "a", "operator": "less_than", "value": "1"}),
        (WHEN, {"attribute": "a", "operator": "exists", "value": True}),
        (("segments", "staff", "included"), "ann"),
    ],
    ids=str,
)  # fmt: skip
def test_the_snapshot_schema_refuses(path: tuple[Any, ...], value: Any) -> None:
    document = copy.deepcopy(SNAPSHOT_DOCUMENT)
    *way, last = path
    parent: Any = document
    for step in way:
        parent = parent[step]
    parent[last] = value
    assert violations(SNAPSHOT, document) != []


@pytest.mark.parametrize(
    "update",
    [
        {"version": 0, "flags": {}, "segments": {}},
        {"version": 1, "flags": {}},
        {"version": 1, "flags": {"a": {}}, "segments": {}},
        {"version": 1, "flags": {}, "segments": {"A!": None}},
        {"version": 1, "flags": {}, "segments": {}, "schema": 1},
    ],
    ids=str,
)
def test_the_update_schema_refuses(update: dict[str, Any]) -> None:
    assert violations(UPDATE, update) != []


@pytest.mark.parametrize(
    ("operator", "old", "present"),
    [
        ("before", "2022-W03-6", "2022-01-22T00:00:00"),
        ("after", "20220122T113000+0200", "2022-01-22T09:30:00+00:00"),
        ("before", "2022-01-22T11", "2022-01-22T11:00:00"),
        ("semver_less", "1.0.0-01", "1.0.0-1"),
        ("semver_equal", "1.0.0-rc.007+001", "1.0.0-rc.7+001"),
    ],
)
def test_a_stored_condition_in_an_old_notation_keeps_its_meaning(
    operator: str, old: str, present: str
) -> None:
    condition = {"attribute": "a", "operator": operator, "value": old}
    parsed = wire.parse_stored_condition({"any": [condition]})
    assert wire.to_wire(parsed)["any"][0]["value"] == present
    with pytest.raises(WireError):
        wire.parse_condition({"any": [condition]})
    with pytest.raises(WireError):
        wire.parse_stored_condition({**condition, "value": "soon"})
