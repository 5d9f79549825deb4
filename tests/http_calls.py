"""Calling the API in tests, and telling whether anything changed in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import redis
from flask.testing import FlaskClient
from tidegate_server.domain.change import Kind
from tidegate_server.store import Store
from werkzeug.test import TestResponse

PROJECT = "/api/v1/projects/default"
PRODUCTION = f"{PROJECT}/environments/production"

IN_ENVIRONMENTS = (Kind.TARGETING, Kind.RELEASE, Kind.PROGRESS)
IN_PROJECTS = (Kind.ENVIRONMENT, Kind.FLAG, Kind.SEGMENT, Kind.POLICY, Kind.WEBHOOK, Kind.HOOK)
IN_SERVER = (Kind.PROJECT, Kind.TOKEN)


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone with a token."""

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

    def made(self, path: str, body: Any) -> Any:
        """POST what must succeed, and return the answer's body."""
        response = self.post(path, body)
        assert response.status_code in (200, 201), response.text
        return response.json

    def token_for(self, role: str, project: str | None, environment: str | None) -> Caller:
        """Another caller, with a new token."""
        asked = {"name": f"a {role}", "role": role, "project": project, "environment": environment}
        return Caller(self.client, self.made("/api/v1/tokens", asked)["secret"])


def everything(store: Store) -> dict[str, Any]:
    """Every document's revision and every environment's version: what a change would change."""
    found: dict[str, Any] = {}
    for kind in IN_SERVER:
        for key, stored in store.all("", kind).items():
            found[f"{kind}/{key}"] = stored
    for project in store.scopes():
        for kind in IN_PROJECTS:
            for key, stored in store.all(project, kind).items():
                found[f"{project}/{kind}/{key}"] = stored
        for environment in store.all(project, Kind.ENVIRONMENT):
            found[f"{project}/{environment}"] = store.version(project, environment)
            for kind in IN_ENVIRONMENTS:
                for key, stored in store.all(project, kind, environment).items():
                    found[f"{project}/{environment}/{kind}/{key}"] = stored
        found[f"{project}/audit"] = store.audit(project, None, 1)[0]
    found["audit"] = store.audit("", None, 1)[0]
    return found


def everything_stored(raw: redis.Redis) -> str:
    """Whatever the store holds, as one text to look for secrets in."""
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
    """The pointers of a problem document."""
    assert response.mimetype == "application/problem+json", response.text
    assert response.json is not None
    return [error["pointer"] for error in response.json["errors"]]


def slug(response: TestResponse) -> str:
    """The short name of a problem document's type."""
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
