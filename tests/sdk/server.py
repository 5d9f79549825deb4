"""A real flag server on a real store, with an environment for each test."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, Response, request
from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.application import create_app
from tidegate_server.domain.evidence import Evidence
from tidegate_server.store import Store
from tidegate_server.web.backend import Backend
from tidegate_server.web.settings import ApiSettings
from werkzeug.serving import make_server

from tests.http_calls import Caller

SECRET_KEY = b"a secret key for tests only"
ADMIN_TOKEN = "an-admin-token-for-tests"
ENVIRONMENT = "production"

POLICY = {
    "key": "careful",
    "interval": "1s",
    "stages": [
        {"percentage": 50, "min_duration": "0s", "min_samples": 10},
        {"percentage": 100, "min_duration": "0s", "min_samples": 10},
    ],
    "bake": "10s",
}
SLOW = {**POLICY, "key": "slow", "interval": "20s", "bake": "60s"}


class FlagServer:
    """The API of one process, reachable over HTTP on loopback."""

    def __init__(self, store: Store) -> None:
        self.store = store
        bootstrap(store, SECRET_KEY, ADMIN_TOKEN)
        settings = ApiSettings(SECRET_KEY, keep_alive_seconds=0.2, token_poll_seconds=0)
        self.app: Flask = create_app(store, settings)
        self._application = self.app.wsgi_app
        self.app.wsgi_app = self._keep_report  # type: ignore[method-assign]
        self.app.before_request(self._refuse_key_set)
        self.app.after_request(self._keep_key_set)
        self.reports: dict[str, list[Any]] = {}
        self.refuse_key_sets = False
        self.refuse_gzip = False
        self.compressed: dict[str, list[bool]] = {}
        """Of each report of a token, whether it was."""
        self.key_sets: list[tuple[str, int | None]] = []
        """The kind and the size of each key set, or of its changes, that was sent."""
        self._server = make_server("127.0.0.1", 0, self.app, threaded=True)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._projects = itertools.count(1)

    def _keep_report(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/sdk/v1/reports":
            token = environ["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = io.BytesIO(body)
            compressed = environ.get("HTTP_CONTENT_ENCODING") == "gzip"
            if compressed and self.refuse_gzip:
                start_response("415 Unsupported Media Type", [("Content-Length", "0")])
                return []
            text = gzip.decompress(body) if compressed else body
            self.reports.setdefault(token, []).append(json.loads(text))
            self.compressed.setdefault(token, []).append(compressed)
        return self._application(environ, start_response)

    def _refuse_key_set(self) -> Response | None:
        refused = self.refuse_key_sets and request.path.startswith("/sdk/v1/key-sets/")
        return Response(status=503) if refused else None

    def _keep_key_set(self, response: Response) -> Response:
        if request.path.startswith("/sdk/v1/key-sets/") and response.status_code == 200:
            self.key_sets.append(
                (str(response.mimetype).rpartition(".")[2], response.content_length)
            )
        return response

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        cast(Backend, self.app.extensions["tidegate"]).close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def environment(self) -> Environment:
        """Create an environment that no other test uses."""
        admin = Caller(self.app.test_client(), ADMIN_TOKEN)
        project = f"shop-{next(self._projects)}"
        admin.post_ok("/api/v1/projects", {"key": project})
        admin.post_ok(f"/api/v1/projects/{project}/environments", {"key": ENVIRONMENT})
        token = admin.token_for("sdk", project, ENVIRONMENT).token
        assert token is not None
        return Environment(self, admin, project, token)


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment of a project: changes by people, and the address and token for an SDK."""

    server: FlagServer
    admin: Caller
    project: str
    token: str

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def _project(self) -> str:
        return f"/api/v1/projects/{self.project}"

    @property
    def at(self) -> str:
        return f"{self._project}/environments/{ENVIRONMENT}"

    @property
    def version(self) -> int:
        return self.server.store.version(self.project, ENVIRONMENT)

    def snapshot(self) -> dict[str, Any]:
        """Return the snapshot that an SDK would get now."""
        body = self.server.store.snapshot(self.project, ENVIRONMENT).body
        return cast(dict[str, Any], json.loads(body))

    def flag(self, key: str, type: str = "boolean", **more: Any) -> None:
        """Create an enabled flag that serves its off variant to everyone."""
        self.admin.post_ok(f"{self._project}/flags", {"key": key, "type": type, **more})

    def segment(self, key: str, **more: Any) -> None:
        self.admin.post_ok(f"{self._project}/segments", {"key": key, **more})

    def upload(
        self, segment: str, *keys: str, mode: str = "replace", list: str = "included"
    ) -> None:
        """Upload keys to a list of a segment."""
        answer = self.admin.call(
            "POST",
            f"{self._project}/segments/{segment}/keys",
            query_string={"mode": mode, "list": list},
            data="\n".join(keys),
            content_type="text/plain",
        )
        assert answer.status_code == 200, answer.text

    def target(self, key: str, **changes: Any) -> None:
        """Change a flag's targeting."""
        at = f"{self.at}/flags/{key}"
        present = self.admin.get(at)
        document = dict(cast(Mapping[str, Any], present.json))
        fields = {
            name: document[name]
            for name in ("enabled", "off_variant", "default", "rules", "prerequisites")
        }
        answer = self.admin.put(at, {**fields, **changes}, match=present.headers["ETag"])
        assert answer.status_code == 200, answer.text

    def delete(self, key: str) -> None:
        answer = self.admin.delete(f"{self._project}/flags/{key}?force=true", match="*")
        assert answer.status_code in (200, 204), answer.text

    def kill(self, key: str) -> None:
        self.admin.post_ok(f"{self.at}/flags/{key}/kill", {"reason": "customers cannot pay"})

    def restore(self, key: str) -> None:
        self.admin.post_ok(f"{self.at}/flags/{key}/restore", {})

    def release(self, key: str, policy: Mapping[str, Any] = POLICY) -> str:
        """Start a release of a flag to ``on``; return its id."""
        exists = self.admin.get(f"{self._project}/policies/{policy['key']}").status_code == 200
        if not exists:
            self.admin.post_ok(f"{self._project}/policies", policy)
        body = {"flag": key, "treatment": "on", "policy": policy["key"]}
        return str(self.admin.post_ok(f"{self.at}/releases", body)["id"])

    def evidence(self, release: str) -> Evidence:
        return self.server.store.evidence.totals(self.project, ENVIRONMENT, release)

    def outcomes(self, release: str) -> int:
        """Return how many ended operations of a release are counted, in both arms."""
        readings = self.evidence(release).readings
        return sum(each.control.outcomes + each.treatment.outcomes for each in readings)

    @property
    def reports(self) -> list[Any]:
        """All reports from this environment, as they were sent."""
        return self.server.reports.get(self.token, [])

    def receipt(self, key: str) -> dict[str, Any]:
        """Return the receipt of a flag's kill."""
        document = cast(Mapping[str, Any], self.admin.get(f"{self.at}/flags/{key}").json)
        return cast(dict[str, Any], document["receipt"])

    def instances(self) -> list[dict[str, Any]]:
        """Return the SDK instances that reported here."""
        found = self.admin.get(f"{self.at}/instances").json or {}
        return cast(list[dict[str, Any]], found["items"])
