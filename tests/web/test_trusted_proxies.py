"""Forwarded headers count only from trusted proxies, and nobody else sees them."""

from __future__ import annotations

from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tidegate_server.processes.settings import parse_trusted_proxies
from tidegate_server.web.trusted_proxies import LOOPBACK, TrustedProxies, network_of, parse_address

TRUSTED = "127.0.0.1, ::1, 10.0.0.0/8"


def forward(
    peer: str, networks: str = TRUSTED, scheme: str = "http", **headers: str
) -> WSGIEnvironment:
    """Return the environment that an application sees."""
    seen: list[WSGIEnvironment] = []

    def application(environ: WSGIEnvironment, _: StartResponse) -> list[bytes]:
        seen.append(environ)
        return []

    environ: dict[str, Any] = {
        "REMOTE_ADDR": peer,
        "wsgi.url_scheme": scheme,
        "HTTP_HOST": "internal:8080",
        **{f"HTTP_{name}": value for name, value in headers.items()},
    }
    TrustedProxies(application, parse_trusted_proxies(networks))(
        environ, lambda *_: lambda __: None
    )
    return seen[0]


def address(peer: str, forwarded: str, networks: str = TRUSTED) -> str:
    return str(forward(peer, networks, X_FORWARDED_FOR=forwarded)["REMOTE_ADDR"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("127.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        # What a client sends itself stands further left than what the proxy saw.
        ("127.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
        ("127.0.0.1", "10.2.2.2, 10.1.1.1", "10.2.2.2"),
        # From someone else it counts for nothing.
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        # What is no address ends the chain at the proxy that passed it on.
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.7, _hidden, 10.1.1.1", "10.1.1.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", " , ,", "127.0.0.1"),
    ],
)
def test_the_address_is_the_first_that_no_trusted_proxy_has(
    peer: str, forwarded: str, expected: str
) -> None:
    assert address(peer, forwarded) == expected


def test_without_trusted_proxies_no_header_counts() -> None:
    seen = forward(
        "127.0.0.1",
        "",
        X_FORWARDED_FOR="203.0.113.7",
        X_FORWARDED_PROTO="https",
        X_FORWARDED_HOST="evil.example",
    )
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == ("127.0.0.1", "http")
    assert seen["HTTP_HOST"] == "internal:8080"


@pytest.mark.parametrize("peer", ["127.0.0.1", "203.0.113.9", ""])
def test_the_application_sees_no_forwarded_header(peer: str) -> None:
    seen = forward(
        peer,
        X_FORWARDED_FOR="1.2.3.4",
        X_FORWARDED_PREFIX="/admin",
        X_FORWARDED_PORT="99",
        FORWARDED="for=1.2.3.4",
        X_REAL_IP="1.2.3.4",
    )
    assert not [name for name in seen if "FORWARDED" in name or "REAL_IP" in name]


@pytest.mark.parametrize(
    ("forwarded_for", "proto", "host", "expected"),
    [
        ("203.0.113.7", "https", "flags.example", ("https", "flags.example")),
        ("203.0.113.7, 10.1.1.1", "https, http", "a.example:8443, b", ("https", "a.example:8443")),
        # One proxy: what stands further left came from the client.
        ("203.0.113.7", "http, https", "evil.example, a.example", ("https", "a.example")),
        ("203.0.113.7", "javascript", "a b", ("http", "internal:8080")),
        ("203.0.113.7", "HTTPS", "[2001:db8::1]:443", ("https", "[2001:db8::1]:443")),
        ("203.0.113.7", "", "", ("http", "internal:8080")),
    ],
)
def test_the_url_is_what_the_outermost_trusted_proxy_received(
    forwarded_for: str, proto: str, host: str, expected: tuple[str, str]
) -> None:
    seen = forward(
        "127.0.0.1",
        X_FORWARDED_FOR=forwarded_for,
        X_FORWARDED_PROTO=proto,
        X_FORWARDED_HOST=host,
    )
    assert (seen["wsgi.url_scheme"], seen["HTTP_HOST"]) == expected


def test_a_proxy_that_is_not_trusted_is_named_once() -> None:
    proxies = TrustedProxies(lambda *_: [], LOOPBACK)
    with capture_logs() as logged:
        for _ in range(2):
            environ = {"REMOTE_ADDR": "172.17.0.1", "HTTP_X_FORWARDED_FOR": "1.2.3.4"}
            proxies(environ, lambda *_: lambda __: None)
    (warning,) = logged
    assert (warning["event"], warning["address"]) == ("forwarded_headers_ignored", "172.17.0.1")
    assert "TIDEGATE_TRUSTED_PROXIES" in warning["fix"]


@given(st.text(), st.text())
def test_any_header_gives_an_address(forwarded: str, host: str) -> None:
    seen = forward("127.0.0.1", X_FORWARDED_FOR=forwarded, X_FORWARDED_HOST=host)
    assert parse_address(seen["REMOTE_ADDR"]) is not None
    assert "\n" not in seen["HTTP_HOST"]


def test_the_addresses_of_one_ipv6_network_count_as_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("no address") == "no address"
