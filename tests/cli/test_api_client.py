"""The HTTP client of the commands: refusals, revisions, pages, and broken answers."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from tidegate_server.cli import api_client as module
from tidegate_server.cli.api_client import ApiClient, Json, api_path
from tidegate_server.cli.target import Target
from tidegate_server.errors import ServerRefused, ServerUnreachable

from examples.shop.processes import free_port
from tests.cli.calls import Tidegate
from tests.cli.conftest import RunningServer


@pytest.fixture
def client(server: RunningServer, tidegate: Tidegate) -> Iterator[ApiClient]:
    """A client in the test's project."""
    target = Target(server.url, server.token, tidegate.variables["TIDEGATE_PROJECT"])
    with closing(ApiClient(target)) as client_:
        yield client_


@contextmanager
def answering(*answers: bytes) -> Iterator[ApiClient]:
    """A client of a server that sends one of these answers to each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            for each in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(each)

        thread = threading.Thread(target=answer)
        thread.start()
        with closing(ApiClient(Target(f"http://127.0.0.1:{port}", "a-token"))) as client_:
            yield client_
        thread.join()


def http(status: str, body: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def test_an_edit_is_refused_if_the_document_has_changed_since_it_was_read(
    client: ApiClient,
) -> None:
    client.post(client.project_path("flags"), {"key": "checkout", "type": "boolean"})
    path = client.environment_path("flags", "checkout")

    def enabled(document: Json, value: bool) -> Json:
        kept = ("off_variant", "kill_variant", "default", "rules", "prerequisites")
        return {**{name: document[name] for name in kept}, "enabled": value}

    before, after = client.edit(path, lambda document: enabled(document, False))
    assert (before["revision"], after["revision"], after["enabled"]) == (1, 2, False)

    def edit_after_a_concurrent_edit(document: Json) -> Json:
        client.edit(path, lambda theirs: enabled(theirs, True))
        return {**enabled(document, False), "kill_variant": "on"}

    with pytest.raises(ServerRefused) as refused:
        client.edit(path, edit_after_a_concurrent_edit)
    assert refused.value.status == 412
    assert "Someone changed flag checkout in production since you read it" in str(refused.value)
    assert "Nothing changed; run the command again." in str(refused.value)
    assert client.get(path).body["kill_variant"] is None


def test_a_refusal_has_the_fields_of_the_problem_document(client: ApiClient) -> None:
    with pytest.raises(ServerRefused) as refused:
        client.post(client.project_path("flags"), {"key": "A", "type": "tribool", "colour": 1})
    assert refused.value.status == 422
    assert {field.pointer for field in refused.value.fields} == {"/key", "/type", "/colour"}


def test_a_list_is_read_page_by_page(client: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAGE_SIZE", 2)
    for number in range(5):
        client.post(client.project_path("flags"), {"key": f"flag-{number}", "type": "boolean"})
    path = client.project_path("flags")
    all_flags = client.list(path)
    assert [each["key"] for each in all_flags.items] == [f"flag-{number}" for number in range(5)]
    assert not all_flags.has_more
    three = client.list(path, 3)
    assert (len(three.items), three.has_more) == (3, True)
    assert not client.list(path, 5).has_more


def test_a_missing_document_is_none(client: ApiClient) -> None:
    assert client.get_if_exists(client.project_path("flags", "none")) is None
    with pytest.raises(ServerRefused, match="is unknown or was deleted"):
        ApiClient(Target(client.target.url, "an-unknown-token-of-some-length")).get_if_exists(
            api_path("projects")
        )


def test_each_part_of_a_path_is_quoted() -> None:
    assert api_path("projects", "a/../b?c#d%") == "/api/v1/projects/a%2F..%2Fb%3Fc%23d%25"


def test_an_address_without_a_server_is_unreachable() -> None:
    client = ApiClient(Target(f"http://127.0.0.1:{free_port()}", "a-token"))
    with pytest.raises(ServerUnreachable, match=r"Connection refused. Is `tidegate serve`"):
        client.get(api_path("projects"))
    client = ApiClient(Target("http://nowhere.invalid", "a-token"))
    with pytest.raises(ServerUnreachable, match=r"no host of the name in http://nowhere"):
        client.get(api_path("projects"))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "was lost: Remote end closed connection without response"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (http("200 OK", "<html>"), "not like Tidegate"),
        (http("200 OK", "[1]"), "not like Tidegate"),
        (http("502 Bad Gateway", "<html>"), "a proxy is in front of it"),
        (http("503 Service Unavailable", '{"detail": "The store."}'), "Try again in a moment"),
        (http("301 Moved", "", "Location: https://x/"), "redirects to https://x/"),
    ],
)
def test_another_service_at_the_address_is_unreachable(answer: bytes, text: str) -> None:
    with answering(answer) as client, pytest.raises(ServerUnreachable, match=text):
        client.get(api_path("projects"))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (http("404 Not Found", "<html>"), "Check the address"),
        (
            http("403 Forbidden", '{"detail": "No."}'),
            r"No\. \(The token is from TIDEGATE_TOKEN\.\)",
        ),
        (http("500 Oops", '{"detail": "A fault.", "request_id": "r1"}'), r"\(request_id r1\)"),
    ],
)
def test_an_error_status_is_a_refusal(answer: bytes, text: str) -> None:
    with answering(answer) as client, pytest.raises(ServerRefused, match=text):
        client.get(api_path("projects"))


def test_a_write_with_a_lost_response_may_have_been_made() -> None:
    with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{") as client,
        pytest.raises(ServerUnreachable) as cut_off,
    ):
        client.post(api_path("projects"), {})
    assert "The change may have been made" in str(cut_off.value)


def test_a_request_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServerUnreachable, match="did not answer within 0 s"):
            ApiClient(Target(url, "a-token")).get(api_path("projects"))


def test_https_to_a_plain_http_port_suggests_http(server: RunningServer) -> None:
    client = ApiClient(Target(server.url.replace("http:", "https:"), "a-token"))
    with pytest.raises(
        ServerUnreachable, match="The server does not speak TLS on this port: try http://"
    ):
        client.get(api_path("projects"))


def test_an_untrusted_certificate_is_reported(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(certificate), "-out", str(tmp_path / "public.pem")),
        ],
        check=True,
        capture_output=True,
    )
    with certificate.open("a") as file:
        file.write((tmp_path / "public.pem").read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def handshake() -> None:
            connection, _ = listener.accept()
            with suppress(OSError), connection:
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=handshake)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServerUnreachable, match="is not trusted: self-signed certificate"):
            ApiClient(Target(url, "a-token")).get(api_path("projects"))
        thread.join()
