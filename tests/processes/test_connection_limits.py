from __future__ import annotations

import resource
import subprocess
import sys
from ipaddress import ip_network

import pytest
from tidegate_server.processes.connection_limits import (
    MOST_CONNECTIONS,
    AddressLimit,
    connections_of,
)

RAISE = (
    "from tidegate_server.processes.connection_limits import raise_file_limit;"
    "import resource; print(raise_file_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
)


def test_the_soft_limit_of_open_files_becomes_the_hard_one() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 700))

    ran = subprocess.run(
        [sys.executable, "-c", RAISE],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["700", "700"]


@pytest.mark.parametrize(("files", "connections"), [(1_024, 768), (10**6, MOST_CONNECTIONS)])
def test_files_and_memory_limit_the_connections(files: int, connections: int) -> None:
    assert connections_of(files) == connections


class TestAnAddress:
    def test_has_so_many_connections_and_may_open_another_when_one_ends(self) -> None:
        limit = AddressLimit(2, ())
        assert [limit.enter("192.0.2.1") for _ in range(3)] == ["192.0.2.1", "192.0.2.1", None]
        assert limit.enter("192.0.2.2") is not None
        limit.leave("192.0.2.1")
        assert limit.enter("192.0.2.1") is not None

    def test_of_a_proxy_has_no_limit(self) -> None:
        limit = AddressLimit(1, (ip_network("192.0.2.0/24"),))
        assert None not in [limit.enter("192.0.2.1") for _ in range(5)]
        assert limit.enter("198.51.100.1") is not None
        assert limit.enter("198.51.100.1") is None

    def test_of_ipv6_counts_with_its_network(self) -> None:
        limit = AddressLimit(2, ())
        assert limit.enter("2001:db8::1") is not None
        assert limit.enter("2001:db8::2") is not None
        assert limit.enter("2001:db8::3") is None
        assert limit.enter("2001:db8:0:1::1") is not None

    def test_of_ipv4_is_the_same_in_the_form_of_ipv6(self) -> None:
        limit = AddressLimit(1, ())
        assert limit.enter("::ffff:192.0.2.1") is not None
        assert limit.enter("192.0.2.1") is None
