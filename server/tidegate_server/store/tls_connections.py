"""Connections of the client library with TLS, which share what they read from files."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any

from redis import SentinelManagedSSLConnection, SSLConnection

from tidegate_server.tls_contexts import tls_context


class TlsConnection(SSLConnection):
    """A connection with TLS. The library itself would read all authorities for each one."""

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        context = tls_context(self.ca_certs, self.certfile, self.keyfile)
        return context.wrap_socket(sock, server_hostname=self.host)


class PrimaryTlsConnection(SentinelManagedSSLConnection, TlsConnection):
    """The same, to the primary that the Sentinels name."""


def with_shared_tls(
    credentials: Mapping[str, Any], connection_class: type[SSLConnection] = TlsConnection
) -> dict[str, Any]:
    """Return arguments of a pool of connections that share one context, if they ask for TLS."""
    arguments = dict(credentials)
    if arguments.pop("ssl", False):
        arguments["connection_class"] = connection_class
    return arguments
