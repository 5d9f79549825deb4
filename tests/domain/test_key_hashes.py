"""Hashes of uploaded keys: collected without repetitions, and compared with those before."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.evaluation.key_sets import (
    HASH_BYTES,
    KeySet,
    hashes_content,
    key_hash,
    net_changes,
    step,
    with_changes,
)
from tidegate_server.documents.key_streams import KeyFormat, read_keys
from tidegate_server.domain import key_hashes
from tidegate_server.domain.key_hashes import CHUNKS, KeyHashes, Mode, chunk_of, compare
from tidegate_server.errors import Invalid

keys = st.sets(st.integers(0, 60).map(lambda number: f"user-{number}"))
changes = st.tuples(st.sampled_from(list(Mode)), keys)


def collected(*texts: str) -> KeyHashes:
    hashes = KeyHashes()
    for text in texts:
        hashes.add(sha256(f"salt:{text}".encode()).digest())
    return hashes


def hashes_of(texts: set[str]) -> set[int]:
    return {key_hash(f"salt:{text}") for text in texts}


def chunked(content: bytes) -> list[bytes]:
    chunks = [bytearray() for _ in range(CHUNKS)]
    for at in range(0, len(content), HASH_BYTES):
        part = content[at : at + HASH_BYTES]
        chunks[chunk_of(int.from_bytes(part, "little"))] += part
    return [bytes(each) for each in chunks]


@given(keys, st.lists(changes, max_size=4))
def test_uploads_do_to_hashes_what_sets_do_to_keys(
    before: set[str], uploads: list[tuple[Mode, set[str]]]
) -> None:
    content = hashes_content(sorted(hashes_of(before)))
    expected = before
    for mode, texts in uploads:
        difference = compare(collected(*texts, *texts), mode, chunked(content))
        after = {
            Mode.ADD: expected | texts,
            Mode.REMOVE: expected - texts,
            Mode.REPLACE: texts,
        }[mode]
        assert (difference.added, difference.removed) == (
            len(after - expected),
            len(expected - after),
        )
        chunks = chunked(content)
        for number, chunk in difference.changed.items():
            chunks[number] = chunk
        content, expected = b"".join(chunks), after
        assert content == hashes_content(sorted(hashes_of(expected)))
        assert difference.digest == sha256(content).hexdigest()
        assert (difference.count, difference.chunks) == (len(after), sum(map(bool, chunks)))
    found = KeySet.of_content(sha256(content).hexdigest(), "salt", content)
    assert all(found.has(each) for each in hashes_of(expected))
    assert not any(found.has(each) for each in hashes_of({"eve", "zoe"}))


@given(st.lists(st.sets(st.integers(0, 30)), min_size=2, max_size=5))
def test_steps_lead_from_any_key_set_to_any_later_one(sets: list[set[int]]) -> None:
    contents = [hashes_content(sorted(each)) for each in sets]
    steps = [step(one - two, two - one) for one, two in pairwise(sets)]
    for begin in range(len(steps)):
        left, joined = net_changes(b"".join(steps[begin:]))
        assert with_changes(contents[begin], left, joined) == contents[-1]
        assert not left & joined


def test_too_many_different_keys_are_refused_while_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_hashes, "SPARE_KEYS", 10)
    hashes = KeyHashes(most=5)

    def add_a_billion() -> None:
        for number in range(10**9):
            hashes.add(sha256(b"%d" % number).digest())

    with pytest.raises(Invalid, match="different keys at most"):
        add_a_billion()
    assert hashes.keys < 20


def test_repetitions_do_not_count_against_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_hashes, "SPARE_KEYS", 10)
    hashes = KeyHashes(most=5)
    for number in range(1_000):
        hashes.add(sha256(b"%d" % (number % 5)).digest())
    assert sum(len(hashes.chunk(number)) for number in range(CHUNKS)) == 5
    assert hashes.keys == 1_000


def test_a_change_of_much_of_a_list_is_no_step() -> None:
    present = b"".join(chunked(hashes_content(sorted(hashes_of({f"u{n}" for n in range(20)})))))
    small = compare(collected("new"), Mode.ADD, chunked(present))
    assert small.step is not None
    large = compare(collected(*(f"v{n}" for n in range(20))), Mode.ADD, chunked(present))
    assert large.step is None


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)),
    st.data(),
)
def test_keys_are_the_same_however_their_text_is_cut(texts: list[str], data: st.DataObject) -> None:
    text = b"".join(msgspec.json.encode(each) + b"\n" for each in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = [key for several in read_keys(pieces, KeyFormat.NDJSON) for key in several]
    assert found == texts
