"""A real store with the application on it, new for every test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import cast

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.application import create_app, install_services
from tidegate_server.store import Store
from tidegate_server.web.settings import ApiSettings
from werkzeug.serving import make_server

from tests.http_calls import CHECKOUT, POLICY, PRODUCTION, PROJECT, Caller
from tests.stores import raw, store, valkey

__all__ = [
    "admin",
    "app",
    "checkout",
    "client",
    "first_start_keys",
    "port",
    "raw",
    "release",
    "routes",
    "sdk",
    "settings",
    "store",
    "valkey",
]
"""The fixtures, for ``from tests.http_application import *`` in a ``conftest.py``."""

SECRET_KEY = b"a secret key for tests only"
ADMIN_TOKEN = "an-admin-token-for-tests"


@pytest.fixture
def settings() -> ApiSettings:
    return ApiSettings(
        SECRET_KEY,
        keep_alive_seconds=0.05,
        token_recheck_seconds=0.05,
        token_poll_seconds=0,
        origins_cache_seconds=0,
    )


@pytest.fixture(scope="session")
def first_start_keys() -> dict[bytes, bytes]:
    """Return the keys that a first start writes, kept so that only one test writes them."""
    return {}


@pytest.fixture(scope="session")
def routes() -> Flask:
    """Return the application, created once; ``app`` gives it new services for each test."""
    return create_app(cast(Store, None), ApiSettings(SECRET_KEY))


@pytest.fixture
def app(
    routes: Flask,
    store: Store,
    raw: redis.Redis,
    first_start_keys: dict[bytes, bytes],
    settings: ApiSettings,
) -> Iterator[Flask]:
    """Return the application on a store after its first start."""
    if first_start_keys:
        pipe = raw.pipeline()
        for key, dump in first_start_keys.items():
            pipe.restore(key, 0, dump)
        pipe.execute()
    else:
        bootstrap(store, SECRET_KEY, ADMIN_TOKEN)
        names = cast(list[bytes], raw.keys())
        first_start_keys.update({name: cast(bytes, raw.dump(name)) for name in names})
    install_services(routes, store, settings)
    yield routes
    routes.extensions["tidegate"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def admin(client: FlaskClient) -> Caller:
    """Return an admin of the whole server, on a fresh server."""
    return Caller(client, ADMIN_TOKEN)


@pytest.fixture
def sdk(admin: Caller) -> Caller:
    """Return a caller with the token of an SDK in production."""
    return admin.token_for("sdk", "default", "production")


@pytest.fixture
def checkout(admin: Caller) -> Caller:
    """Return the admin of a server with a flag, a segment and a policy."""
    admin.post_ok(f"{PROJECT}/flags", CHECKOUT)
    admin.post_ok(f"{PROJECT}/segments", {"key": "staff", "included": ["ann"]})
    admin.post_ok(f"{PROJECT}/policies", POLICY)
    return admin


@pytest.fixture
def release(checkout: Caller) -> str:
    """Return the path of a release that has just started."""
    body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    started = checkout.post_ok(f"{PRODUCTION}/releases", body)
    return f"{PRODUCTION}/releases/{started['id']}"


@pytest.fixture
def port(app: Flask) -> Iterator[int]:
    """Return the port where the application serves real connections."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server.server_port
    app.extensions["tidegate"].close()
    server.shutdown()
    server.server_close()
    thread.join()
