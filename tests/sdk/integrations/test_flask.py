"""One operation for each request of a Flask application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from flask import Flask, g, request, session
from tidegate import Client, Context
from tidegate.bucketing import user_hash
from tidegate.current_operation import current
from tidegate.integrations.flask import Tidegate

from tests.sdk.integrations.treatment_counts import SNAPSHOT, counted, counts
from tests.sdk.reports import report_document


@pytest.fixture
def client() -> Client:
    return Client.offline(SNAPSHOT)


@pytest.fixture
def app(client: Client) -> Flask:
    """An application with a view for each outcome of a request."""
    app = Flask(__name__)
    app.secret_key = "for tests only"
    Tidegate(app, client, context=lambda: Context(request.headers.get("X-User"), path=request.path))

    @app.before_request
    def ask() -> None:
        g.on = client.boolean("checkout", False)

    @app.get("/ok")
    def ok() -> str:
        return str(g.on)

    @app.get("/missing")
    def missing() -> Any:
        flask.abort(404)

    @app.get("/oops")
    def oops() -> Any:
        return "sorry", 503

    @app.get("/raise")
    def fail() -> Any:
        raise ZeroDivisionError

    @app.get("/stream")
    def stream() -> Any:
        def pieces() -> Iterator[str]:
            yield "1"
            yield "2"

        return app.response_class(pieces())

    @app.get("/stream-fails")
    def stream_fails() -> Any:
        def pieces() -> Iterator[str]:
            yield "1"
            raise ZeroDivisionError

        return app.response_class(pieces())

    @app.get("/file")
    def file() -> Any:
        return flask.send_file(Path(__file__).resolve())

    return app


def get(app: Flask, path: str, **headers: str) -> Any:
    return app.test_client().get(path, headers={"X-User": "ann", **headers}, buffered=True)


@pytest.mark.parametrize(
    ("path", "status", "errors"),
    [
        ("/ok", 200, 0),
        ("/missing", 404, 0),
        ("/nowhere", 404, 0),
        ("/oops", 503, 1),
        ("/raise", 500, 1),
        ("/stream", 200, 0),
        ("/file", 200, 0),
    ],
)
def test_every_request_has_its_outcome(
    app: Flask, client: Client, path: str, status: int, errors: int
) -> None:
    assert get(app, path).status_code == status
    assert counted(client) == counts(1, 1, errors, failing=errors)
    assert current.get() is None


def test_an_exception_that_flask_does_not_handle_is_an_error(app: Flask, client: Client) -> None:
    app.testing = True
    with pytest.raises(ZeroDivisionError):
        get(app, "/raise")
    assert counted(client) == counts(1, 1, 1, failing=1)


def test_the_status_of_a_handled_exception_counts(app: Flask, client: Client) -> None:
    app.register_error_handler(ZeroDivisionError, lambda error: ("handled", 400))
    assert get(app, "/raise").status_code == 400
    assert counted(client) == counts(1, 1, 0)


def test_a_stream_that_fails_is_an_error(app: Flask, client: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        get(app, "/stream-fails")
    assert counted(client) == counts(1, 1, 1, failing=1)


def test_a_stream_that_is_cut_off_has_no_outcome(app: Flask, client: Client) -> None:
    answer = app.test_client().get("/stream", headers={"X-User": "ann"})
    next(iter(answer.response))
    answer.close()
    assert counted(client) == counts(1, 0, 0)


def test_the_context_can_use_the_request(app: Flask, client: Client) -> None:
    get(app, "/oops", **{"X-User": "bob"})
    (part,) = report_document(client._reporter)["failing"]
    assert part["users"] == [user_hash("bob")]


def test_the_context_can_use_the_session(client: Client) -> None:
    app = Flask(__name__)
    app.secret_key = "for tests only"
    Tidegate(app, client, context=lambda: Context(session.get("user")))

    @app.get("/login")
    def login() -> str:
        session["user"] = "cid"
        return ""

    @app.get("/")
    def index() -> Any:
        client.boolean("checkout", False)
        flask.abort(500)

    browser = app.test_client()
    browser.get("/login", buffered=True)
    browser.get("/", buffered=True)
    (part,) = report_document(client._reporter)["failing"]
    assert part["users"] == [user_hash("cid")]


def test_the_extension_can_be_made_before_the_application(client: Client) -> None:
    extension = Tidegate(client=client)
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: str(client.boolean("checkout", False)))
    extension.init_app(app)
    assert app.extensions["tidegate"] is client
    assert get(app, "/").text == "True"
    assert counted(client) == counts(1, 1, 0)


def test_one_extension_can_serve_applications_with_different_clients(client: Client) -> None:
    extension = Tidegate(client=client)
    other = Client.offline(SNAPSHOT)
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: str(other.boolean("checkout", False)))
    extension.init_app(app, other)
    get(app, "/")
    assert counted(other) == counts(1, 1, 0)
    assert counted(client) == counts(0, 0, 0)


def test_without_a_client_the_error_says_what_to_pass() -> None:
    with pytest.raises(ValueError, match="give the Tidegate extension a client"):
        Tidegate(Flask(__name__))


def test_a_context_callback_that_raises_does_not_break_the_request(client: Client) -> None:
    def context() -> Context:
        raise LookupError("nobody is logged in")

    app = Flask(__name__)
    Tidegate(app, client, context=context)
    app.add_url_rule("/", view_func=lambda: str(client.boolean("checkout", False)))
    assert get(app, "/").text == "True"
    assert counted(client) == counts(1, 1, 0)
