"""A proxy before the flag server that can do everything a network and a bad server do."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

Mode = Callable[["Proxy", socket.socket], None]


class Proxy:
    """Listens on loopback; ``mode`` says what becomes of each connection."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.mode: Mode = passing
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def become(self, mode: Mode) -> None:
        """Behave otherwise from now on; connections that are open are cut."""
        self.mode = mode
        with self._lock:
            sockets, self._open = self._open, set()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        self._listener.close()
        self.become(passing)

    def keep(self, each: socket.socket) -> None:
        with self._lock:
            self._open.add(each)

    def reach(self) -> socket.socket:
        """A connection to the flag server."""
        server = socket.create_connection((self._target.hostname or "", self._target.port or 80))
        self.keep(server)
        return server

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self.keep(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            self.mode(self, client)


def request(client: socket.socket) -> bytes:
    """Read one request's head."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = client.recv(65_536)
        if not part:
            return head
        head += part
    return head


def answer(status: str, body: bytes, kind: str = "application/json") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode() + body


def passing(proxy: Proxy, client: socket.socket) -> None:
    """Pass everything on in both directions."""
    server = proxy.reach()

    def back() -> None:
        with contextlib.suppress(OSError):
            while part := server.recv(65_536):
                client.sendall(part)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=back, daemon=True).start()
    with contextlib.suppress(OSError):
        while part := client.recv(65_536):
            server.sendall(part)
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)


def refusing(proxy: Proxy, client: socket.socket) -> None:
    """Close at once."""
    client.shutdown(socket.SHUT_RDWR)


def black_hole(proxy: Proxy, client: socket.socket) -> None:
    """Take everything and never answer."""
    while client.recv(65_536):
        pass


def trickling_head(proxy: Proxy, client: socket.socket) -> None:
    """Send the head of an answer, a byte at a time, for ever."""
    request(client)
    client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        client.sendall(b"x")
        threading.Event().wait(0.02)


def trickling_body(proxy: Proxy, client: socket.socket) -> None:
    """Send an endless body a byte at a time, as a stream or as a snapshot."""
    stream = b"/sdk/v1/stream" in request(client)
    kind = "text/event-stream" if stream else "application/json"
    client.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode())
    if stream:
        client.sendall(b"event: snapshot\ndata: ")
    while True:
        client.sendall(b" ")
        threading.Event().wait(0.02)


def saying(status: str, body: object, kind: str = "application/json") -> Mode:
    """Answer everything with this."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()

    def mode(proxy: Proxy, client: socket.socket) -> None:
        request(client)
        client.sendall(answer(status, text, kind))

    return mode


def streaming(text: bytes, *, snapshot: object = None) -> Mode:
    """A stream that says this and is then cut; a snapshot where one is asked for."""

    def mode(proxy: Proxy, client: socket.socket) -> None:
        if b"/sdk/v1/stream" in request(client):
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + text)
        else:
            client.sendall(answer("200 OK", json.dumps(snapshot).encode()))

    return mode


def compressed(body: bytes, encoding: str = "gzip") -> Mode:
    """Answer everything with this, in an encoding."""

    def mode(proxy: Proxy, client: socket.socket) -> None:
        request(client)
        client.sendall(
            f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        )
        client.sendall(body)

    return mode


def elsewhere(url: str) -> Mode:
    """Send everybody to another address."""

    return _headed("307 Temporary Redirect", f"Location: {url}")


def busy(retry_after: str) -> Mode:
    """Ask everybody to come later."""

    return _headed("429 Too Many Requests", f"Retry-After: {retry_after}")


def _headed(status: str, header: str) -> Mode:
    """Answer everything with a head alone."""

    def mode(proxy: Proxy, client: socket.socket) -> None:
        request(client)
        head = f"HTTP/1.1 {status}\r\n{header}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode())

    return mode


def growing_head(proxy: Proxy, client: socket.socket) -> None:
    """Send an answer's head without an end."""
    request(client)
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        client.sendall(b"X: " + b"x" * 60_000 + b"\r\n")


def old_fashioned(snapshot: object) -> Mode:
    """Speak HTTP/1.0: no length, and the end of an answer is the end of the connection."""

    def mode(proxy: Proxy, client: socket.socket) -> None:
        request(client)
        client.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(snapshot).encode())

    return mode


def falling_silent(text: bytes) -> Mode:
    """A stream that says this and then nothing, open for ever: as after a suspend."""

    def mode(proxy: Proxy, client: socket.socket) -> None:
        request(client)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + text)
        black_hole(proxy, client)

    return mode


def untrusted(certificate: str, key: str) -> Mode:
    """Speak TLS with a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def mode(proxy: Proxy, client: socket.socket) -> None:
        with contextlib.suppress(ssl.SSLError):
            context.wrap_socket(client, server_side=True)

    return mode
