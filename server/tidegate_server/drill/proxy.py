"""A proxy on loopback between the application and the server, which can be cut like a network.

Threads: one accepts, and two for each connection pass bytes on. ``_lock`` guards ``_open``;
``_flows`` is set while bytes pass.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

BLOCK = 65_536
"""Bytes that are passed on at a time."""

CONNECT_SECONDS = 2.0


class Proxy:
    """Passes connections on to a port of this machine until it is cut.

    Args:
        target: the port to pass them on to.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._drops = False
        self._flows = threading.Event()
        self._flows.set()
        threading.Thread(target=self._accept, name="drill-proxy", daemon=True).start()

    @property
    def url(self) -> str:
        """The address that the application uses."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def drop(self) -> None:
        """Close every connection, and each new one at once."""
        self._drops = True
        self._close_all()

    def hang(self) -> None:
        """Keep every connection open, accept new ones, and let no byte pass."""
        self._flows.clear()

    def mend(self) -> None:
        """Pass everything on again; what waited while nothing passed arrives now."""
        self._drops = False
        self._flows.set()

    def close(self) -> None:
        """Close every connection, and accept no more."""
        self._drops = True
        self._flows.set()
        # Closing alone does not wake the thread that accepts.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._close_all()

    def _close_all(self) -> None:
        with self._lock:
            connections, self._open = self._open, set()
        for each in connections:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self._drops:
                return
            address = ("127.0.0.1", self._target)
            with socket.create_connection(address, timeout=CONNECT_SECONDS) as server:
                server.settimeout(None)
                with self._lock:
                    self._open |= {client, server}
                if self._drops:  # since it was asked
                    return
                back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
                back.start()
                self._pass_on(client, server)
                back.join()
                with self._lock:
                    self._open -= {client, server}

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(BLOCK):
                self._flows.wait()
                target.sendall(part)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
