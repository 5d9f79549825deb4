"""The address of a store: one server, a primary that Sentinels watch, or a Cluster.

    unix:///path/to.sock
    valkey://[user:password@]host[:6379][/database]           valkeys:// with TLS
    valkey-sentinel://[user:password@]host[:26379],host,.../service[/database][?options]
    valkey-cluster://[user:password@]host[:6379],host,...[?options]

``redis://`` and ``rediss://`` mean the same as ``valkey://`` and ``valkeys://``. Options with TLS:
``ca``, a file of authorities to trust, besides those of the machine; ``cert`` and ``key``,
files of a certificate for the store to check. Options of the last two: ``tls=true``;
``replicas=N``, how many replicas confirm a commit; ``sentinel_user`` and ``sentinel_password``.
User and password are those of an ACL user, percent-encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tidegate_server.errors import StartupRefused

MOST_REPLICAS = 5
SINGLE_SCHEMES: Mapping[str, str] = {
    "unix": "unix",
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
}
"""The schemes of a single server, and the client library's words for them."""

TLS_FILES: Mapping[str, str] = {"ca": "ssl_ca_certs", "cert": "ssl_certfile", "key": "ssl_keyfile"}
"""The options that name files, and the client library's words for them."""

SINGLE_OPTIONS = frozenset({"db", *TLS_FILES})
CLUSTER_OPTIONS = frozenset({"tls", "replicas", *TLS_FILES})
SENTINEL_OPTIONS = frozenset({"sentinel_user", "sentinel_password", *CLUSTER_OPTIONS})

HELP = (
    "use valkey://host:6379/0, valkeys://host:6379/0 (with TLS), unix:///path/to.sock, "
    "valkey-sentinel://host:26379,host:26379/service or valkey-cluster://host:6379,host:6379"
)


class Topology(Enum):
    """What kind of store an address names."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A parsed address.

    Attributes:
        topology: what kind of store it is.
        url: of a single server, in the client library's form, without options.
        hosts: the Sentinels, or some nodes of the Cluster, with their ports.
        service: what the Sentinels call the primary.
        credentials: arguments of the client library: database, user, password, TLS.
        sentinel_credentials: the same for the Sentinels.
        replicas: how many replicas confirm a commit.
    """

    topology: Topology
    url: str = field(default="", repr=False)
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    credentials: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_credentials: Mapping[str, Any] = field(default_factory=dict, repr=False)
    replicas: int = 0


def parse_store_url(url: str) -> StoreAddress:
    """Return what an address names.

    Raises:
        StartupRefused: it is not valid; the message has no part that may be secret.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in SINGLE_SCHEMES:
        return _parse_single(SINGLE_SCHEMES[scheme], rest)
    if separator and scheme == "valkey-sentinel":
        return _parse_sentinel(url)
    if separator and scheme == "valkey-cluster":
        return _parse_cluster(url)
    raise StartupRefused(f"TIDEGATE_STORE_URL starts with {urlsplit(url).scheme!r}; {HELP}.")


def _parse_single(scheme: str, rest: str) -> StoreAddress:
    place, _, query = rest.partition("?")
    options = _options(query, SINGLE_OPTIONS)
    credentials: dict[str, Any] = {}
    if database := options.get("db"):
        credentials["db"] = _database(database)
    if scheme == "rediss":
        credentials |= {"ssl": True, **_tls_files(options)}
    elif given := sorted(options.keys() & TLS_FILES):
        raise _refused(f"has the option {given[0]}, which needs TLS: valkeys://")
    return StoreAddress(Topology.SINGLE, f"{scheme}://{place}", credentials=credentials)


def _parse_sentinel(url: str) -> StoreAddress:
    user, hosts, path, options = _parts(url, 26379, SENTINEL_OPTIONS)
    service, _, database = path.partition("/")
    if not service:
        raise _refused("needs the name of the service that the Sentinels watch: .../service")
    tls = _tls(options)
    sentinel = {
        name: options[option]
        for name, option in (("username", "sentinel_user"), ("password", "sentinel_password"))
        if option in options
    }
    return StoreAddress(
        Topology.SENTINEL,
        hosts=hosts,
        service=service,
        credentials={**user, **tls, "db": _database(database or "0")},
        sentinel_credentials={**sentinel, **tls},
        replicas=_replicas(options),
    )


def _parse_cluster(url: str) -> StoreAddress:
    user, hosts, path, options = _parts(url, 6379, CLUSTER_OPTIONS)
    if path:
        raise _refused("has a path, but a Cluster has no databases")
    return StoreAddress(
        Topology.CLUSTER,
        hosts=hosts,
        credentials={**user, **_tls(options)},
        replicas=_replicas(options),
    )


def _parts(
    url: str, port: int, known: frozenset[str]
) -> tuple[dict[str, str], tuple[tuple[str, int], ...], str, dict[str, str]]:
    """Return the user and password, the hosts, the path and the options of an address."""
    parts = urlsplit(url)
    names, _, places = parts.netloc.rpartition("@")
    user, _, password = names.partition(":")
    credentials = {"username": unquote(user), "password": unquote(password)}
    hosts = tuple(_host(each, port) for each in places.split(",") if each)
    if not hosts:
        raise _refused("names no host")
    options = _options(parts.query, known)
    path = unquote(parts.path).strip("/")
    return {name: value for name, value in credentials.items() if value}, hosts, path, options


def _options(query: str, known: frozenset[str]) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(options.keys() - known)
    if unknown:
        raise _refused(f"has an unknown option {unknown[0]!r}; known: {', '.join(sorted(known))}")
    return options


def _database(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise _refused("has a database that is no number")
    return int(text)


def _host(text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, given = parts.hostname, parts.port
    except ValueError:
        host = given = None
    # Python skips what stands before a bracket.
    if not host or "[" in text[1:]:
        raise _refused("has a host that cannot be read; separate hosts by commas, as host:port")
    return host, given or port


def _tls(options: Mapping[str, str]) -> dict[str, Any]:
    if options.get("tls", "false") not in ("true", "false"):
        raise _refused("has the option tls, which is true or false")
    if options.get("tls") == "true":
        return {"ssl": True, **_tls_files(options)}
    if given := sorted(options.keys() & TLS_FILES):
        raise _refused(f"has the option {given[0]}, which needs tls=true")
    return {}


def _tls_files(options: Mapping[str, str]) -> dict[str, Any]:
    if ("cert" in options) != ("key" in options):
        raise _refused("has one of the options cert and key, which need each other")
    return {word: options[name] for name, word in TLS_FILES.items() if name in options}


def _replicas(options: Mapping[str, str]) -> int:
    text = options.get("replicas", "1")
    if not (text.isascii() and text.isdigit() and int(text) <= MOST_REPLICAS):
        raise _refused(f"has the option replicas, which is a number from 0 to {MOST_REPLICAS}")
    return int(text)


def _refused(problem: str) -> StartupRefused:
    return StartupRefused(f"TIDEGATE_STORE_URL {problem}; {HELP}.")
