"""Calling the API in tests, and reading the store to see what changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import redis
from flask.testing import FlaskClient
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store
from werkzeug.test import TestResponse

PROJECT = "/api/v1/projects/default"
PRODUCTION = f"{PROJECT}/environments/production"

SET_BY_SERVER = (
    *("revision", "updated_at", "flag", "killed", "release", "receipt", "ladder", "warnings"),
)
"""Fields of a targeting that only the server sets."""


IN_ENVIRONMENTS = (Kind.TARGETING, Kind.RELEASE, Kind.PROGRESS)
IN_PROJECTS = (Kind.ENVIRONMENT, Kind.FLAG, Kind.SEGMENT, Kind.POLICY, Kind.WEBHOOK, Kind.HOOK)
IN_SERVER = (
    *(Kind.PROJECT, Kind.TOKEN, Kind.PERSON, Kind.GROUP, Kind.ROLE),
    *(Kind.CREDENTIAL, Kind.EMAIL, Kind.INVITATION),
    *(Kind.IDENTITY_PROVIDER, Kind.IDENTITY),
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A client of the API with a token."""

    client: FlaskClient
    token: str | None

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        match: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> TestResponse:
        sent = dict(headers or {})
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        if match is not None:
            sent["If-Match"] = match
        if body is not None:
            more["json"] = body
        return self.client.open(path, method=method, headers=sent, **more)

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.call("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> TestResponse:
        return self.call("POST", path, body, **more)

    def put(self, path: str, body: Any, **more: Any) -> TestResponse:
        return self.call("PUT", path, body, **more)

    def delete(self, path: str, **more: Any) -> TestResponse:
        return self.call("DELETE", path, **more)

    def post_ok(self, path: str, body: Any) -> Any:
        """POST, check that it succeeds, and return the response's body."""
        response = self.post(path, body)
        assert response.status_code in (200, 201), response.text
        return response.json

    def token_for(self, role: str, project: str | None, environment: str | None) -> Caller:
        """Return a caller with a new token."""
        token = {
            "name": f"a {role}",
            "role": role,
            "project": project,
            "environment": environment,
            "whole_server": project is None,
        }
        return Caller(self.client, self.post_ok("/api/v1/tokens", token)["secret"])


def stored_documents(store: Store) -> dict[str, Any]:
    """Return every document, every environment's version and every audit log's last entry."""
    documents: dict[str, Any] = {}
    for kind in IN_SERVER:
        for key, stored in store.all("", kind).items():
            documents[f"{kind}/{key}"] = stored
    for project in store.projects():
        for kind in IN_PROJECTS:
            for key, stored in store.all(project, kind).items():
                documents[f"{project}/{kind}/{key}"] = stored
        for environment in store.all(project, Kind.ENVIRONMENT):
            documents[f"{project}/{environment}"] = store.version(project, environment)
            for kind in IN_ENVIRONMENTS:
                for key, stored in store.all(project, kind, environment).items():
                    documents[f"{project}/{environment}/{kind}/{key}"] = stored
        documents[f"{project}/audit"] = store.logs.audit(project, None, 1)[0]
    documents["audit"] = store.logs.audit("", None, 1)[0]
    return documents


def raw_contents(raw: redis.Redis) -> str:
    """Return all contents of the store as one text, to search for secrets."""
    read: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": raw.hgetall,
        b"stream": raw.xrange,
        b"string": raw.get,
        b"list": lambda key: raw.lrange(key, 0, -1),
        b"set": raw.smembers,
        b"zset": lambda key: raw.zrange(key, 0, -1),
    }
    names = cast(list[bytes], raw.keys())
    return "".join(repr(read[cast(bytes, raw.type(name))](name)) for name in names)


def pointers(response: TestResponse) -> list[str]:
    """Return the pointers of a problem document."""
    assert response.mimetype == "application/problem+json", response.text
    assert response.json is not None
    return [error["pointer"] for error in response.json["errors"]]


def slug(response: TestResponse) -> str:
    """Return the short name of a problem document's type."""
    assert response.mimetype == "application/problem+json", response.text
    assert response.json is not None
    return str(response.json["type"]).removeprefix("urn:tidegate:problem:")


CHECKOUT = {"key": "checkout", "type": "boolean"}

POLICY = {
    "key": "careful",
    "interval": "1s",
    "stages": [
        {"percentage": 5, "min_duration": "0s", "min_samples": 10},
        {"percentage": 100, "min_duration": "0s", "min_samples": 10},
    ],
    "bake": "10s",
}
