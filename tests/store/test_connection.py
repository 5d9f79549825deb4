from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from redis.exceptions import ConnectionError as BrokenConnection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as NoAnswer
from tidegate_server.errors import StartupRefused, StoreUnavailable
from tidegate_server.store import Store, connection
from tidegate_server.store.embedded import EmbeddedValkey

from tests.waiting import until


class Asked:
    """A question that fails with these errors first, and counts how often it is asked."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.times = 0

    def __call__(self) -> str:
        self.times += 1
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


@contextmanager
def server_that_says(info: str, place: Path) -> Iterator[str]:
    """Something that answers INFO on a unix socket, and +OK to everything else."""
    path = place / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    while asked := client.recv(65536):
                        for _ in range(asked.count(b"*")):
                            body = info.encode()
                            answer = b"$%d\r\n%s\r\n" % (len(body), body)
                            client.sendall(answer if b"INFO" in asked else b"+OK\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"unix://{path}"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("url", ["http://host", "sentinel://host", "host:6379", "", "/a/path"])
def test_an_address_of_another_kind_is_refused_with_those_that_are_known(url: str) -> None:
    with pytest.raises(StartupRefused) as refused:
        Store.connect(url)
    for example in ("TIDEGATE_STORE_URL", "unix://", "redis://", "rediss://"):
        assert example in refused.value.message


def test_an_address_is_never_repeated_in_an_error() -> None:
    with pytest.raises(StoreUnavailable) as gone:
        Store.connect("redis://user:hush@127.0.0.1:1/0")
    assert "hush" not in gone.value.message
    assert "cannot be reached" in gone.value.message


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ("redis_version:7.0.15\r\n", "Redis 7.0.15"),
        ("redis_version:6.2.1\r\n", "Redis 6.2.1"),
        ("redis_version:3.9\r\nvalkey_version:0.1\r\n", "Valkey 3.9"),
    ],
)
def test_a_server_that_is_too_old_is_refused_by_its_version(
    tmp_path_factory: pytest.TempPathFactory, info: str, name: str
) -> None:
    place = tmp_path_factory.mktemp("s")
    with server_that_says(info, place) as url, pytest.raises(StartupRefused) as refused:
        Store.connect(url)
    assert f"{name}; Tidegate needs 7.2 or later" in refused.value.message


def test_durability_is_what_the_servers_append_only_file_says(
    valkey: EmbeddedValkey, raw: redis.Redis
) -> None:
    assert connection.check_server(raw)
    assert Store.connect(valkey.url).durability() == "disk"
    raw.config_set("appendonly", "no")
    try:
        assert Store.connect(valkey.url).durability() == "memory"
    finally:
        raw.config_set("appendonly", "yes")
        # Before its first file is whole it would refuse to stop.
        until(lambda: not raw.info("persistence")["aof_rewrite_in_progress"], "the file")


@pytest.mark.parametrize("error", [BrokenConnection("broken"), NoAnswer("late")])
def test_a_read_is_repeated_once(error: Exception) -> None:
    asked = Asked(error)
    assert connection.read(asked) == "answer"
    assert asked.times == 2

    asked = Asked(error, error, error)
    with pytest.raises(StoreUnavailable):
        connection.read(asked)
    assert asked.times == 2


def test_a_read_that_the_store_refuses_is_not_repeated() -> None:
    asked = Asked(ResponseError("WRONGTYPE"))
    with pytest.raises(StoreUnavailable):
        connection.read(asked)
    assert asked.times == 1


@pytest.mark.parametrize("error", [BrokenConnection("broken"), NoAnswer("late")])
def test_a_write_is_never_repeated(error: Exception) -> None:
    asked = Asked(error)
    with pytest.raises(StoreUnavailable):
        connection.write(asked)
    assert asked.times == 1


def test_the_client_library_repeats_nothing_by_itself(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A server that takes every command and ends the connection counts the commands."""
    path = tmp_path_factory.mktemp("s") / "s"
    commands: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    while said := client.recv(65536):
                        if b"CLIENT" in said:
                            client.sendall(b"+OK\r\n" * said.count(b"SETINFO"))
                            continue
                        commands.append(said)
                        break

        threading.Thread(target=serve, daemon=True).start()
        client = connection.open_client(f"unix://{path}")
        with pytest.raises(StoreUnavailable):
            connection.write(lambda: client.execute_command("INCR", "n"))  # type: ignore[no-untyped-call]
        assert len(commands) == 1
        with pytest.raises(StoreUnavailable):
            connection.read(lambda: client.execute_command("GET", "n"))  # type: ignore[no-untyped-call]
        assert len(commands) == 3
        listening.shutdown(socket.SHUT_RDWR)


def test_nothing_waits_for_ever() -> None:
    client = connection.open_client("redis://127.0.0.1:1/0")
    patience = client.get_connection_kwargs()
    assert patience["socket_timeout"] == connection.ANSWER_SECONDS
    assert patience["socket_connect_timeout"] == connection.CONNECT_SECONDS


class TestWhyAStoreCannotBeUsed:
    """Real refusals of a real server, and what is said of them."""

    def refused(self, store: Store) -> str:
        with pytest.raises(StoreUnavailable) as refused:
            store.put_value_once("name", "value")
        return refused.value.message

    def test_no_memory(self, store: Store, raw: redis.Redis) -> None:
        raw.config_set("maxmemory", "1")
        try:
            assert "no memory left" in self.refused(store)
        finally:
            raw.config_set("maxmemory", "0")

    def test_a_replica(self, store: Store, raw: redis.Redis) -> None:
        raw.replicaof("127.0.0.1", 1)
        try:
            assert "it is a replica" in self.refused(store)
        finally:
            raw.replicaof("NO", "ONE")

    def test_a_password(self, valkey: EmbeddedValkey, raw: redis.Redis) -> None:
        raw.config_set("requirepass", "hush")
        try:
            with pytest.raises(StoreUnavailable) as refused:
                Store.connect(valkey.url)
            assert "does not accept the user or the password" in refused.value.message
        finally:
            raw.config_set("requirepass", "")

    def test_a_user_who_may_not(self, valkey: EmbeddedValkey, raw: redis.Redis) -> None:
        may = ["+@read", "+info"]
        raw.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], commands=may)
        try:
            store = Store.connect(valkey.url.replace("unix://", "unix://reader:x@"))
            assert "its user may not" in self.refused(store)
        finally:
            raw.acl_deluser("reader")
