"""Looks up host names within a time limit.

Nothing can interrupt the system's resolver. So each lookup runs in a thread of its own, which is
abandoned when the time is over, and the number of such threads is limited.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from typing import Any

from tidegate_server.domain.network_addresses import IPAddress
from tidegate_server.outbound.bounded_threads import BoundedThreads

MAX_LOOKUPS_PER_HOST = 4
MAX_LOOKUPS = 128


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that a socket can connect to.

    Attributes:
        ip: the IP address.
        family: its address family.
        address: the address and the port as ``socket.connect`` takes them.
    """

    ip: IPAddress
    family: int
    address: Any


class NameLookup:
    """Looks up host names, each in a thread."""

    def __init__(self) -> None:
        self._threads = BoundedThreads("tidegate-lookup", MAX_LOOKUPS_PER_HOST, MAX_LOOKUPS)

    def endpoints(self, host: str, port: int, timeout_s: float) -> list[Endpoint]:
        """Return the endpoints of a host name or address, in the order to try them.

        Raises:
            TimeoutError: the time was over before.
            OSError: the name is unknown, or too many lookups are under way.
            UnicodeError: the name cannot exist.
        """
        results: SimpleQueue[list[Endpoint] | Exception] = SimpleQueue()

        def look_up() -> None:
            try:
                results.put(_resolve(host, port))
            except Exception as error:
                results.put(error)

        if not self._threads.start(host, look_up):
            raise OSError(None, "too many lookups of host names are under way")
        try:
            result = results.get(timeout=max(0.0, timeout_s))
        except Empty:
            raise TimeoutError from None
        if isinstance(result, Exception):
            raise result
        return result


def _resolve(host: str, port: int) -> list[Endpoint]:
    return [
        Endpoint(ip_address(address[0]), family, address)
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if family in (socket.AF_INET, socket.AF_INET6)
    ]
