"""Uploads of keys that break off, collide or do not fit: all of one takes effect, or none."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
import redis
import urllib3
from tidegate_server.domain.change import Address
from tidegate_server.domain.flags import KeySet
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

from tests.admin.test_uploaded_keys import KEYS, staff
from tests.cli.conftest import RunningServer
from tests.http_application import (  # noqa: F401 - fixtures
    admin,
    app,
    checkout,
    client,
    first_start_keys,
    port,
    raw,
    routes,
    settings,
)
from tests.http_calls import PROJECT, Caller
from tests.waiting import until

__all__ = ["staff"]
SEGMENT = Address(Kind.SEGMENT, "staff")


def included(store: Store) -> KeySet | None:
    stored = store.get("default", SEGMENT)
    assert stored is not None
    found: KeySet | None = stored.document.included_set
    return found


def lines(first: int, last: int) -> bytes:
    return b"".join(b"user-%d\n" % number for number in range(first, last))


def post(server: RunningServer, path: str, **more: object) -> urllib3.BaseHTTPResponse:
    headers = {"Authorization": f"Bearer {server.token}", **more.pop("headers", {})}  # type: ignore[dict-item]
    return urllib3.request(
        "POST",
        server.url + path,
        headers=headers,
        retries=False,
        timeout=60,
        **more,  # type: ignore[arg-type]
    )


def begun(server: RunningServer, length: str, body: bytes) -> socket.socket:
    """Begin an upload and send a part of its body."""
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), 30.0)
    head = (
        f"POST {PROJECT}/segments/cut/keys?mode=replace HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Type: text/plain\r\n{length}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


CUT: dict[str, tuple[str, bytes]] = {
    "before the announced length": ("Content-Length: 1000", lines(0, 20)),
    "within a chunk": ("Transfer-Encoding: chunked", chunk(lines(0, 20)) + b"ff\r\nuser"),
    "between chunks": ("Transfer-Encoding: chunked", chunk(lines(0, 20))),
}


@pytest.mark.parametrize("where", CUT)
@pytest.mark.parametrize("end", ["closed", "half-closed", "reset"])
def test_an_upload_that_is_cut_changes_nothing(server: RunningServer, where: str, end: str) -> None:
    post(server, f"{PROJECT}/segments", json={"key": "cut"})
    path = f"{PROJECT}/segments/cut/keys"
    kept = {"Content-Type": "text/plain"}
    assert post(server, f"{path}?mode=replace", body=b"ann\n", headers=kept).status == 200
    connection = begun(server, *CUT[where])
    if end == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if end == "half-closed":
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    connection.close()
    # A later upload finds the key set that was there before.
    answer = post(server, f"{path}?mode=add", body=b"ann\n", headers=kept).json()
    assert (answer["added"], answer["count"]) == (0, 1)


def test_two_uploads_at_once_are_both_made(staff: Caller, port: int, store: Store) -> None:  # noqa: F811
    def send(first: int) -> None:
        answer = urllib3.request(
            "POST",
            f"http://127.0.0.1:{port}{KEYS}?mode=add",
            body=lines(first, first + 500),
            headers={"Authorization": f"Bearer {staff.token}", "Content-Type": "text/plain"},
            retries=False,
        )
        assert answer.status == 200, answer.data

    threads = [threading.Thread(target=send, args=(500 * number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = included(store)
    assert found is not None
    assert found.count == 1_000
    assert len(store.key_sets.content("default", found.digest)) == 8_000


def upload(caller: Caller, body: bytes, mode: str = "replace") -> int:
    return caller.call(
        "POST", KEYS, query_string={"mode": mode}, data=body, content_type="text/plain"
    ).status_code


def test_a_store_without_memory_changes_nothing(
    staff: Caller,
    store: Store,
    raw: redis.Redis,  # noqa: F811
) -> None:
    assert upload(staff, lines(0, 100)) == 200
    before = included(store)
    raw.config_set("maxmemory", 1)
    try:
        assert upload(staff, lines(50, 5_000)) == 503
    finally:
        raw.config_set("maxmemory", 0)
    assert included(store) == before
    assert all(raw.ttl(name) > 0 for name in raw.keys("*key-set-draft*"))
    assert upload(staff, lines(50, 5_000)) == 200


@pytest.mark.parametrize("after", range(1, 12, 3))
def test_a_store_that_is_killed_in_an_upload_has_all_of_it_or_nothing(
    valkey: EmbeddedValkey, after: int
) -> None:
    """A fork of this process uploads; the store ends after some number of its commands."""
    from tidegate_server.admin.bootstrap import bootstrap
    from tidegate_server.admin.document_reader import read_project_documents
    from tidegate_server.admin.segments import uploads
    from tidegate_server.documents.key_streams import KeyFormat
    from tidegate_server.domain.flags import SegmentDefinition
    from tidegate_server.domain.key_hashes import Mode
    from tidegate_server.domain.segment_edits import put_segment
    from tidegate_server.errors import StoreUnavailable
    from tidegate_server.web.etags import IfMatch

    store = Store.connect(valkey.url)
    bootstrap(store, b"a secret key for tests only", "an-admin-token-for-tests")
    documents = read_project_documents(store, "default")
    definition = SegmentDefinition("staff")
    store.commit(put_segment(documents, definition, actor="ann", now_ms=store.now_ms()))

    def send(first: int, last: int, mode: Mode) -> None:
        uploads.upload(
            store,
            "default",
            "staff",
            [lines(first, last)],
            uploads.Upload("included", mode, KeyFormat.LINES),
            IfMatch(),
            actor="ann",
            reason="",
            secret_key=b"a secret key for tests only",
        )

    send(0, 3_000, Mode.REPLACE)
    before = included(store)
    assert before is not None
    slices = 0
    write: Callable[..., object] = store.key_sets._connection.write_many

    def write_and_kill(commands: object) -> object:
        nonlocal slices
        slices += 1
        if slices == after:
            pid = int(redis.Redis.from_url(valkey.url).info("server")["process_id"])
            os.kill(pid, signal.SIGKILL)
        return write(commands)

    store.key_sets._connection.write_many = write_and_kill  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreUnavailable):
        send(2_000, 6_000, Mode.REPLACE)
    store.close()
    valkey.stop()
    valkey.start()
    again = Store.connect(valkey.url)
    until(lambda: again.durability() == "disk", "the store")
    found = included(again)
    assert found == before
    assert len(again.key_sets.content("default", before.digest)) == 24_000
    again.close()
