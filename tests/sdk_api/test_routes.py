"""The routes for SDKs: snapshots with ETags, and reports that count once."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from tidegate_server.store import Store

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


def test_a_snapshot_is_of_the_tokens_environment(checkout: Caller, sdk: Caller) -> None:
    response = sdk.get("/sdk/v1/snapshot")
    assert response.status_code == 200
    snapshot = response.json
    assert snapshot is not None
    assert (snapshot["project"], snapshot["environment"]) == ("default", "production")
    assert list(snapshot["flags"]) == ["checkout"]
    assert response.headers["ETag"] == f'"{snapshot["version"]}"'
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


def test_a_repeated_report_counts_once(
    checkout: Caller, release: str, sdk: Caller, store: Store
) -> None:
    id = release.rpartition("/")[2]
    counts = [
        {"release": id, "step": 1, "stratum": 1, "control": arm(9), "treatment": arm(2)},
        {"release": "rel_unknown", "step": 1, "stratum": 1, "control": arm(9), "treatment": arm(2)},
    ]
    failing = [
        {
            "release": id,
            "step": 1,
            "stratum": 1,
            "arm": "treatment",
            "users": ["0" * 16],
            "overflow": 0,
        }
    ]
    body = report(counts=counts, failing=failing)
    first = sdk.post("/sdk/v1/reports", body)
    assert first.status_code == 200
    assert first.json == {"version": store.version("default", "production")}
    assert sdk.post("/sdk/v1/reports", body).status_code == 200
    (reading,) = store.evidence.totals("default", "production", id).readings
    assert (reading.control.exposures, reading.treatment.exposures) == (9, 2)
    assert reading.treatment.failing == 1


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
    }


def test_an_unknown_instance_cannot_continue(sdk: Caller) -> None:
    refused = sdk.post("/sdk/v1/reports", report(sequence=7, continues=True))
    assert (refused.status_code, slug(refused)) == (409, "instance-forgotten")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"schema": 2}, "/schema"),
        ({"instance": "X" * 32}, "/instance"),
        ({"instance": "a" * 32 + "\n"}, "/instance"),
        ({"sequence": 0}, "/sequence"),
        ({"sequence": "1"}, "/sequence"),
        ({"continues": 0}, "/continues"),
        ({"version": -1}, "/version"),
        ({"interval": 1e6}, "/interval"),
        ({"pid": 1.5}, "/pid"),
        ({"counts": [{}] * 5_001}, "/counts"),
        ({"extra": 1}, "/extra"),
        (
            {
                "counts": [
                    {
                        "release": "r",
                        "step": 1,
                        "stratum": 1,
                        "control": arm(-1),
                        "treatment": arm(1),
                    }
                ]
            },
            "/counts/0/control/exposures",
        ),
        (
            {
                "failing": [
                    {
                        "release": "r",
                        "step": 1,
                        "stratum": 1,
                        "arm": "treatment",
                        "users": ["short"],
                        "overflow": 0,
                    }
                ]
            },
            "/failing/0/users/0",
        ),
    ],
)
def test_invalid_reports_are_refused(
    sdk: Caller, admin: Caller, change: dict[str, Any], pointer: str
) -> None:
    refused = sdk.post("/sdk/v1/reports", report(**change))
    assert refused.status_code == 422
    assert pointer in pointers(refused)
    assert json.loads(admin.get(f"{PRODUCTION}/instances").data)["items"] == []


def test_a_report_may_be_larger_than_other_bodies(sdk: Caller, admin: Caller) -> None:
    users = [f"{number:016x}" for number in range(10_000)]
    failing = [
        {
            "release": "r",
            "step": step,
            "stratum": 1,
            "arm": "control",
            "users": users,
            "overflow": 0,
        }
        for step in range(8)
    ]
    body = report(failing=failing)
    assert len(json.dumps(body)) > 1024 * 1024
    assert sdk.post("/sdk/v1/reports", body).status_code == 200
    refused = admin.post(f"{PROJECT}/flags", body)
    assert (refused.status_code, slug(refused)) == (413, "request-entity-too-large")
