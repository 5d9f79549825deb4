"""A real HTTP server that receives what webhooks are sent, and misbehaves when it is told to."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG = "hang"
"""Take the request and never answer."""

DRIP = "drip"
"""Answer one byte of the head at a time, for ever."""

BREAK = "break"
"""End the connection in the middle of the answer's first line."""

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: a status, a JSON body or any text, and headers."""

    status: int = 200
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()


Behaviour = Answer | str


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)

    def is_signed_with(self, secret: str) -> bool:
        """Whether some signature is the one that the secret makes, as the documentation says."""
        parts = [part.split("=", 1) for part in self.headers["Tidegate-Signature"].split(",")]
        at = next(value for name, value in parts if name == "t")
        signed = at.encode() + b"." + self.body
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        return any(name == "v1" and value == expected for name, value in parts)


class Receiver:
    """What arrived, and what is answered next; the last behaviour repeats."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.received: list[Received] = []
        self.over = threading.Event()
        self._behaviours = list(behaviours) or [Answer()]
        self._lock = threading.Lock()
        self.url = ""

    def behave(self, *behaviours: Behaviour) -> None:
        """Answer like this from now on."""
        with self._lock:
            self._behaviours = list(behaviours)

    def take(self, received: Received) -> Behaviour:
        """Note a request, and say how it is answered."""
        with self._lock:
            self.received.append(received)
            rest = len(self._behaviours) > 1
            return self._behaviours.pop(0) if rest else self._behaviours[0]

    def wait_for(self, number: int) -> list[Received]:
        """What arrived, once it is this much."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.received) < number:
            assert time.monotonic() < deadline, f"{len(self.received)} of {number} arrived"
            time.sleep(0.01)
        return list(self.received)


@contextmanager
def receiver(*behaviours: Behaviour) -> Iterator[Receiver]:
    """A receiver on a port of its own."""
    told = Receiver(*behaviours)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            behaviour = told.take(Received(self.path, dict(self.headers), body))
            with suppress(OSError):
                self._answer(behaviour)

        def _answer(self, behaviour: Behaviour) -> None:
            if behaviour == HANG:
                told.over.wait(PATIENCE_SECONDS)
            elif behaviour == DRIP:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not told.over.wait(0.02):
                    self.wfile.write(b"X")
            elif behaviour == BREAK:
                self.wfile.write(b"HTTP/1.")
            elif isinstance(behaviour, Answer):
                self._say(behaviour)
            self.close_connection = True

        def _say(self, answer: Answer) -> None:
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
    told.url = f"http://127.0.0.1:{server.server_address[1]}/told?by=tidegate"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield told
    finally:
        told.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
