"""Connections with TLS: what they trust, and that it is read once."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tidegate.errors import Unreachable
from tidegate.transport import Transport

from tests.topologies import Certificate, two_certificates

ANSWER = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Certificate, Certificate]:
    return two_certificates(tmp_path)


@contextmanager
def serving(certificate: Certificate) -> Iterator[str]:
    """Answer each connection once, with TLS; yield the address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with suppress(OSError), context.wrap_socket(connection, server_side=True) as end:
                    end.recv(65_536)
                    end.sendall(ANSWER)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_the_authorities_are_read_once_and_again_when_they_are_replaced(
    certificates: tuple[Certificate, Certificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = certificates
    monkeypatch.setenv("SSL_CERT_FILE", str(first.path))
    read: list[object] = []
    load = ssl.SSLContext.load_default_certs

    def counted(self: ssl.SSLContext, *arguments: ssl.Purpose) -> None:
        read.append(self)
        load(self, *arguments)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", counted)
    with serving(first) as old, serving(second) as new:
        transport = Transport(old, "token")
        for _ in range(3):
            assert transport.snapshot(None) == b"{}"
        assert len(read) == 1
        transport.connections.close()
        transport = Transport(new, "token")
        with pytest.raises(Unreachable, match="certificate"):
            transport.snapshot(None)
        read.clear()
        shutil.move(second.path, first.path)
        for _ in range(3):
            assert transport.snapshot(None) == b"{}"
        assert len(read) == 1
        transport.connections.close()
