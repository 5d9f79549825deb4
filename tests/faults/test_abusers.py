"""The log names who was refused and which request failed, and tells no secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import urllib3
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import keys
from tidegate_server.store.embedded import EmbeddedValkey

from examples.shop.processes import Processes, free_port
from tests.cli.calls import PROGRAM
from tests.waiting import until

ADMIN = "tg_admin_tests_0123456789abcdefghijklmnop"
SECRET_KEY = "a secret key that no log may have"
PROJECT = "/api/v1/projects/default"
VISITOR, OTHER = "203.0.113.7", "198.51.100.9"


class LoggedServer:
    """A server with a JSON log, behind a trusted proxy on its own machine."""

    def __init__(self, url: str, data_dir: Path, log: Path) -> None:
        self.url, self.data_dir, self._log = url, data_dir, log

    def call(
        self,
        method: str,
        path: str,
        token: str | None = ADMIN,
        body: Any = None,
        address: str = VISITOR,
        **headers: str,
    ) -> urllib3.BaseHTTPResponse:
        sent = {"X-Forwarded-For": address, **headers}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is None:
            return urllib3.request(method, self.url + path, headers=sent, retries=False)
        return urllib3.request(method, self.url + path, headers=sent, json=body, retries=False)

    def new_token(self, **fields: Any) -> tuple[str, str]:
        """Return the id and the secret of a new token."""
        scope = {"name": "web", "project": "default", "environment": "production"}
        made = self.call("POST", "/api/v1/tokens", body={**scope, **fields})
        assert made.status == 201, made.data
        return made.json()["id"], made.json()["secret"]

    def log(self) -> str:
        return self._log.read_text()

    def events(self, request_id: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("request_id") == request_id]

    def failure(self, request_id: str) -> dict[str, Any]:
        """Return the log line of an exception."""

        def lines() -> list[dict[str, Any]]:
            return [each for each in self.events(request_id) if each["event"] == "request_failed"]

        until(lambda: len(lines()) == 1, "its log line")
        return lines()[0]

    def logged(self, response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
        """Return the log line of a response."""
        id = response.headers["X-Request-ID"]

        def lines() -> list[dict[str, Any]]:
            return [each for each in self.events(id) if each["event"] == "request"]

        until(lambda: len(lines()) == 1, "its log line")
        return lines()[0]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggedServer]:
    folder = tmp_path_factory.mktemp("log")
    url = f"http://127.0.0.1:{(port := free_port())}"
    processes = Processes(folder)
    try:
        processes.start(
            "server",
            [PROGRAM, "serve", "--port", str(port), "--workers", "1", "--log-format", "json"],
            {
                "TIDEGATE_DATA_DIR": str(folder / "data"),
                "TIDEGATE_BOOTSTRAP_TOKEN": ADMIN,
                "TIDEGATE_SECRET_KEY": SECRET_KEY,
            },
        )
        server = LoggedServer(url, folder / "data", processes.log("server"))
        until(lambda: is_ready(url), "the server is ready")
        yield server
    finally:
        processes.stop()


def is_ready(url: str) -> bool:
    try:
        return urllib3.request("GET", f"{url}/health/ready", retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def unknown_token(server: LoggedServer) -> tuple[urllib3.BaseHTTPResponse, str | None]:
    token = "tg_reader_0123456789ab_" + "c" * 48
    return server.call("GET", "/api/v1/projects", token), "0123456789ab"


def no_token(server: LoggedServer) -> tuple[urllib3.BaseHTTPResponse, str | None]:
    return server.call("GET", "/api/v1/projects", None), None


def forbidden(server: LoggedServer) -> tuple[urllib3.BaseHTTPResponse, str | None]:
    id, secret = server.new_token(role="reader")
    return server.call("POST", "/api/v1/projects", secret, {"key": "x"}), id


def forbidden_sdk(server: LoggedServer) -> tuple[urllib3.BaseHTTPResponse, str | None]:
    id, secret = server.new_token(role="client")
    return server.call("GET", "/sdk/v1/snapshot", secret), id


def limited(server: LoggedServer) -> tuple[urllib3.BaseHTTPResponse, str | None]:
    id, secret = server.new_token(role="client", rate_limit=1)
    for _ in range(2):
        response = server.call("POST", "/ofrep/v1/evaluate/flags", secret, {})
    return response, id


def forged_stream(server: LoggedServer) -> tuple[urllib3.BaseHTTPResponse, str | None]:
    path = "/ofrep/v1/stream?credential=0123456789ab.1.9999999999." + "0" * 40
    return server.call("GET", path, None), "0123456789ab"


def wrong_hook_secret(server: LoggedServer) -> tuple[urllib3.BaseHTTPResponse, str | None]:
    server.call("POST", f"{PROJECT}/flags", body={"key": "checkout", "type": "boolean"})
    new: dict[str, Any] = {
        "name": "pager",
        "kind": "generic",
        "action": "hold",
        "flags": ["checkout"],
    }
    new["environment"] = "production"
    made = server.call("POST", f"{PROJECT}/hooks", body=new)
    assert made.status == 201, made.data
    return server.call("POST", made.json()["path"], "wrong", {}), None


@pytest.mark.parametrize(
    ("refuse", "status"),
    [
        (unknown_token, 401),
        (no_token, 401),
        (forbidden, 403),
        (forbidden_sdk, 403),
        (limited, 429),
        (forged_stream, 401),
        (wrong_hook_secret, 401),
    ],
)
def test_a_refused_request_is_logged_with_its_address_its_token_and_its_id(
    logged: LoggedServer,
    refuse: Callable[[LoggedServer], tuple[urllib3.BaseHTTPResponse, str | None]],
    status: int,
) -> None:
    response, token_id = refuse(logged)
    assert response.status == status
    line = logged.logged(response)
    assert (line["status"], line["address"], line["token_id"]) == (status, VISITOR, token_id)
    if response.headers["Content-Type"] == "application/problem+json":
        assert response.json()["request_id"] == line["request_id"]


def test_a_failure_is_logged_under_the_id_that_its_response_has(logged: LoggedServer) -> None:
    key = keys.documents("default", Kind.FLAG)
    with redis.Redis(unix_socket_path=str(EmbeddedValkey(logged.data_dir).socket)) as store:
        store.hset(key, "broken", "this is no document")
        try:
            response = logged.call("GET", f"{PROJECT}/flags/broken")
        finally:
            store.hdel(key, "broken")
    assert response.status == 500
    failure = logged.failure(response.json()["request_id"])
    assert "Traceback" in failure["exception"]


def test_a_failed_evaluation_is_logged_under_the_id_in_its_header(logged: LoggedServer) -> None:
    assert logged.call("POST", f"{PROJECT}/environments", body={"key": "staging"}).status == 201
    _, secret = logged.new_token(role="sdk", environment="staging")
    with redis.Redis(unix_socket_path=str(EmbeddedValkey(logged.data_dir).socket)) as store:
        store.hset(keys.snapshot("default", "staging"), "nonsense", "this is no document")
        response = logged.call("POST", "/ofrep/v1/evaluate/flags", secret, {})
    assert response.status == 500
    assert "Traceback" in logged.failure(response.headers["X-Request-ID"])["exception"]


def test_a_client_cannot_name_itself_another_address_through_the_proxy(
    logged: LoggedServer,
) -> None:
    forged = f"{OTHER}, {VISITOR}"
    response = logged.call("GET", "/api/v1/projects", None, address=forged)
    assert logged.logged(response)["address"] == VISITOR


def test_a_path_cannot_forge_a_log_line(logged: LoggedServer) -> None:
    response = logged.call("GET", "/a%0A%1B%5B2K%E2%80%AEb", None)
    assert response.status == 404
    assert logged.logged(response)["path"] == "/a\\n\\x1b[2K\\u202eb"


def test_the_log_has_no_secret(logged: LoggedServer) -> None:
    _, secret = logged.new_token(role="client", rate_limit=1)
    page = logged.call("POST", "/ofrep/v1/evaluate/flags", secret, {"context": {"x": "s3cr3t"}})
    credential = page.json()["eventStreams"][0]["url"].partition("credential=")[2]
    logged.call("GET", f"/ofrep/v1/stream?credential={credential}", None)
    logged.call("GET", f"/api/v1/projects?token={secret}", None)
    logged.call("GET", "/api/v1/projects", secret + "x")
    logged.call("GET", "/api/v1/projects", None, **{"X-API-Key": secret})
    logged.call("POST", "/api/v1/projects", body={"key": "x", "name": "s3cr3t", "nonsense": 1})
    last = logged.call("POST", "/ofrep/v1/evaluate/flags", secret, {"context": "s3cr3t"})
    logged.logged(last)
    said = logged.log()
    for word in (secret, secret.rpartition("_")[2], credential.rpartition(".")[2], ADMIN, "s3cr3t"):
        assert word not in said
    assert SECRET_KEY not in said


@pytest.mark.parametrize("conditional", [False, True])
def test_one_visitor_of_a_page_cannot_lock_out_the_others(
    logged: LoggedServer, conditional: bool
) -> None:
    _, page = logged.new_token(role="client", rate_limit=200)

    def visit(address: str, user: str, etag: str = "") -> urllib3.BaseHTTPResponse:
        headers = {"If-None-Match": etag} if etag else {}
        body = {"context": {"targetingKey": user}}
        return logged.call("POST", "/ofrep/v1/evaluate/flags", page, body, address, **headers)

    etag = visit(VISITOR, "mallory").headers["ETag"] if conditional else ""
    flood = [visit(VISITOR, "mallory", etag).status for _ in range(300)]
    assert flood.count(429) > 50
    # Neither visitors elsewhere nor others behind the same address are refused.
    others = [visit(f"198.51.100.{number}", f"user-{number}") for number in range(20)]
    neighbours = [visit(VISITOR, f"neighbour-{number}") for number in range(5)]
    assert {each.status for each in (*others, *neighbours)} == {200}
    assert visit(VISITOR, "mallory", etag).status == 429
    # A header that the visitor sends does not make it somebody else.
    assert visit(f"192.0.2.1, {VISITOR}", "mallory", etag).status == 429
