"""A server as commands see it: refusals, revisions, pages, and whatever else may answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from tidegate_server.cli import api_client as module
from tidegate_server.cli.api_client import Json, Server, path
from tidegate_server.cli.target import Target
from tidegate_server.errors import ServerRefused, ServerUnreachable

from examples.shop.processes import free_port
from tests.cli.calls import Tidegate
from tests.cli.conftest import Served


@pytest.fixture
def server(served: Served, tidegate: Tidegate) -> Iterator[Server]:
    """The server, in the test's own project."""
    target = Target(served.url, served.token, tidegate.variables["TIDEGATE_PROJECT"])
    with closing(Server(target)) as opened:
        yield opened


@contextmanager
def answering(*answers: bytes) -> Iterator[Server]:
    """Something at an address that gives each connection one of these answers, whole or not."""
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
        with closing(Server(Target(f"http://127.0.0.1:{port}", "a-token"))) as opened:
            yield opened
        thread.join()


def http(status: str, body: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def test_an_edit_brings_back_the_revision_it_has_read(server: Server) -> None:
    server.post(server.project_path("flags"), {"key": "checkout", "type": "boolean"})
    at = server.environment_path("flags", "checkout")

    def enabled(document: Json, value: bool) -> Json:
        kept = ("off_variant", "kill_variant", "default", "rules", "prerequisites")
        return {**{name: document[name] for name in kept}, "enabled": value}

    before, after = server.edit(at, lambda document: enabled(document, False))
    assert (before["revision"], after["revision"], after["enabled"]) == (1, 2, False)

    def while_someone_else_does_too(document: Json) -> Json:
        server.edit(at, lambda theirs: enabled(theirs, True))
        return {**enabled(document, False), "kill_variant": "on"}

    with pytest.raises(ServerRefused) as refused:
        server.edit(at, while_someone_else_does_too)
    assert refused.value.status == 412
    assert "Someone changed flag checkout in production since you read it" in str(refused.value)
    assert "Nothing was changed; run the command again." in str(refused.value)
    assert server.read(at).body["kill_variant"] is None


def test_a_refusal_has_the_fields_of_the_problem_document(server: Server) -> None:
    with pytest.raises(ServerRefused) as refused:
        server.post(server.project_path("flags"), {"key": "A", "type": "tribool", "colour": 1})
    assert refused.value.status == 422
    assert {field.pointer for field in refused.value.fields} == {"/key", "/type", "/colour"}


def test_a_list_is_read_page_by_page(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_PAGE", 2)
    for number in range(5):
        server.post(server.project_path("flags"), {"key": f"flag-{number}", "type": "boolean"})
    at = server.project_path("flags")
    every = server.list(at)
    assert [each["key"] for each in every.items] == [f"flag-{number}" for number in range(5)]
    assert not every.more
    some = server.list(at, 3)
    assert (len(some.items), some.more) == (3, True)
    assert not server.list(at, 5).more


def test_what_is_not_there_is_found_to_be_none(server: Server) -> None:
    assert server.find(server.project_path("flags", "none")) is None
    with pytest.raises(ServerRefused, match="is unknown or was deleted"):
        Server(Target(server.target.url, "an-unknown-token-of-some-length")).find(path("projects"))


def test_names_cannot_leave_their_place_in_a_path() -> None:
    assert path("projects", "a/../b?c#d%") == "/api/v1/projects/a%2F..%2Fb%3Fc%23d%25"


def test_nobody_at_the_address() -> None:
    server = Server(Target(f"http://127.0.0.1:{free_port()}", "a-token"))
    with pytest.raises(ServerUnreachable, match=r"Connection refused. Is `tidegate serve`"):
        server.read(path("projects"))
    server = Server(Target("http://nowhere.invalid", "a-token"))
    with pytest.raises(ServerUnreachable, match=r"no machine of the name in http://nowhere"):
        server.read(path("projects"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "broke"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "broke"),
        (http("200 OK", "<html>"), "not as Tidegate does"),
        (http("200 OK", "[1]"), "not as Tidegate does"),
        (http("502 Bad Gateway", "<html>"), "behind a proxy"),
        (http("503 Service Unavailable", '{"detail": "The store."}'), "Try again in a moment"),
        (http("301 Moved", "", "Location: https://x/"), "sends us to https://x/"),
    ],
)
def test_something_else_at_the_address(answer: bytes, words: str) -> None:
    with answering(answer) as server, pytest.raises(ServerUnreachable, match=words):
        server.read(path("projects"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http("404 Not Found", "<html>"), "is the address right"),
        (
            http("403 Forbidden", '{"detail": "No."}'),
            r"No\. \(The token is from TIDEGATE_TOKEN\.\)",
        ),
        (http("500 Oops", '{"detail": "A fault.", "request_id": "r1"}'), r"\(request_id r1\)"),
    ],
)
def test_other_refusals(answer: bytes, words: str) -> None:
    with answering(answer) as server, pytest.raises(ServerRefused, match=words):
        server.read(path("projects"))


def test_a_write_that_was_cut_off_may_have_been_done() -> None:
    with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{") as server,
        pytest.raises(ServerUnreachable) as cut_off,
    ):
        server.post(path("projects"), {})
    assert "Whether it was done is not known" in str(cut_off.value)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServerUnreachable, match="did not answer in 0 s"):
            Server(Target(url, "a-token")).read(path("projects"))


def test_a_server_whose_certificate_is_not_trusted(served: Served) -> None:
    server = Server(Target(served.url.replace("http:", "https:"), "a-token"))
    with pytest.raises(ServerUnreachable, match="cannot be trusted"):
        server.read(path("projects"))
