"""How many connections a web process holds, and how many of them one address may have.

Every connection is an open file. The soft limit of open files is often 1,024, far below the hard
one, which a process may use without asking.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Sequence

from tidegate_server.domain.network_addresses import IPNetwork
from tidegate_server.web.trusted_proxies import network_of, parse_address

MOST_CONNECTIONS = 12_000
"""The most open connections of a web process, event streams included: memory sets this limit."""

RESERVED_FILES = 256
"""Files that a web process needs for everything else: the store, its code, its log."""

MOST_FILES = 1 << 20
"""Used where the hard limit is infinite, and the kernel accepts less."""


def raise_file_limit() -> int:
    """Raise this process's soft limit of open files to the hard one, and return it.

    Processes that it starts inherit the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_FILES if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):  # macOS has another limit, which is not asked for here
        return soft
    return wanted


def connections_of(files: int) -> int:
    """Return how many connections a web process can hold with a limit of open files."""
    return max(16, min(MOST_CONNECTIONS, files - RESERVED_FILES))


class AddressLimit:
    """Counts the connections of each address. Use it from one thread (greenlets may share it).

    The addresses of an IPv6 network count as one.

    Args:
        most: how many connections one address may have.
        exempt: addresses without a limit: proxies, whose connections are those of many clients.
    """

    def __init__(self, most: int, exempt: Sequence[IPNetwork]) -> None:
        self._most = most
        self._exempt = tuple(exempt)
        self._open: Counter[str] = Counter()

    def enter(self, address: str) -> str | None:
        """Count a new connection, and return what it counts for.

        Returns:
            What ``leave`` takes; None: it is one too many, and was not counted.
        """
        name = network_of(address)
        if self._open[name] >= self._most and not self._exempts(address):
            return None
        self._open[name] += 1
        return name

    def leave(self, name: str) -> None:
        """Count a connection that has ended."""
        self._open[name] -= 1
        if self._open[name] <= 0:
            del self._open[name]

    def _exempts(self, text: str) -> bool:
        # Only asked for the addresses with the most connections.
        address = parse_address(text)
        return address is None or any(address in network for network in self._exempt)
