"""Real stores of every topology, started on loopback from the embedded server's program.

Each has a primary with replicas that keep append-only files, like a store in production. The
embedded server's program has no TLS; the one of Debian's ``valkey-tools`` has.
"""

from __future__ import annotations

import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError
from tidegate_server.store.embedded import find_server

from examples.shop.processes import free_port
from tests.waiting import until

HOST, NAME = "127.0.0.1", "localhost"
SERVICE = "tidegate"


class Certificate:
    """A certificate for one host that is its own authority, for servers and clients.

    Attributes:
        host: what clients have to call the host: its address, or ``NAME``.
        path: the certificate.
        key: its key.
        options: what an address has to use it.
    """

    def __init__(self, folder: Path, host: str = HOST) -> None:
        self.host = host
        self.path, self.key = folder / "certificate.pem", folder / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=store"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-keyout", str(self.key), "-out", str(self.path)),
                *("-addext", f"subjectAltName={'IP' if host == HOST else 'DNS'}:{host}"),
            ],
            check=True,
            capture_output=True,
        )
        self.options = f"ca={self.path}&cert={self.path}&key={self.key}"

    def settings(self, port: int) -> list[str]:
        """Return a server's settings: TLS everywhere, and no client without a certificate."""
        files = [f"tls-cert-file {self.path}", f"tls-key-file {self.key}"]
        everywhere = ["tls-replication yes", "tls-auth-clients yes"]
        return ["port 0", f"tls-port {port}", *files, f"tls-ca-cert-file {self.path}", *everywhere]

    def arguments(self) -> dict[str, Any]:
        """Return the client library's arguments to use it."""
        path = str(self.path)
        files = {"ssl_ca_certs": path, "ssl_certfile": path, "ssl_keyfile": str(self.key)}
        return {"ssl": True, **files}


def tls_program() -> str:
    """Return the path of a server program that has TLS; skip the test if there is none."""
    found = shutil.which("valkey-check-rdb")
    if found is None or shutil.which("openssl") is None:
        pytest.skip("needs valkey-check-rdb (valkey-tools) and openssl")
    return found


def two_certificates(folder: Path) -> tuple[Certificate, Certificate]:
    """Return one certificate to use and one to replace it; skip the test without openssl."""
    tls_program()
    folders = folder / "used", folder / "next"
    for each in folders:
        each.mkdir()
    return Certificate(folders[0]), Certificate(folders[1])


def count_contexts(monkeypatch: pytest.MonkeyPatch) -> list[ssl.SSLContext]:
    """Return a list to which every context that reads the machine's authorities is added."""
    made: list[ssl.SSLContext] = []
    make = ssl.create_default_context

    def counted(*arguments: Any, **options: Any) -> ssl.SSLContext:
        made.append(make(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", counted)
    return made


class Node:
    """One server process.

    Args:
        folder: where its data, settings and log are.
        settings: lines of its settings.
        port: where it listens.
        mode: ``sentinel`` for a Sentinel.
        tls: its certificate; None: it has no TLS.

    Attributes:
        host, port: where it listens.
    """

    def __init__(
        self,
        folder: Path,
        settings: Sequence[str],
        port: int,
        mode: str = "",
        tls: Certificate | None = None,
    ) -> None:
        self.port = port
        self._folder = folder
        self._program = find_server() if tls is None else tls_program()
        self.host = HOST if tls is None else tls.host
        self.arguments: dict[str, Any] = {} if tls is None else tls.arguments()
        self._words = ["--sentinel"] if mode == "sentinel" else []
        self._config = folder / f"{port}.conf"
        data = folder / str(port)
        data.mkdir()
        listening = [f"port {port}"] if tls is None else tls.settings(port)
        lines = [*listening, f"bind {HOST}", f"dir {data}", "daemonize no", *settings]
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        with (self._folder / f"{self.port}.log").open("ab") as log:
            # A program that is called valkey-check-rdb is the server under any other name.
            self._process = subprocess.Popen(
                ["valkey-server", str(self._config), *self._words],
                executable=self._program,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self.answers, f"the server at port {self.port}")

    def answers(self) -> bool:
        with suppress(RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self) -> redis.Redis:
        return redis.Redis(self.host, self.port, socket_timeout=5, **self.arguments)

    def run(self, *words: Any) -> Any:
        with self.client() as client:
            return client.execute_command(*words)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the process as ``kill -9`` does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def is_primary(self) -> bool:
        with suppress(RedisError), self.client() as client:
            return bool(client.info("replication")["role"] == "master")
        return False


class RunningTopology:
    """A store of several processes.

    Attributes:
        url: its address for servers.
        nodes: the processes with data.
    """

    def __init__(self, url: str, nodes: list[Node], others: Sequence[Node] = ()) -> None:
        self.url = url
        self.nodes = nodes
        self._others = others

    def __getattr__(self, name: str) -> Any:
        """Skip a test that asks for something that only a single server has."""
        pytest.skip(f"of a single server: {name}")

    def raw(self) -> Any:
        """Return a client that finds the primaries by itself."""
        raise NotImplementedError

    def primary_of(self, project: str) -> Node:
        """Return the primary that has a project."""
        raise NotImplementedError

    def fail_over(self, project: str) -> None:
        """Kill the primary of a project, wait for another one, and start the killed one again."""
        killed = self.primary_of(project)
        killed.kill()

        def is_replaced() -> bool:
            with suppress(RedisError, RedisClusterException, StopIteration):
                return self.primary_of(project) is not killed
            return False

        until(is_replaced, "another primary")
        killed.start()

    def stop(self) -> None:
        for node in [*self._others, *self.nodes]:
            with suppress(OSError):
                node.signal(signal.SIGCONT)
                node.kill()


class SentinelTopology(RunningTopology):
    """A primary with two replicas, watched by three Sentinels."""

    def add_sentinel_user(self, name: str, password: str) -> None:
        """Give every Sentinel a user with the permissions of docs/operations/production.md."""
        for each in self._others:
            each.run("ACL", "SETUSER", name, "on", f">{password}", "+ping", "+sentinel|masters")

    def raw(self) -> Any:
        return self.primary_of("").client()

    def primary_of(self, project: str) -> Node:
        return next(node for node in self.nodes if node.is_primary)


class RawCluster(RedisCluster):
    """A client that lists the keys of all nodes."""

    def keys(self, pattern: Any = "*", **more: Any) -> Any:
        return list(self.scan_iter(pattern))


class ClusterTopology(RunningTopology):
    """Three primaries with one replica each."""

    def raw(self) -> Any:
        return RawCluster(HOST, self.nodes[0].port, **self.nodes[0].arguments)

    def primary_of(self, project: str) -> Node:
        node = next(node for node in self.nodes if node.answers())
        with RedisCluster(HOST, node.port, **node.arguments) as cluster:
            place = cluster.get_node_from_key(f"tg:{{{project}}}:x")
        return next(node for node in self.nodes if node.port == place.port)


DURABLE = ("appendonly yes", "appendfsync everysec", 'save ""', "maxmemory-policy noeviction")


@contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="tg-topology-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def single_topology(settings: Sequence[str] = DURABLE) -> Iterator[tuple[Node, Certificate]]:
    """Run one server with TLS."""
    with _folder() as folder:
        certificate = _certificate(folder, HOST)
        node = Node(folder, settings, free_port(), tls=certificate)
        try:
            yield node, certificate
        finally:
            node.kill()


@contextmanager
def sentinel_topology(tls: bool = False) -> Iterator[SentinelTopology]:
    """Run a primary with two replicas under three Sentinels.

    With TLS the certificate is for a name, and so the Sentinels announce names.
    """
    with _folder() as folder:
        certificate = _certificate(folder, NAME) if tls else None
        host = HOST if certificate is None else certificate.host
        announced = () if certificate is None else (f"replica-announce-ip {host}",)
        nodes = [Node(folder, (*DURABLE, *announced), free_port(), tls=certificate)]
        primary = nodes[0].port
        for _ in range(2):
            replica = (f"replicaof {host} {primary}", "repl-diskless-sync-delay 0", *announced)
            nodes.append(Node(folder, (*DURABLE, *replica), free_port(), tls=certificate))
        named = ("sentinel resolve-hostnames yes", "sentinel announce-hostnames yes")
        settings = (
            *(named if tls else ()),
            f"sentinel monitor {SERVICE} {host} {primary} 2",
            f"sentinel down-after-milliseconds {SERVICE} 700",
            f"sentinel failover-timeout {SERVICE} 3000",
        )
        sentinels = [Node(folder, settings, free_port(), "sentinel", certificate) for _ in range(3)]
        hosts = ",".join(f"{host}:{each.port}" for each in sentinels)
        url = f"valkey-sentinel://{hosts}/{SERVICE}{_options(certificate)}"
        topology = SentinelTopology(url, nodes, sentinels)
        try:
            until(lambda: _replicas(nodes[0]) == 2, "the replicas")
            until(lambda: all(_known(each) == (2, 2) for each in sentinels), "the Sentinels")
            yield topology
        finally:
            topology.stop()


def _certificate(folder: Path, host: str) -> Certificate:
    tls_program()
    return Certificate(folder, host)


def _options(certificate: Certificate | None) -> str:
    return "" if certificate is None else f"?tls=true&{certificate.options}"


def _replicas(node: Node) -> int:
    with suppress(RedisError), node.client() as client:
        info: dict[str, Any] = client.info("replication")
        states = [info.get(f"slave{n}", {}).get("state") for n in range(info["connected_slaves"])]
        return states.count("online")
    return 0


def _known(sentinel: Node) -> tuple[int, int]:
    with sentinel.client() as client:
        found: Any = client.sentinel_master(SERVICE)
    return int(found["num-slaves"]), int(found["num-other-sentinels"])


@contextmanager
def cluster_topology(tls: bool = False) -> Iterator[ClusterTopology]:
    """Run a Cluster of six nodes, all of them with TLS or none.

    The certificate is for the address: the client library takes ``localhost`` for it.
    """
    with _folder() as folder:
        certificate = _certificate(folder, HOST) if tls else None
        nodes: list[Node] = []
        for _ in range(6):
            bus = free_port()
            settings = (
                *DURABLE,
                "cluster-enabled yes",
                f"cluster-port {bus}",
                "cluster-node-timeout 1000",
                "cluster-require-full-coverage no",
                "repl-diskless-sync-delay 0",
                *(["tls-cluster yes"] if tls else []),
            )
            nodes.append(Node(folder, settings, free_port(), tls=certificate))
            nodes[0].run("CLUSTER", "MEET", HOST, nodes[-1].port, bus)
        hosts = ",".join(f"{HOST}:{each.port}" for each in nodes[:2])
        topology = ClusterTopology(f"valkey-cluster://{hosts}{_options(certificate)}", nodes)
        try:
            for number, node in enumerate(nodes[:3]):
                first, last = number * 5461, 16383 if number == 2 else number * 5461 + 5460
                node.run("CLUSTER", "ADDSLOTSRANGE", first, last)
            ids = [node.run("CLUSTER", "MYID") for node in nodes]
            until(lambda: all(_knows(node, ids) for node in nodes), "the nodes know each other")
            for number, node in enumerate(nodes[3:]):
                until(lambda node=node, id=ids[number]: _replicate(node, id), "a replica")  # type: ignore[misc]
            until(lambda: all(_replicas(node) == 1 for node in nodes[:3]), "the replicas")
            until(lambda: all(_is_ok(node) for node in nodes), "the Cluster")
            yield topology
        finally:
            topology.stop()


def _replicate(node: Node, id: Any) -> bool:
    with suppress(RedisError):
        node.run("CLUSTER", "REPLICATE", id)
        return True
    return False


def _knows(node: Node, ids: Sequence[Any]) -> bool:
    with node.client() as client:
        text = str(client.execute_command("CLUSTER NODES"))
    names = (id.decode() if isinstance(id, bytes) else id for id in ids)
    return all(name in text for name in names) and "handshake" not in text


def _is_ok(node: Node) -> bool:
    with suppress(RedisError, RedisClusterException), node.client() as client:
        info: Any = client.execute_command("CLUSTER INFO")
        return "ok" in str(info.get("cluster_state", "") if isinstance(info, dict) else info)
    return False
