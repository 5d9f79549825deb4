"""Requests go to public addresses, and to others only if the operator allows their network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.domain.network_addresses import EVERY_ADDRESS, PUBLIC_ONLY, AllowedNetworks

PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "168.63.129.15",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "::ffff:1.1.1.1",
    "64:ff9b::1.1.1.1",
]
INNER = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1.1.1.1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:101:101::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::a9fe:a9fe%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_permitted(address: str) -> None:
    assert PUBLIC_ONLY.permits(ip_address(address))


@pytest.mark.parametrize("address", INNER)
def test_other_addresses_are_not(address: str) -> None:
    assert not PUBLIC_ONLY.permits(ip_address(address))
    assert EVERY_ADDRESS.permits(ip_address(address))


@given(st.ip_addresses())
def test_whatever_python_calls_not_global_is_not_permitted(
    address: IPv4Address | IPv6Address,
) -> None:
    if PUBLIC_ONLY.permits(address) and address not in ip_network("64:ff9b::/96"):
        plain = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        assert (plain or address).is_global


def test_an_allowed_network_permits_its_addresses_in_every_form_and_no_others() -> None:
    allowed = AllowedNetworks((ip_network("10.1.0.0/16"), ip_network("fd12::/16")))
    for inside in ("10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "fd12::1"):
        assert allowed.permits(ip_address(inside))
    for outside in ("10.0.0.1", "10.2.0.0", "127.0.0.1", "64:ff9b::10.1.2.3", "fd13::1", "::1"):
        assert not allowed.permits(ip_address(outside))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f.1",
        "0x7F000001",
        "017700000001",
        "0177.0.0.01",
        "0",
        "0x",
        "localhost",
        "Localhost.",
        "tidegate.localhost",
        "169.254.169.254",
        "0xa9fea9fe",
        "10.256",
        "::1",
        "::ffff:127.0.0.1",
        "fe80::1%eth0",
    ],
)
def test_a_host_that_spells_an_inner_address_is_not_permitted(host: str) -> None:
    assert not PUBLIC_ONLY.permits_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "ops.example.com",
        "127.0.0.1.example.com",
        "1.1.1.1",
        "0x01010101",
        "2606:4700:4700::1111",
        # None of these is an address, in any notation.
        "256.1.1.1",
        "1.2.3.4.5",
        "09.1.1.1",
        "4294967296",
        "0xg",
        "10..1",
        "",
    ],
)
def test_public_addresses_and_names_are_permitted_as_hosts(host: str) -> None:
    assert PUBLIC_ONLY.permits_host(host)


def test_localhost_is_permitted_where_loopback_is() -> None:
    loopback = AllowedNetworks((ip_network("127.0.0.1/32"),))
    assert loopback.permits_host("localhost")
    assert loopback.permits_host("127.1")
    assert not loopback.permits_host("127.0.0.2")
