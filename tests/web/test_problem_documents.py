"""Every error is a problem document that says how to fix it and reveals no secret."""

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
        (b"[" * 2_000 + b"]" * 2_000, JSON, 400, "deeply"),
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
def test_malformed_or_ambiguous_bodies_are_refused(
    admin: Caller, store: Store, data: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    before = stored_documents(store)
    refused = admin.call("POST", FLAGS, data=data, headers=headers)
    assert refused.status_code == status, refused.text
    assert slug(refused)
    assert words in refused.text
    assert stored_documents(store) == before


def test_a_problem_document_has_the_members_of_rfc_9457(admin: Caller) -> None:
    refused = admin.post(FLAGS, {"key": "a", "type": "boolean", "colour": "red"})
    problem = refused.json
    assert problem is not None
    members = {"type", "title", "status", "detail", "errors", "suggestions", "request_id"}
    assert set(problem) == members
    assert problem["suggestions"] == []
    assert problem["type"] == "urn:tidegate:problem:invalid"
    assert problem["status"] == refused.status_code == 422
    assert problem["errors"] == [
        {"pointer": "/colour", "detail": "There is no such field; leave it out."}
    ]
    assert problem["request_id"] == refused.headers["X-Request-ID"]


WRONG_BODIES: dict[str, tuple[str, str, Any, str]] = {
    "a flag without a key": ("POST", FLAGS, {"type": "boolean"}, "/key"),
    "a flag of an unknown type": ("POST", FLAGS, {"key": "a", "type": "date"}, "/type"),
    "a key in capitals": ("POST", FLAGS, {"key": "A", "type": "boolean"}, "/key"),
    "a variant with an unknown field": (
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
    "a segment that uses an unknown segment": (
        "POST",
        f"{PROJECT}/segments",
        {"key": "vip", "when": {"segment": "nobody"}},
        "/when/segment",
    ),
    "an unknown operator": (
        "POST",
        f"{PROJECT}/segments",
        {"key": "vip", "when": {"all": [{"attribute": "a", "operator": "is", "value": 1}]}},
        "/when/all/0/operator",
    ),
    "an invalid pattern": (
        "POST",
        f"{PROJECT}/segments",
        {"key": "vip", "when": {"attribute": "a", "operator": "matches", "value": "("}},
        "/when/value",
    ),
    "a split that is not 100 percent": (
        "PUT",
        f"{PRODUCTION}/flags/checkout",
        {
            "enabled": True,
            "off_variant": "off",
            "default": {"split": [{"variant": "on", "weight": 40}]},
        },
        "/default/split",
    ),
    "an unknown variant": (
        "PUT",
        f"{PRODUCTION}/flags/checkout",
        {"enabled": True, "off_variant": "off", "default": {"variant": "blue"}},
        "/default/variant",
    ),
    "an unknown prerequisite": (
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
    "a reason that is too long": (
        "POST",
        f"{PRODUCTION}/flags/checkout/kill",
        {"reason": "x" * 1_001},
        "/reason",
    ),
}


@pytest.mark.parametrize("what", WRONG_BODIES)
def test_an_invalid_value_is_reported_with_its_pointer(
    checkout: Caller, store: Store, what: str
) -> None:
    method, path, body, pointer = WRONG_BODIES[what]
    before = stored_documents(store)
    refused = checkout.call(method, path, body, match="*")
    assert refused.status_code == 422, refused.text
    reported = pointers(refused)
    assert any(each.startswith(pointer) for each in reported), reported
    assert stored_documents(store) == before


def test_at_most_a_hundred_field_problems_are_listed(admin: Caller) -> None:
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
        ("DELETE", "/api/v1/projects", 405),
        ("POST", "/sdk/v1/snapshot", 405),
    ],
)
def test_unknown_paths_and_methods_are_problem_documents(
    admin: Caller, method: str, path: str, status: int
) -> None:
    refused = admin.call(method, path)
    assert refused.status_code == status
    assert slug(refused)
    assert ("Allow" in refused.headers) == (status == 405)


def test_an_internal_error_hides_its_cause(
    app: Flask, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("the password is swordfish")

    admin.get(FLAGS)  # so that the tokens are known
    for name in ("all", "get_many", "get"):
        monkeypatch.setattr(Store, name, explode)
    broken = admin.get(FLAGS)
    assert (broken.status_code, slug(broken)) == (500, "internal")
    assert "swordfish" not in broken.text


def test_every_response_has_security_headers(client: FlaskClient, admin: Caller) -> None:
    for response in (admin.get(FLAGS), client.get("/health/live"), client.get("/nope")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Request-ID"]
    assert admin.post(FLAGS, {}).headers["Cache-Control"] == "no-store"


def test_a_well_formed_request_id_is_kept(client: FlaskClient) -> None:
    kept = client.get("/health/live", headers={"X-Request-ID": "abc-123"})
    assert kept.headers["X-Request-ID"] == "abc-123"
    replaced = client.get("/health/live", headers={"X-Request-ID": "<script>"})
    assert replaced.headers["X-Request-ID"] != "<script>"
