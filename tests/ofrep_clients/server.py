"""A real server, with a new project for each test."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import urllib3

from examples.shop.admin import Admin
from examples.shop.processes import Processes, free_port
from tests.http_calls import SET_BY_SERVER
from tests.waiting import until

PROGRAM = str(Path(sys.executable).with_name("tidegate"))
TOKEN = "tg_admin_tests_0123456789abcdefghijklmnop"

FLAGS: tuple[dict[str, Any], ...] = (
    {"key": "checkout", "type": "boolean"},
    {
        "key": "banner",
        "type": "string",
        "variants": [{"key": "red", "value": "#f00"}, {"key": "blue", "value": "#00f"}],
    },
    {
        "key": "page-size",
        "type": "number",
        "variants": [{"key": "few", "value": 20}, {"key": "many", "value": 50}],
    },
    {
        "key": "discount",
        "type": "number",
        "variants": [{"key": "some", "value": 2.5}, {"key": "whole", "value": 3.0}],
    },
    {
        "key": "limits",
        "type": "object",
        "variants": [
            {"key": "low", "value": {"rate": 1, "burst": [1, 2]}},
            {"key": "no", "value": {}},
        ],
    },
    {
        "key": "unset",
        "type": "string",
        "variants": [{"key": "code", "value": None}, {"key": "set", "value": "x"}],
    },
)


class Server:
    """`tidegate serve`, with two web processes.

    Args:
        folder: for data and logs; a short path, because it holds a unix socket.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._processes = Processes(folder)
        self._http = urllib3.PoolManager(
            headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60.0, retries=False
        )
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._processes.start(
            "server",
            [PROGRAM, "serve", "--port", str(self._port), "--workers", "2"],
            {
                "TIDEGATE_DATA_DIR": str(self._folder / "data"),
                "TIDEGATE_BOOTSTRAP_TOKEN": TOKEN,
            },
        )
        self._processes.wait_for("the server is ready", Admin(self.url, TOKEN).ready)

    def stop(self) -> None:
        self._processes.stop()

    def call(self, method: str, path: str, body: Any = None, match: str = "*") -> Any:
        """Call the administration API, check that it succeeds, and return the body."""
        headers = {**self._http.headers, "If-Match": match} if method in ("PUT", "DELETE") else None
        answer = self._http.request(method, self.url + path, json=body, headers=headers)
        assert answer.status < 300, answer.data
        return answer.json() if answer.data else None

    def shop(self, **flag: Any) -> Shop:
        """Return a new project with a flag of every type; ``flag`` changes their fields."""
        shop = Shop(self, f"p-{uuid4().hex[:10]}")
        self.call("POST", "/api/v1/projects", {"key": shop.project})
        environment = {"key": "production"}
        self.call("POST", f"/api/v1/projects/{shop.project}/environments", environment)
        for each in FLAGS:
            shop.add({"client_side": True, **each, **flag})
        return shop


@dataclass(frozen=True, slots=True)
class Shop:
    """A project on a server, and actions in it."""

    server: Server
    project: str

    @property
    def production(self) -> str:
        return f"/api/v1/projects/{self.project}/environments/production"

    def add(self, flag: dict[str, Any]) -> None:
        """Create a flag; it serves its first variant, or false if it is boolean."""
        self.server.call("POST", f"/api/v1/projects/{self.project}/flags", flag)

    def serve(self, flag: str, variant: str | None = None, **change: Any) -> None:
        """Change what a flag serves."""
        at = f"{self.production}/flags/{flag}"
        read = self.server.call("GET", at)
        after = {name: value for name, value in read.items() if name not in SET_BY_SERVER}
        if variant is not None:
            change["default"] = {"variant": variant}
        self.server.call("PUT", at, {**after, **change})

    def token(self, role: str, rate_limit: int | None = None) -> str:
        """Create a token for production, and return it."""
        body = {
            "name": role,
            "role": role,
            "project": self.project,
            "environment": "production",
            "rate_limit": rate_limit,
        }
        return str(self.server.call("POST", "/api/v1/tokens", body)["secret"])

    def allow(self, *origins: str) -> None:
        """Allow origins, and wait until every web process knows them."""
        self.server.call("PUT", self.production, {"allowed_origins": origins})

        def allowed(origin: str) -> bool:
            with urllib3.PoolManager() as connection:  # a new connection: any process may take it
                answer = connection.request(
                    "OPTIONS",
                    f"{self.server.url}/ofrep/v1/evaluate/flags",
                    headers={"Origin": origin, "Access-Control-Request-Method": "POST"},
                )
            return answer.headers.get("Access-Control-Allow-Origin") == origin

        until(lambda: all(allowed(origin) for origin in origins for _ in range(20)), "the origins")

    def release(self, flag: str = "checkout", **policy: Any) -> str:
        """Start a release to half of the users, or as ``policy`` says; return its id."""
        stages = [
            {"percentage": 50, "min_duration": "0s", "min_samples": 10},
            {"percentage": 100, "min_duration": "0s", "min_samples": 10},
        ]
        document = {"key": "careful", "interval": "1s", "stages": stages, "bake": "10m", **policy}
        self.server.call("POST", f"/api/v1/projects/{self.project}/policies", document)
        body = {"flag": flag, "treatment": "on", "policy": "careful"}
        return str(self.server.call("POST", f"{self.production}/releases", body)["id"])

    def settle(self) -> None:
        """Wait until every web process that evaluates flags has the newest version."""
        sdk = {"Authorization": f"Bearer {self.token('sdk')}"}
        answer = urllib3.request("GET", f"{self.server.url}/sdk/v1/snapshot", headers=sdk)
        version = answer.json()["version"]

        def settled() -> bool:
            items = self.server.call("GET", f"{self.production}/instances")["items"]
            return all(item["version"] >= version for item in items if item["live"])

        until(settled, "the web processes")

    def state(self, release: str) -> dict[str, Any]:
        """Return a release."""
        document: dict[str, Any] = self.server.call("GET", f"{self.production}/releases/{release}")
        return document
