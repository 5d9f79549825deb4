"""The routes for SDKs: snapshots with ETags, and reports that count once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from tidegate_server.sdk_api.report_rates import UNIT, ReportRates
from tidegate_server.sdk_api.services import EXTENSION
from tidegate_server.store import Store
from tidegate_server.store.evidence import EvidenceStore
from tidegate_server.store.reports import Report, Reported
from werkzeug.exceptions import RequestTimeout
from werkzeug.test import TestResponse

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug


def report(step: int = 1, **change: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "instance": "0123456789abcdef" * 2,
        "sequence": 1,
        "continues": False,
        "version": 0,
        "interval": 10.0,
        "sdk": "tidegate-python/0.1.0",
        "host": "web-1",
        "pid": 42,
        "counts": [],
        "failing": [],
        **change,
    }


def arm(exposures: int) -> dict[str, int]:
    return {"exposures": exposures, "outcomes": exposures, "errors": 1, "microseconds": 1000}


def group(control: dict[str, int], treatment: dict[str, int], **change: Any) -> dict[str, Any]:
    arms = {"control": control, "treatment": treatment}
    return {"release": "r", "step": 1, "stratum": 1, **arms, **change}


def failing(users: list[str], **change: Any) -> dict[str, Any]:
    group = {"release": "r", "step": 1, "stratum": 1, "arm": "treatment"}
    return {**group, "users": users, "overflow": 0, **change}


def values(control: dict[str, int], **change: Any) -> dict[str, Any]:
    group = {"release": "r", "step": 1, "stratum": 1, "measure": "latency"}
    return {**group, "control": control, "treatment": {}, **change}


SAMPLE = {"release": "r", "step": 1, "stratum": 1, "bits": 0, "control": [], "treatment": []}


def sampled(control: list[int], treatment: list[int], **change: Any) -> dict[str, Any]:
    """The part of a report with users of one sample."""
    sample = {**SAMPLE, "control": control, "treatment": treatment, **change}
    return {"schema": 2, "samples": [sample]}


def test_a_snapshot_is_of_the_tokens_environment(checkout: Caller, sdk: Caller) -> None:
    response = sdk.get("/sdk/v1/snapshot")
    assert response.status_code == 200
    snapshot = response.json
    assert snapshot is not None
    assert (snapshot["project"], snapshot["environment"]) == ("default", "production")
    assert list(snapshot["flags"]) == ["checkout"]
    assert response.headers["ETag"] == f'"{snapshot["version"]}.{snapshot["incarnation"]}"'
    assert response.headers["Cache-Control"] == "no-store"


def test_an_unchanged_snapshot_is_304(checkout: Caller, sdk: Caller) -> None:
    seen = {"If-None-Match": sdk.get("/sdk/v1/snapshot").headers["ETag"]}
    same = sdk.get("/sdk/v1/snapshot", headers=seen)
    assert (same.status_code, same.data) == (304, b"")
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {})
    assert sdk.get("/sdk/v1/snapshot", headers=seen).status_code == 200


def test_a_large_snapshot_is_compressed_for_clients_that_accept_it(
    admin: Caller, sdk: Caller
) -> None:
    for number in range(5):
        admin.post_ok(f"{PROJECT}/flags", {"key": f"flag-{number}", "type": "boolean"})
    plain = sdk.get("/sdk/v1/snapshot")
    packed = sdk.get("/sdk/v1/snapshot", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert packed.headers["Vary"] == "Accept-Encoding"


def counted(answer: TestResponse) -> dict[str, Any]:
    """Return what an answer says about a report, without which users the next one may name."""
    assert answer.json is not None
    return {name: value for name, value in answer.json.items() if name != "seen_users"}


def test_a_repeated_report_counts_once(
    checkout: Caller, release: str, sdk: Caller, store: Store
) -> None:
    id = release.rpartition("/")[2]
    counts = [
        {"release": id, "step": 1, "stratum": 1, "control": arm(9), "treatment": arm(2)},
        {"release": "rel_unknown", "step": 1, "stratum": 1, "control": arm(9), "treatment": arm(2)},
    ]
    body = report(counts=counts, failing=[failing(["0" * 16], release=id)])
    first = sdk.post("/sdk/v1/reports", body)
    assert first.status_code == 200
    version = store.version("default", "production")
    assert counted(first) == {"version": version, "ignored": 1}
    again = sdk.post("/sdk/v1/reports", body)
    assert (again.status_code, counted(again)) == (200, {"version": version, "ignored": 0})
    (reading,) = store.evidence.totals("default", "production", id).readings
    assert (reading.control.exposures, reading.treatment.exposures) == (9, 2)
    assert reading.treatment.failing == 1


def test_the_report_of_a_token_seen_before_has_the_same_answer(sdk: Caller) -> None:
    """It is counted without Flask."""
    plain: dict[str, Any] = {"schema": 2, "samples": [], "version": 3}
    answers = [sdk.post("/sdk/v1/reports", report(instance=digit * 32, **plain)) for digit in "ab"]
    first, second = (dict(answer.headers) for answer in answers)
    for headers in (first, second):
        assert len(headers.pop("X-Request-ID")) == 16
        headers.pop("Content-Length")
    assert second == first
    assert answers[1].json == answers[0].json


@pytest.mark.usefixtures("stopped_rates")
def test_a_report_that_is_refused_counts_once_against_the_rate(app: Flask, sdk: Caller) -> None:
    app.extensions[EXTENSION] = replace(app.extensions[EXTENSION], report_rates=ReportRates(18))
    sdk.post_ok("/sdk/v1/reports", report())
    for _ in range(2):
        assert sdk.post("/sdk/v1/reports", report(pid="x")).status_code == 422
    assert sdk.post("/sdk/v1/reports", report()).status_code == 429


def test_the_store_is_asked_once_for_a_report_that_it_refuses(
    sdk: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain: dict[str, Any] = {"schema": 2, "samples": []}
    sdk.post_ok("/sdk/v1/reports", report(**plain))
    asked: list[str] = []
    add_report = EvidenceStore.add_report

    def counted(store: EvidenceStore, project: str, environment: str, sent: Report) -> Reported:
        asked.append(sent.instance)
        return add_report(store, project, environment, sent)

    monkeypatch.setattr(EvidenceStore, "add_report", counted)
    unknown = report(**plain, instance="a" * 32, sequence=7, continues=True)
    refused = sdk.post("/sdk/v1/reports", unknown)
    assert (refused.status_code, slug(refused)) == (409, "instance-forgotten")
    assert asked == ["a" * 32]


def post_compressed(sdk: Caller, body: bytes) -> TestResponse:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    return sdk.post("/sdk/v1/reports", data=body, headers=headers)


def test_a_report_may_be_compressed(sdk: Caller, admin: Caller) -> None:
    body = json.dumps(report(host="h" * 300)).encode()
    assert post_compressed(sdk, gzip.compress(body)).status_code == 200
    listed = admin.get(f"{PRODUCTION}/instances").json
    assert listed is not None
    assert [each["host"] for each in listed["items"]] == ["h" * 300]


@pytest.mark.parametrize("pack", [lambda body: body, gzip.compress], ids=["plain", "compressed"])
def test_the_report_of_a_token_seen_before_needs_no_flask(
    app: Flask,
    sdk: Caller,
    admin: Caller,
    monkeypatch: pytest.MonkeyPatch,
    pack: Callable[[bytes], bytes],
) -> None:
    sdk.post_ok("/sdk/v1/reports", report())
    with monkeypatch.context() as patch:
        patch.setattr(app, "full_dispatch_request", None)
        body = pack(json.dumps(report(instance="a" * 32, schema=2, samples=[])).encode())
        encoding = {"Content-Encoding": "gzip"} if body.startswith(b"\x1f") else {}
        headers = {"Content-Type": "application/json", **encoding}
        assert sdk.post("/sdk/v1/reports", data=body, headers=headers).status_code == 200
    listed = admin.get(f"{PRODUCTION}/instances").json
    assert listed is not None
    assert "a" * 32 in [each["id"] for each in listed["items"]]


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"{}", 400, "not gzip"),
        (gzip.compress(b"{}")[:-4], 413, "one whole gzip file"),
        (gzip.compress(b"{}") + b"{}", 413, "one whole gzip file"),
        (gzip.compress(b"{}") + bytes(8), 400, "one whole gzip file"),
        (gzip.compress(b"{}")[:-4] + b"\x01\0\0\0", 400, "one whole gzip file"),
        (gzip.compress(b"{}")[:-4] + b"\x03\0\0\0", 400, "one whole gzip file"),
        (gzip.compress(b"{}")[:-8] + bytes(4) + b"\x02\0\0\0", 400, "one whole gzip file"),
        (gzip.compress(b" " * (4 * 1024 * 1024 + 1)), 413, "at most 4096 kB"),
        (gzip.compress(b"[]"), 422, "object"),
    ],
    # Not the bytes: they have the time in them, and every worker needs the same names.
    ids=[
        *("plain", "cut off", "followed by more", "followed by nothing", "says less", "says more"),
        *("wrong checksum", "too long", "no object"),
    ],
)
def test_a_compressed_report_that_cannot_be_read_is_refused(
    sdk: Caller, body: bytes, status: int, why: str
) -> None:
    refused = post_compressed(sdk, body)
    assert refused.status_code == status
    assert why in refused.text
    # From now on the token is known, and the report is read without Flask first.
    again = post_compressed(sdk, body)
    assert again.status_code == status
    assert why in again.text


@pytest.mark.usefixtures("stopped_rates")
def test_a_compressed_report_counts_what_it_has_become_against_the_rate(
    app: Flask, sdk: Caller
) -> None:
    app.extensions[EXTENSION] = replace(app.extensions[EXTENSION], report_rates=ReportRates(60))
    body = gzip.compress(json.dumps(report()).encode() + b" " * (9 * UNIT))
    assert post_compressed(sdk, body).status_code == 200
    assert post_compressed(sdk, body).status_code == 429


class CountingRates(ReportRates):
    """Remembers what it was asked to count: the size, and what was counted before."""

    def __init__(self) -> None:
        super().__init__(60_000)
        self.counted: list[tuple[int, int]] = []

    def take(self, token: str, size: int, now: float | None = None, *, counted: int = 0) -> None:
        self.counted.append((size, counted))
        super().take(token, size, now, counted=counted)


def test_a_compressed_report_is_counted_before_it_is_decompressed(app: Flask, sdk: Caller) -> None:
    rates = CountingRates()
    app.extensions[EXTENSION] = replace(app.extensions[EXTENSION], report_rates=rates)
    whole = b" " * (4 * 1024 * 1024)
    body = gzip.compress(whole)
    for _ in range(2):  # the token is not known at first
        rates.counted.clear()
        assert post_compressed(sdk, body[:-8] + bytes(4) + body[-4:]).status_code == 400
        assert rates.counted == [(len(body), 0), (len(whole), len(body))]


def test_a_report_whose_body_comes_too_slowly_gets_an_answer(app: Flask, sdk: Caller) -> None:
    class SlowBody:
        def read(self, size: int = -1) -> bytes:
            raise RequestTimeout("The body came too slowly.")

    sdk.post_ok("/sdk/v1/reports", report())
    answer = app.test_client().post(
        "/sdk/v1/reports",
        headers={"Authorization": f"Bearer {sdk.token}", "Content-Type": "application/json"},
        environ_overrides={"wsgi.input": SlowBody(), "CONTENT_LENGTH": "100"},
    )
    assert answer.status_code == 408
    assert answer.headers["X-Request-ID"]


def test_a_report_registers_its_instance(sdk: Caller, admin: Caller) -> None:
    sdk.post_ok("/sdk/v1/reports", report(version=3))
    listed = admin.get(f"{PRODUCTION}/instances").json
    assert listed is not None
    (instance,) = listed["items"]
    assert instance.pop("last_seen_at").endswith("Z")
    assert instance == {
        "id": "0123456789abcdef" * 2,
        "version": 3,
        "live": True,
        "sdk": "tidegate-python/0.1.0",
        "host": "web-1",
        "pid": 42,
        "samples": False,
        "application": "",
        "token": "a sdk",
        "started_at": None,
        "behind_since": None,
    }


def test_a_dry_run_of_a_report_is_checked_and_counts_nothing(sdk: Caller, admin: Caller) -> None:
    answer = sdk.post("/sdk/v1/reports?dry_run=true", report())
    assert answer.status_code == 200
    assert answer.json == {"version": 1, "ignored": 0, "seen_users": None}
    instances = admin.get(f"{PRODUCTION}/instances").json
    assert instances is not None
    assert instances["items"] == []
    wrong = sdk.post("/sdk/v1/reports?dry_run=true", report(pid="x"))
    assert (wrong.status_code, pointers(wrong)) == (422, ["/pid"])
    unknown = sdk.post("/sdk/v1/reports?dry_run=perhaps", report())
    assert (unknown.status_code, pointers(unknown)) == (422, ["/dry_run"])
    sdk.post_ok("/sdk/v1/reports?dry_run=false", report())
    instances = admin.get(f"{PRODUCTION}/instances").json
    assert instances is not None
    assert len(instances["items"]) == 1


def test_an_unknown_instance_cannot_continue(sdk: Caller) -> None:
    refused = sdk.post("/sdk/v1/reports", report(sequence=7, continues=True))
    assert (refused.status_code, slug(refused)) == (409, "instance-forgotten")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"schema": 3}, "/schema"),
        ({"schema": 2}, "/samples"),
        ({"samples": []}, "/samples"),
        ({"schema": 2, "samples": [{**SAMPLE, "bits": 21}]}, "/samples/0/bits"),
        ({"schema": 2, "samples": [{**SAMPLE, "control": [2**32]}]}, "/samples/0/control/0"),
        ({"instance": "X" * 32}, "/instance"),
        ({"instance": "a" * 32 + "\n"}, "/instance"),
        ({"sequence": 0}, "/sequence"),
        ({"sequence": "1"}, "/sequence"),
        ({"continues": 0}, "/continues"),
        ({"version": -1}, "/version"),
        ({"interval": 1e6}, "/interval"),
        ({"pid": 1.5}, "/pid"),
        ({"counts": [{}] * 1_001}, "/counts"),
        ({"extra": 1}, "/extra"),
        ({"counts": [group(arm(-1), arm(1))]}, "/counts/0/control/exposures"),
        ({"counts": [group(arm(1), arm(10**12 + 1))]}, "/counts/0/treatment/exposures"),
        ({"failing": [failing(["short"])]}, "/failing/0/users/0"),
    ],
)
def test_invalid_reports_are_refused(
    sdk: Caller, admin: Caller, change: dict[str, Any], pointer: str
) -> None:
    refused = sdk.post("/sdk/v1/reports", report(**change))
    assert refused.status_code == 422
    assert pointer in pointers(refused)
    assert json.loads(admin.get(f"{PRODUCTION}/instances").data)["items"] == []


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (
            {"counts": [group(arm(1), arm(1) | {"outcomes": 2})]},
            "/counts/0/treatment/outcomes",
        ),
        (
            {"counts": [group(arm(9) | {"errors": 10}, arm(1))]},
            "/counts/0/control/errors",
        ),
        ({"failing": [failing(["0" * 16])]}, "/failing/0/users"),
        (
            {
                "counts": [group(arm(9), arm(9))],  # with one error each
                "failing": [failing(["0" * 16], overflow=1)],
            },
            "/failing/0/users",
        ),
        (
            {
                "counts": [group(arm(9), arm(9))],
                "failing": [failing(["0" * 16]), failing(["1" * 16], stratum=2)],
            },
            "/failing/1/users",
        ),
        ({"counts": [group(arm(1), arm(1))] * 2}, "/counts/1"),
        (
            {"counts": [group(arm(9), arm(9))], "failing": [failing(["0" * 16])] * 2},
            "/failing/1",
        ),
        ({"counts": [group(arm(2), arm(0))], **sampled([1, 2, 3], [])}, "/samples/0/control"),
        ({"counts": [group(arm(9), arm(9))], **sampled([1], [2], step=2)}, "/samples/0/treatment"),
        (
            {"counts": [group(arm(9), arm(9))], **sampled([8, 4], [16, 12, 3], bits=2)},
            "/samples/0/treatment/2",
        ),
        ({"counts": [group(arm(9), arm(9))], **sampled([1, 2], [3, 2])}, "/samples/0"),
        (
            {"counts": [group(arm(9), arm(9))], "schema": 2, "samples": [SAMPLE, SAMPLE]},
            "/samples/1",
        ),
        (
            {
                "counts": [group(arm(10**6), arm(10**6))],
                **sampled(list(range(9_000)), list(range(9_000, 18_000))),
            },
            "/samples",
        ),
        ({"values": [values({"1": 1}), values({"2": 1})]}, "/values/1"),
        ({"trips": [{"release": "r", "count": 1, "milliseconds": 1}] * 2}, "/trips/1"),
        (
            {
                "counts": [group(arm(9), arm(9) | {"errors": 20_000})],
                "failing": [failing([f"{n:016x}" for n in range(9_000)], step=s) for s in (1, 2)],
            },
            "/failing",
        ),
        (
            {"values": [values(dict.fromkeys(map(str, range(481)), 1), step=n) for n in range(42)]},
            "/values",
        ),
    ],
)
def test_numbers_that_cannot_be_true_together_are_refused(
    sdk: Caller, admin: Caller, change: dict[str, Any], pointer: str
) -> None:
    refused = sdk.post("/sdk/v1/reports", report(**change))
    assert refused.status_code == 422
    assert pointer in pointers(refused)
    assert json.loads(admin.get(f"{PRODUCTION}/instances").data)["items"] == []


def test_users_of_a_sample_count_in_their_arms(sdk: Caller, release: str, store: Store) -> None:
    id = release.rpartition("/")[2]
    counts = [group(arm(9), arm(9), release=id)]
    body = report(counts=counts, **sampled([3, 1, 3], [2], release=id))
    sdk.post_ok("/sdk/v1/reports", body)
    (reading,) = store.evidence.totals("default", "production", id).readings
    assert (reading.control.sampled, reading.treatment.sampled) == (2, 1)


def test_growth_that_no_process_can_count_is_refused(
    sdk: Caller, release: str, store: Store
) -> None:
    id = release.rpartition("/")[2]
    sdk.post_ok("/sdk/v1/reports", report(counts=[group(arm(1), arm(1), release=id)]))
    counts = [group(arm(1), arm(1)), group(arm(1), arm(10**10), release=id)]
    refused = sdk.post("/sdk/v1/reports", report(sequence=2, counts=counts))
    assert (refused.status_code, slug(refused)) == (422, "invalid")
    assert pointers(refused) == ["/counts/1/treatment/exposures"]


def test_a_report_may_be_larger_than_other_bodies(sdk: Caller, admin: Caller) -> None:
    counts = [group(arm(10**9), arm(10**9), release="r" * 100, step=n) for n in range(1_000)]
    buckets = [values({str(n): 10**9 for n in range(2)}, step=n) for n in range(8_000)]
    body = report(counts=counts, values=buckets)
    assert len(json.dumps(body)) > 1024 * 1024
    assert sdk.post("/sdk/v1/reports", body).status_code == 200
    refused = admin.post(f"{PROJECT}/flags", body)
    assert (refused.status_code, slug(refused)) == (413, "content-too-large")
