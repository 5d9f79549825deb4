from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as BrokenConnection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as NoAnswer
from tidegate_server.errors import StartupRefused, StoreUnavailable
from tidegate_server.store import Store, connection
from tidegate_server.store.connection import Connection
from tidegate_server.store.embedded import EmbeddedValkey

from tests.waiting import until


class FailingClient(redis.Redis):
    """A client whose first commands fail with these errors; counts the commands."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.commands = 0

    def execute_command(self, *args: Any, **options: Any) -> str:
        self.commands += 1
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


@contextmanager
def server_with_info(info: str, folder: Path) -> Iterator[str]:
    """A server that replies to INFO on a unix socket, and +OK to every other command."""
    path = folder / "s"
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
                    while request := client.recv(65536):
                        for _ in range(request.count(b"*")):
                            body = info.encode()
                            reply = b"$%d\r\n%s\r\n" % (len(body), body)
                            client.sendall(reply if b"INFO" in request else b"+OK\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"unix://{path}"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "url", ["http://host", "sentinel://host", "host:6379", "", "/a/path", "valkey-sentinel:x"]
)
def test_an_unsupported_address_is_refused_with_examples_of_supported_ones(url: str) -> None:
    with pytest.raises(StartupRefused) as refused:
        Store.connect(url)
    for example in ("TIDEGATE_STORE_URL", "unix://", "valkey://", "valkey-cluster://"):
        assert example in refused.value.message


def test_errors_never_contain_the_address() -> None:
    with pytest.raises(StoreUnavailable) as refused:
        Store.connect("redis://user:hush@127.0.0.1:1/0")
    assert "hush" not in refused.value.message
    assert "cannot be reached" in refused.value.message


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ("redis_version:7.0.15\r\n", "Redis 7.0.15"),
        ("redis_version:6.2.1\r\n", "Redis 6.2.1"),
        ("redis_version:3.9\r\nvalkey_version:0.1\r\n", "Valkey 3.9"),
    ],
)
def test_a_server_that_is_too_old_is_refused(
    tmp_path_factory: pytest.TempPathFactory, info: str, name: str
) -> None:
    folder = tmp_path_factory.mktemp("s")
    with server_with_info(info, folder) as url, pytest.raises(StartupRefused) as refused:
        Store.connect(url)
    assert f"{name}; Tidegate needs 7.2 or later" in refused.value.message


def test_durability_depends_on_the_servers_append_only_file(
    valkey: EmbeddedValkey, raw: redis.Redis
) -> None:
    assert valkey.socket, "this test changes the settings of one server"
    assert connection.has_append_only_file(Connection(raw))
    assert Store.connect(valkey.url).durability() == "disk"
    raw.config_set("appendonly", "no")
    try:
        assert Store.connect(valkey.url).durability() == "memory"
    finally:
        raw.config_set("appendonly", "yes")
        # The server refuses to stop before its first file is complete.
        until(
            lambda: not raw.info("persistence")["aof_rewrite_in_progress"],
            "the append-only file is complete",
        )


def test_a_read_whose_connection_broke_is_repeated_once() -> None:
    error = BrokenConnection("broken")
    client = FailingClient(error)
    assert Connection(client).read("GET", "n") == "answer"
    assert client.commands == 2

    client = FailingClient(error, error, error)
    with pytest.raises(StoreUnavailable):
        Connection(client).read("GET", "n")
    assert client.commands == 2


def test_a_read_without_an_answer_is_not_repeated() -> None:
    client = FailingClient(NoAnswer("late"))
    with pytest.raises(StoreUnavailable):
        Connection(client).read("GET", "n")
    assert client.commands == 1


def test_a_read_that_the_store_refuses_is_not_repeated() -> None:
    client = FailingClient(ResponseError("WRONGTYPE"))
    with pytest.raises(StoreUnavailable):
        Connection(client).read("GET", "n")
    assert client.commands == 1


@pytest.mark.parametrize("error", [BrokenConnection("broken"), NoAnswer("late")])
def test_a_write_is_never_repeated(error: Exception) -> None:
    client = FailingClient(error)
    with pytest.raises(StoreUnavailable):
        Connection(client).write("INCR", "n")
    assert client.commands == 1


def test_the_client_library_repeats_no_command_by_itself(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The server accepts every command, closes the connection, and counts the commands."""
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
                    while request := client.recv(65536):
                        if b"CLIENT" in request:
                            client.sendall(b"+OK\r\n" * request.count(b"SETINFO"))
                            continue
                        commands.append(request)
                        break

        threading.Thread(target=serve, daemon=True).start()
        opened = Connection(connection.open_client(f"unix://{path}"))
        with pytest.raises(StoreUnavailable):
            opened.write("INCR", "n")
        assert len(commands) == 1
        with pytest.raises(StoreUnavailable):
            opened.read("GET", "n")
        assert len(commands) == 3
        listening.shutdown(socket.SHUT_RDWR)


def test_every_command_has_a_timeout() -> None:
    client = connection.open_client("redis://127.0.0.1:1/0")
    options = client.get_connection_kwargs()
    assert options["socket_timeout"] == connection.ANSWER_SECONDS
    assert options["socket_connect_timeout"] == connection.CONNECT_SECONDS


class TestErrorMessages:
    """Messages for refusals of a real server."""

    def refused(self, store: Store) -> str:
        with pytest.raises(StoreUnavailable) as refused:
            store.put_server_value_once("name", "value")
        return refused.value.message

    @pytest.fixture(autouse=True)
    def single_server(self, valkey: EmbeddedValkey) -> None:
        assert valkey.socket, "these tests change the settings of one server"

    def test_out_of_memory(self, store: Store, raw: redis.Redis) -> None:
        raw.config_set("maxmemory", "1")
        try:
            assert "no memory left" in self.refused(store)
        finally:
            raw.config_set("maxmemory", "0")

    def test_a_replica(self, store: Store, raw: redis.Redis) -> None:
        raw.replicaof("127.0.0.1", 1)
        try:
            assert "it is a read-only replica" in self.refused(store)
        finally:
            raw.replicaof("NO", "ONE")

    def test_a_wrong_password(self, valkey: EmbeddedValkey, raw: redis.Redis) -> None:
        raw.config_set("requirepass", "hush")
        try:
            with pytest.raises(StoreUnavailable) as refused:
                Store.connect(valkey.url)
            assert "does not accept the user or the password" in refused.value.message
        finally:
            raw.config_set("requirepass", "")

    def test_a_user_without_permissions(self, valkey: EmbeddedValkey, raw: redis.Redis) -> None:
        may = ["+@read", "+info"]
        raw.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], commands=may)
        try:
            store = Store.connect(valkey.url.replace("unix://", "unix://reader:x@"))
            assert "its user lacks permissions" in self.refused(store)
        finally:
            raw.acl_deluser("reader")
