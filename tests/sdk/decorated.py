"""The application for servers that fork, together with libraries that use the same hooks."""

from __future__ import annotations

import atexit
from importlib import import_module

from openfeature import api
from tidegate.integrations.openfeature import TidegateProvider

from tests.sdk.forked import application, client

__all__ = ["application"]

assert client.status().state == "postponed"
assert not client.wait_until_ready(1_000)
api.set_provider_and_wait(TidegateProvider(client, ready_seconds=1_000))
import_module("uwsgidecorators")  # which takes uWSGI's hook for itself
atexit.register(
    print, "now the exit handlers", flush=True
)  # the handler registered last runs first
