"""Whatever is wrong, the answer is a problem document that says the mend and nothing secret."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from tidegate_server.store import Store

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug, stored_documents

FLAGS = f"{PROJECT}/flags"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("data", "headers", "status", "words"),
    [
        (b"{", JSON, 400, "not JSON"),
        (b'{"key": "a", "key": "b"}', JSON, 400, "twice"),
        (b'{"key": NaN}', JSON, 400, "NaN"),
        (b'{"key": "\xff"}', JSON, 400, "not UTF-8"),
        (b'"\\ud800"', JSON, 400, "surrogate"),
        (b"[" * 2_000, JSON, 400, "deeply"),
        (b"", JSON, 400, "not JSON"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "application/json"),
        (b"{}", {"Content-Type": "application/yaml"}, 415, "application/json"),
        (b"{}", {}, 415, "is missing"),
        (b"{}", {**JSON, "Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        (b'"' + b"x" * 1024 * 1024 + b'"', JSON, 413, ""),
        (b"[]", JSON, 422, "object"),
        (b"null", JSON, 422, "object"),
        (b'"text"', JSON, 422, "object"),
    ],
)
def test_bodies_without_one_meaning_are_refused(
    admin: Caller, store: Store, data: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    before = stored_documents(store)
    refused = admin.call("POST", FLAGS, data=data, headers=headers)
    assert refused.status_code == status, refused.text
    assert slug(refused)
    assert words in refused.text
    assert stored_documents(store) == before


def test_a_problem_has_the_members_of_the_standard(admin: Caller) -> None:
    refused = admin.post(FLAGS, {"key": "a", "type": "boolean", "colour": "red"})
    problem = refused.json
    assert problem is not None
    assert set(problem) == {"type", "title", "status", "detail", "errors", "request_id"}
    assert problem["type"] == "urn:tidegate:problem:invalid"
    assert problem["status"] == refused.status_code == 422
    assert problem["errors"] == [
        {"pointer": "/colour", "detail": "There is no such field here; leave it out."}
    ]
    assert problem["request_id"] == refused.headers["X-Request-ID"]


WRONG_BODIES: dict[str, tuple[str, str, Any, str]] = {
    "a flag without a key": ("POST", FLAGS, {"type": "boolean"}, "/key"),
    "a flag of no type": ("POST", FLAGS, {"key": "a", "type": "date"}, "/type"),
    "a key in capitals": ("POST", FLAGS, {"key": "A", "type": "boolean"}, "/key"),
    "a variant with more": (
        "POST",
        FLAGS,
        {"key": "a", "type": "string", "variants": [{"key": "x", "value": "", "weight": 1}]},
        "/variants/0/weight",
    ),
    "a value of another type": (
        "POST",
        FLAGS,
        {
            "key": "a",
            "type": "string",
            "variants": [{"key": "x", "value": 1}, {"key": "y", "value": "b"}],
        },
        "/variants/0/value",
    ),
    "a segment of a segment that is not there": (
        "POST",
        f"{PROJECT}/segments",
        {"key": "vip", "when": {"segment": "nobody"}},
        "/when/segment",
    ),
    "an operator that is not there": (
        "POST",
        f"{PROJECT}/segments",
        {"key": "vip", "when": {"all": [{"attribute": "a", "operator": "is", "value": 1}]}},
        "/when/all/0/operator",
    ),
    "a pattern that cannot be": (
        "POST",
        f"{PROJECT}/segments",
        {"key": "vip", "when": {"attribute": "a", "operator": "matches", "value": "("}},
        "/when/value",
    ),
    "a split that is not whole": (
        "PUT",
        f"{PRODUCTION}/flags/checkout",
        {
            "enabled": True,
            "off_variant": "off",
            "default": {"split": [{"variant": "on", "weight": 40}]},
        },
        "/default/split",
    ),
    "a variant that is not there": (
        "PUT",
        f"{PRODUCTION}/flags/checkout",
        {"enabled": True, "off_variant": "off", "default": {"variant": "blue"}},
        "/default/variant",
    ),
    "a prerequisite that is not there": (
        "PUT",
        f"{PRODUCTION}/flags/checkout",
        {
            "enabled": True,
            "off_variant": "off",
            "default": {"variant": "off"},
            "prerequisites": [{"flag": "nope", "variants": ["on"]}],
        },
        "/prerequisites/0/flag",
    ),
    "a flag that is its own prerequisite": (
        "PUT",
        f"{PRODUCTION}/flags/checkout",
        {
            "enabled": True,
            "off_variant": "off",
            "default": {"variant": "off"},
            "prerequisites": [{"flag": "checkout", "variants": ["on"]}],
        },
        "/prerequisites/0/flag",
    ),
    "a read-only field": ("PUT", PROJECT, {"name": "x", "revision": 3}, "/revision"),
    "a pause that says too much": (
        "POST",
        f"{PRODUCTION}/flags/checkout/kill",
        {"reason": "x" * 1_001},
        "/reason",
    ),
}


@pytest.mark.parametrize("what", WRONG_BODIES)
def test_what_cannot_be_is_refused_at_its_field(checkout: Caller, store: Store, what: str) -> None:
    method, path, body, pointer = WRONG_BODIES[what]
    before = stored_documents(store)
    refused = checkout.call(method, path, body, match="*")
    assert refused.status_code == 422, refused.text
    found = pointers(refused)
    assert any(each.startswith(pointer) for each in found), found
    assert stored_documents(store) == before


def test_no_more_than_a_hundred_faults_are_told(admin: Caller) -> None:
    refused = admin.post(FLAGS, {f"field-{number}": 1 for number in range(1_000)})
    assert len(pointers(refused)) == 100


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", f"{FLAGS}/", 404),
        ("GET", f"{FLAGS}/a%2Fb", 404),
        ("GET", f"{FLAGS}/a%0A", 404),
        ("GET", f"{FLAGS}/" + "a" * 101, 404),
        ("GET", "/api/v1/projects/%7Bx%7D/flags", 404),
        ("PATCH", FLAGS, 405),
        ("DELETE", PROJECT, 405),
        ("POST", "/sdk/v1/snapshot", 405),
    ],
)
def test_other_addresses_and_methods_are_problems_too(
    admin: Caller, method: str, path: str, status: int
) -> None:
    refused = admin.call(method, path)
    assert refused.status_code == status
    assert slug(refused)
    assert ("Allow" in refused.headers) == (status == 405)


def test_a_fault_of_our_own_tells_nothing(
    app: Flask, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(Store, "all", explode)
    broken = admin.get(FLAGS)
    assert (broken.status_code, slug(broken)) == (500, "internal")
    assert "swordfish" not in broken.text


def test_every_answer_has_its_headers(client: FlaskClient, admin: Caller) -> None:
    for answer in (admin.get(FLAGS), client.get("/health/live"), client.get("/nope")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Request-ID"]
    assert admin.post(FLAGS, {}).headers["Cache-Control"] == "no-store"


def test_a_request_keeps_its_id_where_it_is_harmless(client: FlaskClient) -> None:
    kept = client.get("/health/live", headers={"X-Request-ID": "abc-123"})
    assert kept.headers["X-Request-ID"] == "abc-123"
    made = client.get("/health/live", headers={"X-Request-ID": "<script>"})
    assert made.headers["X-Request-ID"] != "<script>"
