"""An HTTP server that records the requests it receives, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network
from typing import Any

import pytest
from tidegate_server.domain.network_addresses import AllowedNetworks

LOOPBACK = AllowedNetworks((IPv4Network("127.0.0.1/32"),))
"""Where receivers are."""

HANG = "hang"
"""Accept the request and never respond."""

DRIP = "drip"
"""Send one byte of the headers at a time, for ever."""

BREAK = "break"
"""Close the connection in the middle of the status line."""

PATIENCE_SECONDS = 60.0
PATH = "/secret-path"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: a status, a JSON body or a text, and headers."""

    status: int = 200
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()


Behaviour = Answer | str


@dataclass(frozen=True, slots=True)
class Received:
    """A request that arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)

    def is_signed_with(self, secret: str) -> bool:
        """Whether a signature matches the secret, computed as the documentation describes."""
        parts = [part.split("=", 1) for part in self.headers["Tidegate-Signature"].split(",")]
        at = next(value for name, value in parts if name == "t")
        signed = at.encode() + b"." + self.body
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        return any(name == "v1" and value == expected for name, value in parts)


class Receiver:
    """The requests that arrived, and the responses to the next ones.

    Behaviours are used in order; the last one repeats.
    """

    def __init__(self, *behaviours: Behaviour) -> None:
        self.received: list[Received] = []
        self.origin = ""
        self.stopped = threading.Event()
        self._behaviours = list(behaviours) or [Answer()]
        self._released = threading.Event()
        self._released.set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """A URL of the server, with a path and a query."""
        return f"{self.origin}{PATH}?by=tidegate"

    def behave(self, *behaviours: Behaviour) -> None:
        """Set the behaviours for the next requests."""
        with self._lock:
            self._behaviours = list(behaviours)

    def hold(self) -> None:
        """Accept requests and delay every response until ``release``."""
        self._released.clear()

    def release(self) -> None:
        """Send the responses that ``hold`` delays."""
        self._released.set()

    def record(self, received: Received) -> Behaviour:
        """Record a request, wait while responses are held, and return its behaviour."""
        with self._lock:
            self.received.append(received)
            more = len(self._behaviours) > 1
            behaviour = self._behaviours.pop(0) if more else self._behaviours[0]
        self._released.wait(PATIENCE_SECONDS)
        return behaviour

    def wait_for(self, number: int) -> list[Received]:
        """Return the requests once this many have arrived."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.received) < number:
            assert time.monotonic() < deadline, f"{len(self.received)} of {number} arrived"
            time.sleep(0.01)
        return list(self.received)


@contextmanager
def receiver(*behaviours: Behaviour) -> Iterator[Receiver]:
    """Run a receiver on a free port."""
    target = Receiver(*behaviours)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            request = Received(self.path, dict(self.headers), body, self.command)
            behaviour = target.record(request)
            with suppress(OSError):
                self._answer(behaviour)

        def _answer(self, behaviour: Behaviour) -> None:
            if behaviour == HANG:
                target.stopped.wait(PATIENCE_SECONDS)
            elif behaviour == DRIP:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not target.stopped.wait(0.02):
                    self.wfile.write(b"X")
            elif behaviour == BREAK:
                self.wfile.write(b"HTTP/1.")
            elif isinstance(behaviour, Answer):
                self._send(behaviour)
            self.close_connection = True

        def _send(self, answer: Answer) -> None:
            body = answer.body
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    target.origin = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield target
    finally:
        target.stopped.set()
        target.release()
        server.shutdown()
        thread.join()
        server.server_close()


StartReceiver = Callable[..., Receiver]


@pytest.fixture
def start_receiver() -> Iterator[StartReceiver]:
    """A function that starts receivers, which stop after the test."""
    with ExitStack() as stack:
        yield lambda *behaviours: stack.enter_context(receiver(*behaviours))
