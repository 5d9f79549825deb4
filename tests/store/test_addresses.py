from __future__ import annotations

import pytest
from tidegate_server.errors import StartupRefused
from tidegate_server.store.addresses import Topology, parse_store_url


@pytest.mark.parametrize(
    ("url", "meaning"),
    [
        ("valkey://host:6379/2", "redis://host:6379/2"),
        ("valkeys://dana:x%20y@host", "rediss://dana:x%20y@host"),
        ("redis://host", "redis://host"),
        ("unix:///a folder/store.sock", "unix:///a folder/store.sock"),
    ],
)
def test_a_single_server_has_the_client_librarys_address(url: str, meaning: str) -> None:
    address = parse_store_url(url)
    assert (address.topology, address.url, address.replicas) == (Topology.SINGLE, meaning, 0)


def test_a_single_server_may_have_a_database_and_files_for_tls() -> None:
    address = parse_store_url("valkeys://dana:a%3Fb@host?db=4&ca=/a%20b/ca.pem&cert=/c&key=/k")
    files = {"ssl_ca_certs": "/a b/ca.pem", "ssl_certfile": "/c", "ssl_keyfile": "/k"}
    assert address.url == "rediss://dana:a%3Fb@host"
    assert address.credentials == {"db": 4, "ssl": True, **files}


def test_sentinels_name_a_service_and_may_have_users_of_their_own() -> None:
    address = parse_store_url(
        "valkey-sentinel://tide%40gate:p%2Fw@a,b:26380,[::1]:1/flags/3"
        "?tls=true&ca=/etc/ca.pem&sentinel_user=watch&sentinel_password=hush&replicas=2"
    )
    tls = {"ssl": True, "ssl_ca_certs": "/etc/ca.pem"}
    assert address.topology is Topology.SENTINEL
    assert address.hosts == (("a", 26379), ("b", 26380), ("::1", 1))
    assert (address.service, address.replicas) == ("flags", 2)
    assert address.credentials == {"username": "tide@gate", "password": "p/w", "db": 3, **tls}
    assert address.sentinel_credentials == {"username": "watch", "password": "hush", **tls}


def test_a_cluster_has_nodes_and_a_replica_confirms_commits() -> None:
    address = parse_store_url("valkey-cluster://:hush@a:7000,b")
    assert address.topology is Topology.CLUSTER
    assert address.hosts == (("a", 7000), ("b", 6379))
    assert (address.credentials, address.replicas) == ({"password": "hush"}, 1)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("valkey://a/0?ca=/x", "ca, which needs TLS: valkeys://"),
        ("valkeys://a/0?key=/x", "cert and key, which need each other"),
        ("valkeys://a/0?replicas=1", "unknown option 'replicas'"),
        ("unix:///x?db=y", "a database that is no number"),
        ("valkey-sentinel://a:1", "needs the name of the service"),
        ("valkey-sentinel://a/flags/x", "a database that is no number"),
        ("valkey-sentinel:///flags", "names no host"),
        ("valkey-sentinel://a:x/flags", "a host that cannot be read"),
        ("valkey-sentinel://a[::1]/flags", "a host that cannot be read"),
        ("valkey-cluster://a/0", "a Cluster has no databases"),
        ("valkey-cluster://a?relicas=1", "unknown option 'relicas'"),
        ("valkey-cluster://a?replicas=many", "replicas, which is a number"),
        ("valkey-cluster://a?tls=yes", "tls, which is true or false"),
        ("valkey-cluster://a?ca=/x", "ca, which needs tls=true"),
    ],
)
def test_the_error_says_what_is_wrong_and_no_secret(url: str, problem: str) -> None:
    with pytest.raises(StartupRefused, match="TIDEGATE_STORE_URL") as refused:
        parse_store_url(url.replace("://", "://dana:hush@", 1))
    assert problem in refused.value.message
    assert "hush" not in refused.value.message
