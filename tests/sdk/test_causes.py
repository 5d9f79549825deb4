"""A client without a connection says why: in its status, in one log line, in the details."""

from __future__ import annotations

import logging
import socket

import pytest
from tidegate import Client

from tests.sdk import bad_proxy
from tests.sdk.bad_proxy import Mode, Proxy
from tests.sdk.server import Environment
from tests.waiting import soon

pytestmark = pytest.mark.usefixtures("impatient")

RESPONSES: dict[str, tuple[Mode, str]] = {
    "another server": (
        bad_proxy.respond("404 Not Found", b"<html>", "text/html"),
        "the server answers 404: there is no Tidegate server at this address",
    ),
    "a page for everything": (
        bad_proxy.respond("200 OK", b"<html>", "text/html"),
        "the response is not an event stream: there is no Tidegate server at this address",
    ),
    "a rate limit": (
        bad_proxy.respond("429 Too Many Requests", {}),
        "the server answers 429: a rate limit refuses requests",
    ),
    "a rate limit with a reason": (
        bad_proxy.respond("429 Too Many Requests", {"detail": "This token is unknown."}),
        "the server answers 429: a rate limit refuses requests: This token is unknown.",
    ),
    "a redirect": (
        bad_proxy.redirect("https://ann:secret@flags.example/sdk?ticket=secret"),
        "the server answers 307: it redirects to https://flags.example:443",
    ),
    "no store": (
        bad_proxy.respond("503 Service Unavailable", {"detail": "The store\nis\x1b down."}),
        "the server answers 503: The store is  down.",
    ),
    "a server that never answers": (bad_proxy.black_hole, "does not answer in time"),
    "a server that hangs up": (bad_proxy.refuse, "was lost"),
}


@pytest.fixture
def proxy(proxy: Proxy, environment: Environment) -> Proxy:
    environment.flag("checkout")
    return proxy


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the client has logged."""
    return [record.getMessage() for record in caplog.records if record.name == "tidegate"]


def assert_says_why(url: str, token: str, cause: str, caplog: pytest.LogCaptureFixture) -> Client:
    """Check everything that a client without flags says; return the client."""
    caplog.set_level(logging.INFO, "tidegate")
    client = Client(url, token)
    soon(lambda: client.status().problem is not None, "the first attempt fails")
    status = client.status()
    assert (status.state, status.age) == ("starting", None)
    assert cause in (status.problem or "")
    assert status.problem_age is not None
    details = client.boolean_details("checkout", True, "ann")
    assert (details.value, details.error_code) == (True, "PROVIDER_NOT_READY")
    assert cause in (details.error_message or "")
    soon(lambda: len(lines(caplog)) == 1, "the failure is logged")
    assert cause in lines(caplog)[0]
    assert "evaluations return defaults" in lines(caplog)[0]
    return client


@pytest.mark.parametrize("who", RESPONSES)
def test_a_response_that_is_none_of_tidegates_is_named(
    proxy: Proxy, environment: Environment, caplog: pytest.LogCaptureFixture, who: str
) -> None:
    mode, cause = RESPONSES[who]
    proxy.switch_to(mode)
    client = assert_says_why(proxy.url, environment.token, cause, caplog)
    try:
        before = proxy.connections
        soon(lambda: proxy.connections > before + 2, "the client keeps trying")
        assert len(lines(caplog)) == 1
        assert "secret" not in caplog.text
        proxy.switch_to(bad_proxy.pass_through)
        assert client.wait_until_ready(60)
        assert (client.status().problem, client.status().problem_age) == (None, None)
        assert client.boolean_details("checkout", True, "ann").error_code is None
    finally:
        client.close()


def test_a_refused_token_is_named(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    cause = "the token is refused (401): This token is unknown or was deleted"
    assert_says_why(environment.url, "a-secret-token", cause, caplog).close()
    assert "a-secret-token" not in caplog.text


def test_a_token_of_another_role_is_named(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    reader = environment.admin.token_for("reader", environment.project, "production").token
    assert reader is not None
    assert_says_why(
        environment.url,
        reader,
        "the token is refused (403): Snapshots, streams and reports need an sdk",
        caplog,
    ).close()


def test_a_server_that_is_down_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cause = f"nothing listens at 127.0.0.1:{port}"
    assert_says_why(f"http://127.0.0.1:{port}", "token", cause, caplog).close()


def test_an_unknown_name_is_named(caplog: pytest.LogCaptureFixture) -> None:
    cause = "the name flags.invalid is not found"
    assert_says_why("http://flags.invalid", "token", cause, caplog).close()


def test_a_refused_certificate_is_named(
    proxy: Proxy, certificate: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    proxy.switch_to(bad_proxy.untrusted_tls(*certificate))
    cause = f"the certificate of 127.0.0.1:{proxy.port} is refused: self-signed certificate"
    assert_says_why(proxy.url.replace("http:", "https:"), "token", cause, caplog).close()


def test_tls_where_there_is_none_is_named(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    cause = "does not use TLS: the address may have to begin with http://"
    url = environment.url.replace("http:", "https:")
    assert_says_why(url, environment.token, cause, caplog).close()


def test_a_server_that_does_not_speak_http_is_named(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    def alert(proxy: Proxy, client: socket.socket) -> None:
        """Answer as servers with TLS do that receive no TLS."""
        bad_proxy.read_head(client)
        client.sendall(b"\x15\x03\x01\x00\x02\x02\x46\r\n")

    proxy.switch_to(alert)
    cause = "does not speak HTTP: the address may have to begin with https://"
    assert_says_why(proxy.url, "token", cause, caplog).close()


def test_the_status_names_the_last_cause_and_the_time_since_the_first(
    proxy: Proxy, environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has one line, since the state did not change: the client has no connection."""
    proxy.switch_to(bad_proxy.respond("503 Service Unavailable", {}))
    client = assert_says_why(proxy.url, environment.token, "answers 503", caplog)
    try:
        first = client.status()
        proxy.switch_to(bad_proxy.respond("404 Not Found", {}))
        soon(lambda: "404" in (client.status().problem or ""), "the cause changes")
        assert (client.status().problem_age or 0) > (first.problem_age or 0)
        assert len(lines(caplog)) == 1
    finally:
        client.close()


def test_a_client_with_flags_names_the_cause_of_a_lost_connection(
    proxy: Proxy, environment: Environment
) -> None:
    client = Client(proxy.url, environment.token)
    try:
        assert client.wait_until_ready(60)
        proxy.switch_to(bad_proxy.respond("503 Service Unavailable", {}))
        soon(lambda: client.status().state == "stale", "the connection is lost")
        soon(lambda: "503" in (client.status().problem or ""), "the cause is named")
        assert client.boolean("checkout", True, "ann") is False
    finally:
        client.close()
