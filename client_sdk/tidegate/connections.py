"""The connections of one client: each can be cut at any moment, and has time limits.

A socket of urllib3 cannot be reached by another thread while it connects, shakes hands or is
read. So each one gets a second descriptor here: to shut that down ends whatever a thread waits
for in the first.

Threads: those of the client open connections; another one closes them. Adding to a set and copying
it are atomic, so neither needs a lock, which a fork could leave locked in the child. No fork comes
between a socket and its line, so a child knows each descriptor that it has. ``_lock`` is held only
while the pool is made.
"""

from __future__ import annotations

import io
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tidegate.errors import Unreachable
from tidegate.runtime.fork_lock import no_fork
from tidegate.runtime.late_imports import load

if TYPE_CHECKING:
    from urllib3 import PoolManager


class Line:
    """One connection, from before it connects until it is closed."""

    def __init__(self, end: socket.socket) -> None:
        self.end_number: int = end.fileno()
        self.handle: socket.socket = end.dup()

    def cut(self) -> None:
        """End what any thread waits for on this connection."""
        with suppress(OSError):
            self.handle.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """Release both descriptors in a forked child, and leave the connection to the parent.

        The objects of the parent's threads still refer to the first one, and locks in them may
        be held for ever. So they are not closed: their descriptor becomes one of /dev/null.
        """
        with suppress(OSError):
            if os.path.sameopenfile(self.end_number, self.handle.fileno()):
                nothing = os.open(os.devnull, os.O_RDWR)
                os.dup2(nothing, self.end_number, inheritable=False)
                os.close(nothing)
        self.handle.close()


class Connections:
    """All connections of one client in one process."""

    def __init__(self) -> None:
        self.closed: bool = False
        self._lock = threading.Lock()
        self._pool: PoolManager | None = None
        self._lines: set[Line] = set()
        self._open: set[Any] = set()
        self._tls: tuple[list[object], Any] | None = None

    def pool(self, head_seconds: float) -> PoolManager:
        """Return the pool that makes these connections.

        Args:
            head_seconds: the longest time until a response has all its headers. The timeout
                of a socket starts again with every byte, so it does not end a trickle.
        """
        with self._lock:
            if self._pool is None:
                # The look-up of a host name uses this codec, which would be imported late too.
                load("encodings.idna")
                pool: PoolManager = load("urllib3").PoolManager(maxsize=2, retries=False)
                pool.pool_classes_by_scheme = self._pool_classes(head_seconds)
                self._pool = pool
            return self._pool

    def cut(self) -> None:
        """Open no more connections, and end what threads wait for on the open ones."""
        self.closed = True
        for line in list(self._lines):
            line.cut()

    def close(self) -> None:
        """Close all connections, after ``cut``."""
        for connection in list(self._open):
            connection.close()
        for line in list(self._lines):
            self._remove(line)

    def drop(self) -> None:
        """Release all connections in a forked child, and leave them to the parent."""
        for line in list(self._lines):
            line.drop()
        self._lines, self._open = set(), set()

    def _make(self, family: int, kind: int, protocol: int) -> tuple[socket.socket, Line]:
        """Return a new socket with its line.

        Raises:
            Unreachable: the client is closed.
            OSError: the process has no descriptor left.
        """
        with no_fork():
            end = socket.socket(family, kind, protocol)
            try:
                line = Line(end)
            except OSError:
                end.close()
                raise
            self._lines.add(line)
        if self.closed:  # only now: ``cut`` sees the line, or this sees that it was called
            end.close()
            self._remove(line)
            raise Unreachable("the client is closed")
        return end, line

    def _remove(self, line: Line) -> None:
        line.handle.close()  # first: a child that is forked in between finds it closed
        self._lines.discard(line)

    def tls_context(self) -> Any:
        """Return what TLS connections share; made again when the authorities are replaced.

        urllib3 would read all authorities for each connection: 25 ms in which no other Python
        thread of the application runs. A forked child has connections of its own, and so its own.
        """
        ssl = load("ssl")
        paths = ssl.get_default_verify_paths()
        authorities: list[object] = [_state(each) for each in (paths.cafile, paths.capath)]
        if self._tls is None or self._tls[0] != authorities:
            context = load("urllib3.util.ssl_").create_urllib3_context()
            context.load_default_certs()
            self._tls = authorities, context
        return self._tls[1]

    def _pool_classes(self, head_seconds: float) -> dict[str, Any]:
        pools = load("urllib3.connectionpool")
        http, https = pools.HTTPConnectionPool, pools.HTTPSConnectionPool
        kinds = {
            base: self._connection_class(base.ConnectionCls, head_seconds) for base in (http, https)
        }
        return {
            "http": type("Pool", (http,), {"ConnectionCls": kinds[http]}),
            "https": type("SecurePool", (https,), {"ConnectionCls": kinds[https]}),
        }

    def _connection_class(self, base: Any, head_seconds: float) -> Any:
        """Return a class of connections; urllib3 is loaded late, and its classes with it."""
        connections = self
        is_encrypted = issubclass(base, load("urllib3.connection").HTTPSConnection)
        errors = load("urllib3.exceptions")
        http_response = load("http.client").HTTPResponse

        class Connection(base):  # type: ignore[misc]
            line: Line | None = None
            # A reader refers to its connection. A strong reference back would make the two garbage.
            reader: Callable[[], _Reader | None] = staticmethod(lambda: None)

            def connect(self) -> None:
                if is_encrypted:
                    self.ssl_context = connections.tls_context()
                super().connect()

            def _new_conn(self) -> socket.socket:
                # As urllib3 does it, but each socket can be cut while it connects.
                problem: OSError = OSError("the host has no address")
                try:
                    host = self._dns_host.strip("[]")
                    found = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
                except socket.gaierror as error:
                    raise errors.NameResolutionError(self.host, self, error) from error
                for family, kind, protocol, _, address in found:
                    try:
                        end, self.line = connections._make(family, kind, protocol)
                    except OSError as error:
                        problem = error
                        continue
                    except Unreachable as error:
                        raise errors.NewConnectionError(self, str(error)) from error
                    try:
                        for option in self.socket_options or ():
                            end.setsockopt(*option)
                        end.settimeout(self.timeout)
                        end.connect(address)
                    except OSError as error:
                        end.close()
                        self._release()
                        problem = error
                    else:
                        connections._open.add(self)
                        return end
                raise errors.NewConnectionError(self, str(problem)) from problem

            def getresponse(self) -> Any:
                response = super().getresponse()
                reader = self.reader()
                if reader is not None:
                    reader.deadline = None
                return response

            def response_class(self, end: Any, **options: Any) -> Any:
                response = http_response(end, **options)
                deadline = time.monotonic() + head_seconds
                reader = _Reader(response.fp.detach(), deadline, self._release)
                self.reader = weakref.ref(reader)
                response.fp = io.BufferedReader(reader)
                return response

            def close(self) -> None:
                super().close()
                self._release()

            def _release(self) -> None:
                """Release the line once neither the connection nor its response needs it."""
                reader = self.reader()
                response_is_open = reader is not None and not reader.closed
                if self.sock is None and not response_is_open and self.line is not None:
                    line, self.line = self.line, None
                    connections._remove(line)
                    connections._open.discard(self)

        return Connection


def _state(path: str | None) -> tuple[str, int, int, int] | None:
    """Return what changes when a file or folder is replaced; None: there is none."""
    try:
        status = None if path is None else os.stat(path)  # noqa: PTH116 - pathlib is slow to import
    except OSError:
        return None
    return (
        None if status is None else (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
    )


class _Reader(io.RawIOBase):
    """Reads a socket, up to a deadline while there is one."""

    def __init__(self, raw: io.RawIOBase, deadline: float, closed: Any) -> None:
        self._raw = raw
        self._on_close = closed
        self.deadline: float | None = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise TimeoutError("the head of the response takes too long")
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
            super().close()
            self._on_close()
