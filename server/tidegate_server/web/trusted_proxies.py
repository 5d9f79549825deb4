"""Who sent a request and under which URL, when a proxy passed it on.

Forwarded headers are read here and nowhere else: the application never sees them. Anyone can send
them, so they count only if a trusted proxy did.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog

from tidegate_server.domain.network_addresses import IPAddress, IPNetwork

LOOPBACK: tuple[IPNetwork, ...] = (IPv4Network("127.0.0.1"), IPv6Network("::1"))
"""A proxy on the same machine."""

IPV6_PREFIX = 64
"""Whoever has one address of such a network usually has all."""

FORWARDED = "HTTP_X_FORWARDED_"
OTHER_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_REAL_IP")
SCHEMES = ("http", "https")

log = structlog.stdlib.get_logger("tidegate_server.api")

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_WITH_PORT = re.compile(r"(?:\[([^\]]*)\]|([0-9.]+))(?::[0-9]{1,5})?")


def parse_address(text: str) -> IPAddress | None:
    """Return the address in an item of ``X-Forwarded-For``, without its port; None: it has none."""
    match = _WITH_PORT.fullmatch(text.strip())
    if match is not None:
        text = match[1] or match[2]
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    return _unmapped(address)


def network_of(text: str) -> str:
    """Return what counts as one address: itself, or its network if it is an IPv6 address.

    A text that is no address stays as it is.
    """
    address = parse_address(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, IPV6_PREFIX), strict=False))
    return text if address is None else str(address)


def _unmapped(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that an IPv6 address stands for, else the address itself."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


class TrustedProxies:
    """A WSGI application that tells another one who sent each request, and under which URL.

    ``REMOTE_ADDR``, ``wsgi.url_scheme`` and ``HTTP_HOST`` are those of the client. A request from a
    peer that is not trusted keeps its own, and all forwarded headers are removed.

    Args:
        application: the application.
        networks: the addresses of the proxies whose headers count.
    """

    def __init__(self, application: WSGIApplication, networks: Sequence[IPNetwork]) -> None:
        self._application = application
        self._networks = tuple(networks)
        self._warned = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request."""
        names = [name for name in environ if name.startswith(FORWARDED) or name in OTHER_FORWARDED]
        if names:
            self._apply(environ, {name: environ.pop(name) for name in names})
        return self._application(environ, start_response)

    def _apply(self, environ: WSGIEnvironment, forwarded: dict[str, Any]) -> None:
        peer = parse_address(environ.get("REMOTE_ADDR", ""))
        if peer is None or not self._trusts(peer):
            self._warn_once(peer)
            return
        address, hops = peer, 1
        for item in reversed(_items(forwarded, "FOR")):
            before = parse_address(item)
            if before is None:
                break
            address = before
            if not self._trusts(before):
                break
            hops += 1
        environ["REMOTE_ADDR"] = str(address)
        scheme = _item(forwarded, "PROTO", hops).lower()
        if scheme in SCHEMES:
            environ["wsgi.url_scheme"] = scheme
        host = _item(forwarded, "HOST", hops)
        if _HOST.fullmatch(host):
            environ["HTTP_HOST"] = host

    def _trusts(self, address: IPAddress) -> bool:
        return any(address in network for network in self._networks)

    def _warn_once(self, peer: IPAddress | None) -> None:
        if self._warned:
            return
        self._warned = True
        log.warning(
            "forwarded_headers_ignored",
            address=str(peer),
            fix="if this is your proxy, name it in TIDEGATE_TRUSTED_PROXIES; without that all "
            "its clients count as one",
        )


def _items(forwarded: dict[str, Any], name: str) -> list[str]:
    text = str(forwarded.get(FORWARDED + name, ""))
    return [item.strip() for item in text.split(",") if item.strip()]


def _item(forwarded: dict[str, Any], name: str, hops: int) -> str:
    """Return what the outermost trusted proxy said: each proxy adds an item, or replaces all."""
    items = _items(forwarded, name)
    return items[-min(hops, len(items))] if items else ""
