"""Networks of IP addresses: one form for two notations of IPv4."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAPPED_PREFIX: Final = 96
"""The bits before the IPv4 address in an IPv4-mapped IPv6 address."""


def parse_network(text: str) -> Network:
    """Return a network; one of IPv4-mapped addresses is the network of these IPv4 addresses.

    Raises:
        ValueError: it is not a network, or has bits after the prefix.
    """
    network = ipaddress.ip_network(text)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < MAPPED_PREFIX:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - MAPPED_PREFIX))


def in_networks(networks: Sequence[Network]) -> Callable[[Any], bool]:
    """Return the test of whether a value is the text of an address in one of the networks."""

    def test(actual: Any) -> bool:
        if not isinstance(actual, str):
            return False
        try:
            address = ipaddress.ip_address(actual)
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any(
            address in network or (mapped is not None and mapped in network) for network in networks
        )

    return test
