"""The server accepts exactly the reports that the published schema allows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from marshmallow import ValidationError
from tidegate.counts import Counts
from tidegate_server.documents.json_pointers import problems
from tidegate_server.domain.evidence import GroupCounts, GroupValues
from tidegate_server.sdk_api.plain_reports import read_plain
from tidegate_server.sdk_api.report_schemas import ReportBody
from tidegate_server.store.reports import FailingUsers, SampledUsers

from tests.wire_schemas import REPORT, violations

ARM = {"exposures": 9, "outcomes": 8, "errors": 1, "microseconds": 7_000}
GROUP = {"release": "rel_1", "step": 2, "stratum": 1, "control": ARM, "treatment": ARM}
FAILING = {
    "release": "rel_1",
    "step": 2,
    "stratum": 1,
    "arm": "treatment",
    "users": ["0123456789abcdef"],
    "overflow": 3,
}
SAMPLE = {
    "release": "rel_1",
    "step": 2,
    "stratum": 1,
    "bits": 3,
    "control": [8, 4294967288],
    "treatment": [0],
}
VALUES = {
    "release": "rel_1",
    "step": 2,
    "stratum": 1,
    "measure": "latency",
    "control": {"137": 3, "-4": 1, "0": 2},
    "treatment": {},
}
DOCUMENT: dict[str, Any] = {
    "schema": 2,
    "instance": "0123456789abcdef" * 2,
    "sequence": 4,
    "continues": True,
    "version": 7,
    "interval": 0.5,
    "sdk": "tidegate-python/0.1.0",
    "host": "web-1",
    "pid": 42,
    "counts": [GROUP],
    "failing": [FAILING],
    "samples": [SAMPLE],
    "values": [VALUES],
    "leaving": False,
    "application": "shop",
    "uptime": 60.5,
    "version_age": 1,
}


def server_accepts(document: Any) -> bool:
    try:
        ReportBody().load(document)
    except ValidationError:
        return False
    return True


def test_a_report_is_read_field_by_field() -> None:
    report = ReportBody().load(DOCUMENT)
    assert report.instance == "0123456789abcdef" * 2
    assert (report.sequence, report.continues, report.version) == (4, True, 7)
    assert (report.interval, report.sdk, report.host, report.pid) == (
        0.5,
        "tidegate-python/0.1.0",
        "web-1",
        42,
    )
    arm = Counts(9, 8, 1, microseconds=7_000)
    assert report.counts == (("rel_1", GroupCounts(2, 1, arm, arm)),)
    assert report.failing == (("rel_1", FailingUsers(2, 1, "treatment", ("0123456789abcdef",), 3)),)
    assert report.samples == (("rel_1", SampledUsers(2, 1, 3, (8, 4_294_967_288), (0,))),)
    assert report.has_samples
    control = ((-4, 1), (0, 2), (137, 3))
    assert report.values == (("rel_1", GroupValues(2, 1, "latency", control, ())),)


def test_a_report_without_values_may_omit_them() -> None:
    without = {name: each for name, each in DOCUMENT.items() if name not in ("values", "leaving")}
    report = ReportBody().load(without)
    assert (report.values, report.leaving) == ((), False)


def test_a_report_of_schema_1_has_no_samples() -> None:
    first = {**DOCUMENT, "schema": 1}
    del first["samples"]
    report = ReportBody().load(first)
    assert (report.samples, report.has_samples) == ((), False)
    assert REPORT.is_valid(first)


@pytest.mark.parametrize("schema", [1, 2])
def test_samples_belong_to_schema_2(schema: int) -> None:
    document = {**DOCUMENT, "schema": schema}
    if schema == 2:
        del document["samples"]
    with pytest.raises(ValidationError) as caught:
        ReportBody().load(document)
    (problem,) = problems(caught.value.messages)
    assert problem.pointer == "/samples"
    assert "send" in problem.detail
    assert not REPORT.is_valid(document)


def test_a_problem_with_a_bucket_has_the_pointer_of_the_bucket() -> None:
    counts = {"482": 1, "7": -1, "8": 1}
    with pytest.raises(ValidationError) as caught:
        ReportBody().load({**DOCUMENT, "values": [{**VALUES, "control": counts}]})
    found = {problem.pointer for problem in problems(caught.value.messages)}
    assert found == {"/values/0/control/482", "/values/0/control/7"}


def at_every_place(document: Any) -> list[tuple[Any, ...]]:
    """The path of every value within a document."""
    found: list[tuple[Any, ...]] = []
    waiting: list[tuple[Any, ...]] = [()]
    while waiting:
        way = waiting.pop()
        value = document
        for step in way:
            value = value[step]
        steps = value.keys() if isinstance(value, dict) else range(len(value))
        for step in steps:
            found.append((*way, step))
            if isinstance(value[step], dict | list):
                waiting.append((*way, step))
    return found


def fresh(value: Any) -> Any:
    """A copy that shares nothing, not even within itself."""
    return json.loads(json.dumps(value))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=5,
)
NUMBERS = [
    0,
    1,
    2,
    -1,
    10**12,
    10**12 + 1,
    2**53,
    2**53 + 1,
    1.0,
    4.0,
    0.5,
    -0.0,
    3600,
    3600.5,
    20,
    21,
    2**32 - 1,
    2**32,
    1e300,
]
WORDS = ["", "a", "a" * 32, "a" * 32 + "\n", "A" * 32, "0" * 16, "0" * 17, "control", "a\tb"]
LONG = ["r" * 100, "r" * 101, "h" * 200, "h" * 201, "h" * 300, "h" * 301, "\N{CAT}" * 200]
CONTROL = ["bell\a", "\x7f", "\x85", "\n"]
NEARLY: st.SearchStrategy[Any] = st.sampled_from(
    [
        *NUMBERS,
        *WORDS,
        *LONG,
        *CONTROL,
        True,
        None,
        [],
        {},
        [GROUP],
        [FAILING],
        [SAMPLE],
        ARM,
        [None],
    ]
)
BUCKETS = ["0", "-0", "1", "01", "481", "-481", "482", "-482", "490", "500", "1000", "1.0", "x"]


@st.composite
def nearly_reports(draw: st.DrawFn, whole: Any = DOCUMENT) -> Any:
    """A report with some parts replaced, removed or added."""
    document = fresh(whole)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(at_every_place(document)))
        parent: Any = document
        for step in way:
            parent = parent[step]
        change = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if change == "remove":
            del parent[last]
        elif change == "replace" or not isinstance(parent, dict):
            parent[last] = fresh(draw(NEARLY | JSON))
        else:
            parent[draw(st.sampled_from(["extra", "Host", *BUCKETS]))] = fresh(draw(NEARLY))
        if not document:
            break
    return document


@given(nearly_reports())
@example(DOCUMENT)
@example([])
@example(None)
@example({name: each for name, each in DOCUMENT.items() if name != "samples"})
@example({**{name: each for name, each in DOCUMENT.items() if name != "samples"}, "schema": 1.0})
@example({**DOCUMENT, "schema": 3})
@example({**DOCUMENT, "sequence": 4.0, "schema": 1.0})
@example({**DOCUMENT, "host": "a\n"})
@example({**DOCUMENT, "values": [{**VALUES, "control": {"481": 1, "-481": 2.0}}]})
@example({**DOCUMENT, "values": [{**VALUES, "control": {"482": 1}}]})
@example({**DOCUMENT, "values": [{**VALUES, "measure": "a|b"}]})
def test_server_and_schema_accept_the_same_reports(document: Any) -> None:
    assert server_accepts(document) == REPORT.is_valid(document), violations(REPORT, document)


EVALUATIONS = {"flag": "a", "variants": {"on": 3}, "defaults": 1, "estimated": False}
SEEN = {"user": "0123456789abcdef", "attributes": {"plan": "pro"}, "lists": {}}
TRIPS = {"release": "rel_1", "count": 1, "milliseconds": 20}
WHOLE = {**DOCUMENT, "evaluations": [EVALUATIONS], "seen_users": [SEEN], "trips": [TRIPS]}


@pytest.mark.parametrize("host", ["web-1", "web-1:8000", "m\u00fcller", "a\\b", 'a"b'])
def test_a_whole_report_is_read_in_one_step(host: str) -> None:
    document = {**WHOLE, "host": host}
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False, indent=2)):
        report = read_plain(text.encode())
        assert report is not None
        assert report == ReportBody().load(document)
        assert isinstance(report.version_age, float)


TEXT = json.dumps(WHOLE)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ('"sequence"', '"sequence": 9, "sequence"'),
        ('"application"', '"application": "other", "application"'),
        ('"on"', '"on" : 9, "on"'),
        ('"plan"', '"plan": "free", "plan"'),
        ('"exposures"', '"exposur\\u0065s": 9, "exposures"'),
        ('"host": "', '"host": "a:b:c", "host": "\\u003a\\u003a'),
        ('"schema": 2', '"schema": 2.0'),
        ('"interval": 0.5', '"interval": NaN'),
        ('"host": "', '"host": "\x01'),
        ('"host": "', '"host": "\\ud800'),
        ('"user": "0', '"user": 18446744073709551617, "x": "'),
    ],
)
def test_an_ambiguous_text_is_not_read_in_one_step(text: str, changed: str) -> None:
    assert read_plain(TEXT.encode()) is not None
    assert text in TEXT
    assert read_plain(TEXT.replace(text, changed, 1).encode()) is None


def test_a_text_that_is_no_unicode_is_not_read_in_one_step() -> None:
    assert read_plain(TEXT.encode().replace(b"web-1", b"web-\xff")) is None


@given(nearly_reports(WHOLE))
@example({**WHOLE, "sequence": 4.0})
@example({**WHOLE, "instance": WHOLE["instance"] + "\n"})
@example({**WHOLE, "host": "a\n"})
@example({**WHOLE, "interval": 3_600.5})
@example({**WHOLE, "uptime": None})
@example({**WHOLE, "schema": 1})
@example({**WHOLE, "schema": True})
@example({**WHOLE, "extra": 1})
@example({**WHOLE, "seen_users": [{**SEEN, "user": "x"}]})
@example({**WHOLE, "seen_users": [{**SEEN, "user": 5}]})
@example({**WHOLE, "seen_users": [{**SEEN, "more": 1}]})
@example({**WHOLE, "seen_users": [{**SEEN, "attributes": None}]})
@example({**WHOLE, "seen_users": [{**SEEN, "attributes": {"a": {}}}]})
@example({**WHOLE, "seen_users": [{**SEEN, "lists": None}]})
@example({**WHOLE, "seen_users": [{"user": SEEN["user"], "attributes": {"a": [1, "b", True]}}]})
@example({**WHOLE, "seen_users": ["x"]})
@example({**WHOLE, "evaluations": [{**EVALUATIONS, "flag": "a|b"}]})
@example([])
def test_what_is_read_in_one_step_is_what_the_schema_reads(document: Any) -> None:
    report = read_plain(json.dumps(document).encode())
    if report is not None:
        assert report == ReportBody().load(document)


@pytest.mark.parametrize(
    ("name", "most", "item"),
    [
        ("counts", 1_000, GROUP),
        ("failing", 2_000, FAILING),
        ("samples", 1_000, SAMPLE),
        ("values", 8_000, VALUES),
    ],
)
def test_server_and_schema_agree_on_the_longest_lists(name: str, most: int, item: Any) -> None:
    for length, right in ((most, True), (most + 1, False)):
        document = {**DOCUMENT, name: [item] * length}
        assert (server_accepts(document), REPORT.is_valid(document)) == (right, right)


def test_server_and_schema_agree_on_the_most_users() -> None:
    for length, right in ((10_000, True), (10_001, False)):
        failing = {**FAILING, "users": ["0" * 16] * length}
        sample = {**SAMPLE, "control": [0] * length}
        for document in ({**DOCUMENT, "failing": [failing]}, {**DOCUMENT, "samples": [sample]}):
            assert (server_accepts(document), REPORT.is_valid(document)) == (right, right)
