"""Uploaded keys of segments: read apart from the snapshot, and in force together with it."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tidegate import Client, key_set_thread, wire
from tidegate.backoff import Backoff
from tidegate.context import Context
from tidegate.errors import Unreachable, WireError
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot
from tidegate.evaluation.key_sets import KeySet, hashes_content, key_hash, step
from tidegate.flag_follower import FlagFollower, Report
from tidegate.model import InKeySet
from tidegate.reporting import Reporter
from tidegate.sync import HttpSource

from tests.sdk import naive_evaluator
from tests.sdk.conftest import Connect
from tests.sdk.documents import a_flag, a_snapshot, compiled, in_key_set, key_set
from tests.sdk.server import Environment
from tests.sdk.test_os_fork import Program
from tests.waiting import soon
from tests.wire_schemas import SNAPSHOT, violations

IN_VIP = {"id": "vip", "when": {"segment": "vip"}, "serve": {"variant": "on"}}


@pytest.fixture
def vip(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """An environment with a flag that is on for the segment ``vip``."""
    monkeypatch.setattr(key_set_thread, "RETRY", Backoff(0.05, 0.1, 0.5))
    environment.flag("checkout")
    environment.flag("other")
    environment.segment("vip")
    environment.target("checkout", rules=[IN_VIP])
    yield environment
    environment.server.refuse_key_sets = False


def is_on(client: Client, *keys: str, flag: str = "checkout") -> list[bool]:
    return [client.boolean(flag, False, key) for key in keys]


def test_uploaded_keys_reach_a_client(vip: Environment, connect: Connect) -> None:
    vip.upload("vip", "ann", "bob")
    client = connect()
    assert is_on(client, "ann", "bob", "cleo") == [True, True, False]
    vip.upload("vip", "cleo", mode="add")
    soon(lambda: is_on(client, "ann", "cleo") == [True, True], "the added key")
    vip.upload("vip", "ann", "bob", list="excluded")
    soon(lambda: is_on(client, "ann", "bob", "cleo") == [False, False, True], "the excluded keys")
    vip.upload("vip", "cleo", mode="remove")
    soon(lambda: is_on(client, "cleo") == [False], "the removed key")
    assert client.status().key_set_problem is None


def test_whoever_waits_for_the_client_waits_for_the_keys(
    vip: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the flags have come, while their keys are on the way."""
    vip.upload("vip", "ann")
    asked, answer = threading.Event(), threading.Event()
    read = HttpSource.key_set

    def slowly(source: HttpSource, wanted: InKeySet, known: KeySet | None) -> KeySet:
        asked.set()
        answer.wait(60)
        return read(source, wanted, known)

    monkeypatch.setattr(HttpSource, "key_set", slowly)
    with closing(Client(vip.url, vip.token)) as client:
        assert asked.wait(60)
        assert client.boolean_details("other", True, "ann").reason == "STATIC"
        threading.Timer(0.3, answer.set).start()
        assert client.wait_until_ready(60)
        assert is_on(client, "ann") == [True]


def test_a_small_change_sends_only_what_changed(vip: Environment, connect: Connect) -> None:
    several = [f"user-{number}" for number in range(1_000)]
    vip.upload("vip", *several)
    client, sent = connect(), vip.server.key_sets
    assert sent[-1] == ("key-set", 8_000)
    vip.upload("vip", *(f"new-{number}" for number in range(10)), mode="add")
    soon(lambda: is_on(client, "new-9") == [True], "the added keys")
    assert sent[-1] == ("key-set-changes", 8 + 10 * 8)
    assert is_on(client, *several) == [True] * 1_000
    vip.upload("vip", *(f"other-{number}" for number in range(900)))
    soon(lambda: is_on(client, "other-1") == [True], "the other keys")
    assert sent[-1] == ("key-set", 7_200)
    assert is_on(client, *several) == [False] * 1_000


def test_a_kill_does_not_wait_for_keys(vip: Environment, connect: Connect) -> None:
    vip.upload("vip", "ann")
    client = connect()
    vip.server.refuse_key_sets = True
    vip.upload("vip", "bob")
    vip.target("other", default={"variant": "on"})
    soon(lambda: is_on(client, "x", flag="other") == [True], "what needs no keys")
    assert is_on(client, "ann", "bob") == [True, False]
    soon(lambda: "answers 503" in str(client.status().key_set_problem), "the problem")
    assert client.status().state == "connected"
    vip.kill("checkout")
    soon(lambda: is_on(client, "ann") == [False], "the kill")
    vip.restore("checkout")
    soon(lambda: client.status().version == vip.version, "the restored flag")
    assert is_on(client, "ann", "bob") == [False, False]
    vip.server.refuse_key_sets = False
    soon(lambda: is_on(client, "ann", "bob") == [False, True], "the keys")
    assert client.status().key_set_problem is None


def test_a_rule_waits_for_the_keys_that_it_may_rely_on(vip: Environment, connect: Connect) -> None:
    vip.segment("blocked")
    client = connect()
    vip.server.refuse_key_sets = True
    vip.upload("blocked", "eve")
    not_blocked = {"id": "all", "when": {"none": [{"segment": "blocked"}]}}
    vip.target("other", rules=[{**not_blocked, "serve": {"variant": "on"}}])
    soon(lambda: client.status().version == vip.version, "the rule")
    assert is_on(client, "ann", "eve", flag="other") == [False, False]
    vip.server.refuse_key_sets = False
    soon(lambda: is_on(client, "ann", flag="other") == [True], "the keys")
    assert is_on(client, "eve", flag="other") == [False]


def test_a_client_that_starts_without_keys_gives_the_default(
    vip: Environment, connect: Connect
) -> None:
    vip.upload("vip", "ann")
    vip.target("other", default={"variant": "on"})
    vip.server.refuse_key_sets = True
    client = connect()
    assert is_on(client, "x", flag="other") == [True]
    details = client.boolean_details("checkout", True, "ann")
    assert (details.value, details.error_code) == (True, "PARSE_ERROR")
    assert "uploaded keys of a segment that it uses have not come" in str(details.error_message)
    vip.server.refuse_key_sets = False
    soon(lambda: is_on(client, "ann", "bob") == [True, False], "the keys")


def test_a_deleted_segment_takes_its_keys_along(vip: Environment, connect: Connect) -> None:
    vip.upload("vip", "ann")
    client = connect()
    vip.target("checkout", rules=[])
    answer = vip.admin.delete(f"/api/v1/projects/{vip.project}/segments/vip", match="*")
    assert answer.status_code == 204
    soon(lambda: client.status().version == vip.version, "the deletion")
    flags = client._flags
    assert flags is not None
    assert flags.key_sets == {}
    vip.segment("vip")
    vip.target("checkout", rules=[IN_VIP])
    vip.upload("vip", "bob")
    soon(lambda: is_on(client, "ann", "bob") == [False, True], "another segment with its key")


def test_a_child_shares_the_keys_and_follows_their_changes(vip: Environment) -> None:
    vip.upload("vip", "ann")
    program = Program(
        vip,
        """
if fork():
    say(ann=client.boolean("checkout", False, "ann"), bob=client.boolean("checkout", False, "bob"))
    until(lambda: client.boolean("checkout", False, "bob"))
    say(ann=client.boolean("checkout", False, "ann"))
    os._exit(0)
wait()
client.close()
""",
    )
    assert program.next() == {"ann": True, "bob": False}
    vip.upload("vip", "bob")
    assert program.next() == {"ann": False}
    program.end()


def test_a_child_goes_on_where_its_parent_waited_for_keys(vip: Environment) -> None:
    vip.upload("vip", "ann")
    program = Program(
        vip,
        """
import logging
logging.getLogger("tidegate").setLevel(logging.ERROR)
say(ready=True)
until(lambda: client.status().key_set_problem)
if fork():
    say(ann=client.boolean("checkout", False, "ann"))
    until(lambda: client.boolean("checkout", False, "bob"))
    say(ann=client.boolean("checkout", False, "ann"))
    os._exit(0)
wait()
client.close()
""",
    )
    assert program.next() == {"ready": True}
    vip.server.refuse_key_sets = True
    vip.upload("vip", "bob")
    assert program.next() == {"ann": True}
    vip.server.refuse_key_sets = False
    assert program.next() == {"ann": False}
    program.end()


def cached(vip: Environment, path: Path) -> Client:
    return Client(vip.url, vip.token, cache_path=path)


def saved(path: Path) -> list[str]:
    return sorted(each.name for each in path.with_name(f"{path.name}.keys").iterdir())


def test_keys_are_kept_on_disk_for_a_start_without_the_server(
    vip: Environment, tmp_path: Path
) -> None:
    path = tmp_path / "flags"
    vip.upload("vip", "ann")
    with closing(cached(vip, path)) as client:
        assert client.wait_until_ready()
    assert len(saved(path)) == 1
    client = cached(vip, path)
    soon(lambda: client.status().state == "connected", "the connection")
    before = len(vip.server.key_sets)
    vip.upload("vip", *(f"user-{number}" for number in range(50)), mode="add")
    soon(lambda: is_on(client, "ann", "user-7") == [True, True], "the added keys")
    assert len(vip.server.key_sets) == before + 1
    client.close()
    assert len(saved(path)) == 1
    vip.server.refuse_key_sets = True  # the client has only what is on disk
    with closing(cached(vip, path)) as client:
        assert is_on(client, "ann", "user-7", "zoe") == [True, True, False]


def test_a_damaged_file_of_keys_is_read_again(vip: Environment, tmp_path: Path) -> None:
    path = tmp_path / "flags"
    vip.upload("vip", "ann")
    with closing(cached(vip, path)) as client:
        assert client.wait_until_ready()
    (name,) = saved(path)
    file = path.with_name("flags.keys") / name
    file.write_bytes(b"12345678")
    with closing(cached(vip, path)) as client:
        assert client.wait_until_ready()
        soon(lambda: is_on(client, "ann") == [True], "the keys")


def test_the_problem_is_logged_once_for_each_reason(
    vip: Environment, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    vip.upload("vip", "ann")
    client = connect()
    vip.server.refuse_key_sets = True
    with caplog.at_level(logging.INFO, "tidegate"):
        vip.upload("vip", "bob", "cleo")
        soon(lambda: any("uploaded keys" in each for each in caplog.messages), "a warning")
        vip.server.refuse_key_sets = False
        soon(lambda: is_on(client, "bob") == [True], "the keys")
    problems = [each for each in caplog.messages if "uploaded keys" in each]
    assert len(problems) == 1
    assert "the 2 uploaded keys of a segment cannot be read: the server answers 503" in problems[0]
    assert "the keys of all segments are up to date" in caplog.messages


# Without a server


ANN, BOB = key_set("salt", "ann"), key_set("salt", "bob")


class KeySetSource:
    """A source that has only these key sets."""

    def __init__(self, *key_sets: KeySet) -> None:
        self.key_sets = {each.digest: each for each in key_sets}
        self.known: list[KeySet | None] = []

    def snapshot(self) -> object:
        raise Unreachable("no snapshot")

    def key_set(self, wanted: InKeySet, known: KeySet | None) -> KeySet:
        self.known.append(known)
        if wanted.key_set not in self.key_sets:
            raise Unreachable("gone")
        return self.key_sets[wanted.key_set]

    def report(self, report: Report) -> bool:
        return True


def following(source: KeySetSource, document: dict[str, Any]) -> FlagFollower:
    follower = FlagFollower(source, Reporter())
    follower.take_snapshot(document)
    return follower


def variants(flags: CompiledSnapshot | None, flag: str, *keys: str) -> list[str | None]:
    assert flags is not None
    return [flags.evaluate(flag, Context(key)).variant for key in keys]


def flag_in(segment: str, key: str = "a", **more: Any) -> dict[str, Any]:
    rule = {"id": "it", "when": {"segment": segment}, "serve": {"variant": "on"}}
    return a_flag(key, **{"default": {"variant": "off"}, "rules": [rule], **more})


def test_a_missing_key_set_keeps_segments_that_lead_to_it_and_their_changed_flags() -> None:
    source = KeySetSource(ANN)
    outer = {"when": {"segment": "inner"}}
    document = a_snapshot(flag_in("outer"), inner={"when": in_key_set(ANN)}, outer=outer)
    follower = following(source, document)
    assert variants(follower.read_key_sets(), "a", "ann", "bob") == ["on", "off"]

    after = follower.take_update(
        {
            "version": 2,
            "flags": {
                "a": flag_in("outer", default={"variant": "on"}),
                "b": a_flag("b"),
                "c": flag_in("outer", "c", enabled=False),
            },
            "segments": {"inner": {"key": "inner", "when": in_key_set(BOB)}},
        }
    )
    assert variants(after, "a", "ann", "bob") == ["on", "off"]
    assert variants(after, "b", "ann") == ["on"]
    assert variants(after, "c", "ann") == ["off"]
    assert after is not None
    assert after.version == 2

    source.key_sets[BOB.digest] = BOB
    complete = follower.read_key_sets()
    assert variants(complete, "a", "ann", "bob") == ["on", "on"]
    assert source.known[-1] is ANN
    assert follower.read_key_sets() is None


def test_updates_while_a_key_set_is_missing_are_not_lost() -> None:
    source = KeySetSource(ANN)
    follower = following(source, a_snapshot(flag_in("vip"), vip={"when": in_key_set(ANN)}))
    follower.read_key_sets()
    for version, when in ((2, in_key_set(BOB)), (3, {"any": [in_key_set(BOB), {"all": []}]})):
        segments = {"vip": {"key": "vip", "when": when}}
        follower.take_update({"version": version, "flags": {}, "segments": segments})
    follower.take_update({"version": 4, "flags": {"b": a_flag("b")}, "segments": {}})
    assert variants(follower.flags, "a", "ann", "zoe") == ["on", "off"]
    source.key_sets[BOB.digest] = BOB
    assert variants(follower.read_key_sets(), "a", "ann", "zoe") == ["on", "on"]
    assert variants(follower.flags, "b", "ann") == ["on"]


def test_a_key_set_that_nothing_waits_for_any_more_is_dropped() -> None:
    source = KeySetSource(ANN)
    follower = following(source, a_snapshot(flag_in("vip"), vip={"when": in_key_set(ANN)}))
    follower.read_key_sets()
    for version, keys in ((2, BOB), (3, ANN)):
        segments = {"vip": {"key": "vip", "when": in_key_set(keys)}}
        follower.take_update({"version": version, "flags": {}, "segments": segments})
    assert not follower.missing
    assert follower.take_key_set(BOB) is None
    assert variants(follower.flags, "a", "ann", "bob") == ["on", "off"]


def test_content_that_its_digest_does_not_name_is_refused() -> None:
    with pytest.raises(WireError):
        KeySet.of_content(ANN.digest, "salt", BOB.content)
    to_bob = step({key_hash("salt:ann")}, {key_hash("salt:bob")})
    assert ANN.changed(BOB.digest, to_bob).content == BOB.content
    for changes in (to_bob[:-1], b"", step((), {1})):
        with pytest.raises(WireError):
            ANN.changed(BOB.digest, changes)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"key_set": "../" * 21 + "x"}, "/key_set"),
        ({"key_set": "3F" * 32}, "/key_set"),
        ({"count": 0}, "/count"),
        ({"count": True}, "/count"),
        ({"salt": 7}, "/salt"),
        ({"more": 1}, "/more"),
    ],
)
def test_a_strange_condition_is_refused(change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(WireError) as refused:
        wire.parse_condition({**in_key_set(ANN), **change})
    assert refused.value.pointer == pointer


def test_a_set_takes_eight_bytes_for_each_key() -> None:
    content = hashes_content(range(10_000))
    keys = KeySet.of_content(sha256(content).hexdigest(), "salt", content)
    assert sys.getsizeof(keys.content) - sys.getsizeof(b"") == 80_000
    assert (keys.has(0), keys.has(9_999), keys.has(10_000)) == (True, True, False)


# The published vectors

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "key-sets.json").read_text())
PUBLISHED = {row["digest"]: row for row in VECTORS["key_sets"]}


@pytest.mark.parametrize("row", VECTORS["hashes"], ids=lambda row: repr(row["key"])[:20])
def test_a_hash_is_what_its_vector_says(row: dict[str, str]) -> None:
    expected = int.from_bytes(bytes.fromhex(row["hash"]), "little")
    assert key_hash(f"{row['salt']}:{row['key']}") == expected


def test_the_key_sets_of_the_vectors_have_their_keys() -> None:
    for row in PUBLISHED.values():
        made = key_set(row["salt"], *row["keys"])
        assert (made.digest, made.content.hex()) == (row["digest"], row["content"])


@pytest.mark.parametrize("row", VECTORS["changes"], ids=lambda row: row["about"])
def test_changes_lead_to_what_their_vector_says(row: dict[str, str]) -> None:
    since = PUBLISHED[row["since"]]
    begin = KeySet.of_content(since["digest"], since["salt"], bytes.fromhex(since["content"]))
    changed = begin.changed(row["digest"], bytes.fromhex(row["changes"]))
    assert changed.content.hex() == PUBLISHED[row["digest"]]["content"]


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["about"])
def test_an_evaluation_with_key_sets_gives_what_its_vector_says(case: dict[str, Any]) -> None:
    for row in PUBLISHED.values():
        key_set(row["salt"], *row["keys"])
    context = Context.of(case["context"])
    found = compiled(VECTORS["snapshot"]).evaluate(case["flag"], context)
    value = case["default"] if found.value is None else found.value
    expected = case["expected"]
    assert (value, found.reason, found.error_code) == tuple(expected.values())
    if found.error_code is None:
        naive = naive_evaluator.evaluate(VECTORS["snapshot"], case["flag"], case["context"])
        assert (naive.value, naive.reason) == (value, found.reason)


def test_the_snapshot_of_the_vectors_follows_the_published_schema() -> None:
    assert violations(SNAPSHOT, VECTORS["snapshot"]) == []
