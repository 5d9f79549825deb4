"""An application for servers that fork: each response has the worker's pid and instance id."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import tidegate
from tidegate.integrations.wsgi import TidegateMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

client = tidegate.Client()


def respond(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    client.wait_until_ready(60)
    if environ["PATH_INFO"] == "/work":
        client.boolean("checkout", False)
    if environ["PATH_INFO"] == "/hang":  # until the server aborts this worker
        client.boolean("checkout", False)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            pass  # not a sleep, in which gevent would serve other requests
    killed = bool(client.boolean_details("banner", False).metadata.get("killed"))
    body = {"pid": os.getpid(), "instance": client.status().instance, "killed": killed}
    start_response("200 OK", [("Content-Type", "application/json"), ("Connection", "close")])
    return [json.dumps(body).encode()]


application = TidegateMiddleware(
    respond, client, context=lambda environ: tidegate.Context(environ["QUERY_STRING"])
)
