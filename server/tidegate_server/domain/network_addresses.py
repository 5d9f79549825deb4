"""Decides which IP addresses requests may go to: public ones, and networks that are allowed.

Whoever writes a webhook chooses an address that the server connects to. Without a limit they
would reach what only the server reaches: its own ports, a cloud's metadata service, the network
behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

_NOT_PUBLIC_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # where each machine in Azure reads its own settings and secrets
        "169.254.0.0/16",  # link-local, with the metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
"""IANA's special-purpose addresses, multicast, and one address of a cloud."""

_IPV6_UNICAST = IPv6Network("2000::/3")
"""The only part of IPv6 that has public addresses."""

_NOT_PUBLIC_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, with Teredo, which embeds IPv4 addresses
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which embeds IPv4 addresses
        "3fff::/20",  # documentation
    )
)

_NAT64 = IPv6Network("64:ff9b::/96")
"""How hosts without IPv4 reach IPv4 addresses; the last four bytes are the address."""

_INET_ATON_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")


@dataclass(frozen=True, slots=True)
class AllowedNetworks:
    """The addresses that requests may go to: public ones, and those in ``networks``."""

    networks: tuple[IPNetwork, ...] = ()

    def permits(self, address: IPAddress) -> bool:
        """Return whether a request may go to an address."""
        address = _without_mapping(address)
        return _is_public(address) or any(address in network for network in self.networks)

    def permits_host(self, host: str) -> bool:
        """Return False if the host of a URL is itself an address that is not permitted.

        Other hosts are names. Their addresses are checked when a connection is made.
        """
        addresses = _literal_addresses(host)
        return not addresses or any(map(self.permits, addresses))


PUBLIC_ONLY = AllowedNetworks()
EVERY_ADDRESS = AllowedNetworks((IPv4Network("0.0.0.0/0"), IPv6Network("::/0")))


def _without_mapping(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that an address like ``::ffff:10.0.0.1`` is another form of."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_public(address: IPAddress) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_IPV4)
    if address in _NAT64:
        return _is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _IPV6_UNICAST and not any(address in each for each in _NOT_PUBLIC_IPV6)


def _literal_addresses(host: str) -> tuple[IPAddress, ...]:
    """Return the addresses that a host stands for without a lookup; none for other names.

    That includes the old notations of IPv4 that resolvers accept: ``127.1``, ``0x7f000001``,
    ``017700000001``.
    """
    host = host.lower().removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return (IPv4Address("127.0.0.1"), IPv6Address("::1"))
    try:
        return (ip_address(host),)
    except ValueError:
        number = _inet_aton(host)
        return () if number is None else (IPv4Address(number),)


def _inet_aton(text: str) -> int | None:
    """Return the number of an IPv4 address as the C function ``inet_aton`` reads it."""
    parts = text.split(".")
    if len(parts) > 4 or not all(map(_INET_ATON_NUMBER.fullmatch, parts)):
        return None
    try:
        *leading, last = (_c_number(part) for part in parts)
    except ValueError:
        return None
    if any(number > 0xFF for number in leading) or last >= 256 ** (4 - len(leading)):
        return None
    return sum(number << 8 * (3 - place) for place, number in enumerate(leading)) + last


def _c_number(text: str) -> int:
    """Return a number whose prefix says its base, as in C; raises ``ValueError``."""
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)
