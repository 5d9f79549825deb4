"""A real store and the real application on it, fresh for every test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from tidegate_server.api.app import create_app
from tidegate_server.api.bootstrap import bootstrap
from tidegate_server.api.settings import ApiSettings
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

from tests.api.calls import CHECKOUT, POLICY, PRODUCTION, PROJECT, Caller

SECRET_KEY = b"a secret key for tests only"
ADMIN_TOKEN = "an-admin-token-for-tests"


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    with tempfile.TemporaryDirectory(prefix="tg-api-") as folder:
        server = EmbeddedValkey(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def store(valkey: EmbeddedValkey) -> Iterator[Store]:
    with redis.Redis(unix_socket_path=str(valkey.socket)) as client:
        client.flushall()
    opened = Store.connect(valkey.url)
    yield opened
    opened.close()


@pytest.fixture
def settings() -> ApiSettings:
    return ApiSettings(
        SECRET_KEY, keep_alive_seconds=0.05, token_recheck_seconds=0.05, token_cache_seconds=0
    )


@pytest.fixture
def app(store: Store, settings: ApiSettings) -> Flask:
    bootstrap(store, SECRET_KEY, ADMIN_TOKEN)
    return create_app(store, settings)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def admin(client: FlaskClient) -> Caller:
    """Someone who may do everything, on a fresh server."""
    return Caller(client, ADMIN_TOKEN)


@pytest.fixture
def sdk(admin: Caller) -> Caller:
    """An application's SDK in production."""
    return admin.token_for("sdk", "default", "production")


@pytest.fixture
def checkout(admin: Caller) -> Caller:
    """The admin of a server with a flag, a segment and a policy."""
    admin.made(f"{PROJECT}/flags", CHECKOUT)
    admin.made(f"{PROJECT}/segments", {"key": "staff", "included": ["ann"]})
    admin.made(f"{PROJECT}/policies", POLICY)
    return admin


@pytest.fixture
def release(checkout: Caller) -> str:
    """The address of a release that has just started."""
    asked = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    started = checkout.made(f"{PRODUCTION}/releases", asked)
    return f"{PRODUCTION}/releases/{started['id']}"
