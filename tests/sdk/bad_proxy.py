"""A proxy in front of the flag server that imitates bad networks and bad servers."""

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
    """Listens on loopback; ``mode`` handles each connection."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.mode: Mode = pass_through
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def switch_to(self, mode: Mode) -> None:
        """Use another mode from now on, and cut the open connections."""
        self.mode = mode
        with self._lock:
            sockets, self._open = self._open, set()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        self._listener.close()
        self.switch_to(pass_through)

    def keep(self, each: socket.socket) -> None:
        with self._lock:
            self._open.add(each)

    def connect(self) -> socket.socket:
        """Return a new connection to the flag server."""
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


def read_head(client: socket.socket) -> bytes:
    """Read the head of one request."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = client.recv(65_536)
        if not part:
            return head
        head += part
    return head


def http_response(status: str, body: bytes, kind: str = "application/json") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode() + body


def pass_through(proxy: Proxy, client: socket.socket) -> None:
    """Pass everything on in both directions."""
    server = proxy.connect()

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


def refuse(proxy: Proxy, client: socket.socket) -> None:
    """Close the connection at once."""
    client.shutdown(socket.SHUT_RDWR)


def black_hole(proxy: Proxy, client: socket.socket) -> None:
    """Receive everything and never answer."""
    while client.recv(65_536):
        pass


def trickle_head(proxy: Proxy, client: socket.socket) -> None:
    """Send an endless head, one byte at a time."""
    read_head(client)
    client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        client.sendall(b"x")
        threading.Event().wait(0.02)


def trickle_body(proxy: Proxy, client: socket.socket) -> None:
    """Send an endless body, one byte at a time, as a stream or as a snapshot."""
    stream = b"/sdk/v1/stream" in read_head(client)
    kind = "text/event-stream" if stream else "application/json"
    client.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode())
    if stream:
        client.sendall(b"event: snapshot\ndata: ")
    while True:
        client.sendall(b" ")
        threading.Event().wait(0.02)


def respond(status: str, body: object, kind: str = "application/json") -> Mode:
    """Answer every request with this response."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()

    def mode(proxy: Proxy, client: socket.socket) -> None:
        read_head(client)
        client.sendall(http_response(status, text, kind))

    return mode


def stream_and_cut(text: bytes, *, snapshot: object = None) -> Mode:
    """Send this stream and cut it; answer other requests with the snapshot."""

    def mode(proxy: Proxy, client: socket.socket) -> None:
        if b"/sdk/v1/stream" in read_head(client):
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + text)
        else:
            client.sendall(http_response("200 OK", json.dumps(snapshot).encode()))

    return mode


def respond_compressed(body: bytes, encoding: str = "gzip") -> Mode:
    """Answer every request with this body in this encoding."""

    def mode(proxy: Proxy, client: socket.socket) -> None:
        read_head(client)
        client.sendall(
            f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        )
        client.sendall(body)

    return mode


def forbid(path: str) -> Mode:
    """Answer requests for a path with 403, as a firewall does, and pass all others on."""

    def mode(proxy: Proxy, client: socket.socket) -> None:
        if path.encode() not in client.recv(65_536, socket.MSG_PEEK).partition(b"\r\n")[0]:
            pass_through(proxy, client)
            return
        read_head(client)
        client.sendall(http_response("403 Forbidden", b"<h1>Forbidden</h1>", "text/html"))

    return mode


def redirect(url: str) -> Mode:
    """Redirect every request to another address."""

    return _respond_with_header("307 Temporary Redirect", f"Location: {url}")


def busy(retry_after: str) -> Mode:
    """Ask every client to retry later."""

    return _respond_with_header("429 Too Many Requests", f"Retry-After: {retry_after}")


def _respond_with_header(status: str, header: str) -> Mode:
    """Answer every request with a head without a body."""

    def mode(proxy: Proxy, client: socket.socket) -> None:
        read_head(client)
        head = f"HTTP/1.1 {status}\r\n{header}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode())

    return mode


def endless_head(proxy: Proxy, client: socket.socket) -> None:
    """Send a head without an end, in large pieces."""
    read_head(client)
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        client.sendall(b"X: " + b"x" * 60_000 + b"\r\n")


def respond_http_1_0(snapshot: object) -> Mode:
    """Answer in HTTP/1.0, without a length: the response ends with the connection."""

    def mode(proxy: Proxy, client: socket.socket) -> None:
        read_head(client)
        client.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(snapshot).encode())

    return mode


def stream_and_stay_silent(text: bytes) -> Mode:
    """Send this stream and then nothing, without closing it, as after a suspend."""

    def mode(proxy: Proxy, client: socket.socket) -> None:
        read_head(client)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + text)
        black_hole(proxy, client)

    return mode


def untrusted_tls(certificate: str, key: str) -> Mode:
    """Use TLS with an untrusted certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def mode(proxy: Proxy, client: socket.socket) -> None:
        with contextlib.suppress(ssl.SSLError):
            context.wrap_socket(client, server_side=True)

    return mode
