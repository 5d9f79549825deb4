"""The outcome of WSGI requests, whatever the application and its server do."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import FileWrapper

import pytest
from tidegate import Client, Context
from tidegate.bucketing import user_hash
from tidegate.current_operation import current
from tidegate.integrations.wsgi import TidegateMiddleware
from werkzeug.test import Client as Browser
from werkzeug.test import run_wsgi_app

from tests.sdk.integrations.treatment_counts import SNAPSHOT, counted, counts
from tests.sdk.reports import report_document

Application = Callable[..., Iterable[bytes]]
Environ = dict[str, Any]


@pytest.fixture
def client() -> Client:
    return Client.offline(SNAPSHOT)


def user(environ: Environ) -> Context:
    return Context(environ["HTTP_X_USER"])


def answering(client: Client, status: str = "200 OK") -> Application:
    """Return an application that evaluates the flag and responds."""

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response(status, [("Content-Type", "text/plain")])
        return [str(client.boolean("checkout", False)).encode()]

    return app


def ignore_response(status: str, headers: Any, error: Any = None, /) -> Callable[[bytes], object]:
    """A ``start_response`` that does nothing."""
    return lambda piece: None


def get(app: Application, client: Client) -> tuple[bytes, str, Any]:
    """Send one request through a server that reads and closes the whole response."""
    browser = Browser(TidegateMiddleware(app, client, user))
    answer = browser.get("/", headers={"X-User": "ann"}, buffered=True)
    return answer.data, answer.status, answer.headers


# Outcomes


@pytest.mark.parametrize(
    ("status", "errors"),
    [
        ("200 OK", 0),
        ("204 No Content", 0),
        ("302 Found", 0),
        ("404 Not Found", 0),
        ("429 Too Many Requests", 0),
        ("500 Internal Server Error", 1),
        ("503 Service Unavailable", 1),
        ("599 ?", 1),
    ],
)
def test_a_status_of_500_or_more_is_an_error(client: Client, status: str, errors: int) -> None:
    get(answering(client, status), client)
    assert counted(client) == counts(1, 1, errors, failing=errors)


def test_the_failing_user_is_the_one_of_the_requests_context(client: Client) -> None:
    get(answering(client, "500 Oops"), client)
    (part,) = report_document(client._reporter)["failing"]
    assert part["users"] == [user_hash("ann")]


def test_an_exception_that_leaves_the_application_is_an_error(client: Client) -> None:
    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        client.boolean("checkout", False)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        get(app, client)
    assert counted(client) == counts(1, 1, 1, failing=1)
    assert current.get() is None


@pytest.mark.parametrize("leaving", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_request_of_an_interrupted_worker_has_no_outcome(
    client: Client, leaving: type[BaseException]
) -> None:
    """gunicorn interrupts a worker that takes too long."""

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        client.boolean("checkout", False)
        raise leaving

    with pytest.raises(leaving):
        get(app, client)
    assert counted(client) == counts(1, 0, 0)


def test_a_request_without_an_evaluation_counts_nothing_and_resolves_no_context(
    client: Client,
) -> None:
    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("500 Oops", [])
        return [b""]

    def nobody(environ: Environ) -> Context:
        raise AssertionError("the context was resolved without an evaluation")

    Browser(TidegateMiddleware(app, client, nobody)).get("/", buffered=True)
    assert counted(client) == counts(0, 0, 0)


def test_requests_without_a_context_are_counted(client: Client) -> None:
    Browser(TidegateMiddleware(answering(client, "500 Oops"), client)).get("/", buffered=True)
    assert counted(client) == counts(1, 1, 1)


def test_the_response_is_not_changed(client: Client) -> None:
    body, status, headers = get(answering(client), client)
    assert (body, status) == (b"True", "200 OK")
    assert headers["Content-Type"] == "text/plain"


def test_a_status_changed_to_500_counts(client: Client) -> None:
    calls: list[tuple[Any, ...]] = []

    def start_response(*arguments: Any) -> Callable[[bytes], object]:
        calls.append(arguments)
        return lambda piece: None

    error = (ValueError, ValueError(), None)

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        client.boolean("checkout", False)
        start_response("500 Oops", [], error)
        return [b"sorry"]

    response = TidegateMiddleware(app, client, user)({"HTTP_X_USER": "ann"}, start_response)
    assert list(response) == [b"sorry"]
    response.close()  # type: ignore[attr-defined]
    assert calls == [("200 OK", []), ("500 Oops", [], error)]
    assert counted(client) == counts(1, 1, 1, failing=1)


# Streaming


def streaming(client: Client, closed: list[str], fail: bool = False) -> Application:
    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        """A generator, which runs only when the server reads the first piece."""
        try:
            start_response("200 OK", [])
            yield b"1"
            client.boolean("checkout", False)
            yield b"2"
            if fail:
                raise ZeroDivisionError
            yield b"3"
        finally:
            closed.append("closed")

    return app


def test_a_stream_read_to_its_end_is_ok(client: Client) -> None:
    closed: list[str] = []
    assert get(streaming(client, closed), client)[0] == b"123"
    assert closed == ["closed"]
    assert counted(client) == counts(1, 1, 0)


def test_a_stream_that_fails_in_the_middle_is_an_error(client: Client) -> None:
    closed: list[str] = []
    with pytest.raises(ZeroDivisionError):
        get(streaming(client, closed, fail=True), client)
    assert closed == ["closed"]
    assert counted(client) == counts(1, 1, 1, failing=1)
    assert current.get() is None


def test_a_request_whose_visitor_disconnects_has_no_outcome(client: Client) -> None:
    closed: list[str] = []
    middleware = TidegateMiddleware(streaming(client, closed), client, user)
    pieces, _, _ = run_wsgi_app(middleware, {"HTTP_X_USER": "ann"})
    reading = iter(pieces)
    assert [next(reading), next(reading)] == [b"1", b"2"]
    pieces.close()  # type: ignore[attr-defined]
    assert closed == ["closed"]
    assert counted(client) == counts(1, 0, 0)
    assert current.get() is None


def test_a_response_that_nobody_reads_has_no_outcome(client: Client) -> None:
    response = TidegateMiddleware(answering(client), client, user)(
        {"HTTP_X_USER": "ann"}, ignore_response
    )
    response.close()  # type: ignore[attr-defined]
    assert counted(client) == counts(1, 0, 0)


def test_a_body_whose_close_raises_is_an_error(client: Client) -> None:
    class Stubborn(list[bytes]):
        def close(self) -> None:
            raise OSError("cannot be closed")

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        client.boolean("checkout", False)
        return Stubborn([b"x"])

    response = TidegateMiddleware(app, client, user)({"HTTP_X_USER": "ann"}, ignore_response)
    assert list(response) == [b"x"]
    with pytest.raises(OSError, match="cannot be closed"):
        response.close()  # type: ignore[attr-defined]
    assert counted(client) == counts(1, 1, 1, failing=1)
    assert current.get() is None


def test_a_request_within_a_request_is_an_operation_of_its_own(client: Client) -> None:
    """An application may call itself without a network."""
    inner = answering(client, "500 Oops")

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        client.boolean("checkout", False)
        get(inner, client)
        assert current.get() is not None
        start_response("200 OK", [])
        return [b""]

    get(app, client)
    assert counted(client) == counts(2, 2, 1, failing=1)


# Real servers


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Application], int]]:
    """A function that serves an application in a thread and returns the port."""
    servers: list[Any] = []

    def start(app: Application) -> int:
        server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nX-User: ann\r\n\r\n")
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    return answer


def ended(client: Client, expected: dict[str, int]) -> None:
    """Wait for the end of the request, which the server may notice late."""
    moment = threading.Event()
    for _ in range(2_000):
        if counted(client) == expected:
            return
        moment.wait(0.01)
    assert counted(client) == expected


def test_the_write_function_works(client: Client, serve: Callable[[Application], int]) -> None:
    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        client.boolean("checkout", False)
        write(b"written, ")
        return [b"returned"]

    assert ask(serve(TidegateMiddleware(app, client, user))).endswith(b"written, returned")
    ended(client, counts(1, 1, 0))


def test_a_file_is_left_to_the_server_to_send(
    client: Client, serve: Callable[[Application], int], tmp_path: Path
) -> None:
    content = b"x" * 300_000
    path = tmp_path / "file"
    path.write_bytes(content)
    calls: list[Any] = []

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        client.boolean("checkout", False)
        wrapped = environ["wsgi.file_wrapper"](path.open("rb"))
        calls.append(wrapped)
        return wrapped  # type: ignore[no-any-return]

    middleware = TidegateMiddleware(app, client, user)
    returned: list[Any] = []

    def outer(environ: Environ, start_response: Any) -> Iterable[bytes]:
        middleware_answer = middleware(environ, start_response)
        returned.append(middleware_answer)
        return middleware_answer

    assert ask(serve(outer)).endswith(content)
    assert returned == calls
    ended(client, counts(1, 1, 0))


def test_a_file_wrapper_that_is_a_function_works_too(client: Client) -> None:
    """uWSGI has such a wrapper."""

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("500 Oops", [])
        client.boolean("checkout", False)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"content"))  # type: ignore[no-any-return]

    environ = {"HTTP_X_USER": "ann", "wsgi.file_wrapper": lambda file: FileWrapper(file)}
    pieces, status, _ = run_wsgi_app(TidegateMiddleware(app, client, user), environ)
    assert (b"".join(pieces), status) == (b"content", "500 Oops")
    pieces.close()  # type: ignore[attr-defined]
    assert counted(client) == counts(1, 1, 1, failing=1)


def test_a_real_visitor_who_disconnects_makes_no_outcome(
    client: Client, serve: Callable[[Application], int]
) -> None:
    went_away = threading.Event()

    def app(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        client.boolean("checkout", False)
        yield b"first"
        went_away.wait(60)
        while True:
            yield b"x" * 65_536

    port = serve(TidegateMiddleware(app, client, user))
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nX-User: ann\r\n\r\n")
        seen = b""
        while b"first" not in seen:
            seen += connection.recv(100)
    went_away.set()
    ended(client, counts(1, 0, 0))


def test_a_real_server_that_catches_an_exception_has_one_error(
    client: Client, serve: Callable[[Application], int], capfd: pytest.CaptureFixture[str]
) -> None:
    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        client.boolean("checkout", False)
        raise ZeroDivisionError

    assert b" 500 " in ask(serve(TidegateMiddleware(app, client, user)))
    ended(client, counts(1, 1, 1, failing=1))
