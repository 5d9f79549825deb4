"""Buckets: the published vectors and their properties."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tidegate.bucketing import BUCKETS, bucket, buckets_below, hash_limit, user_hash

from tests.sdk import murmur3

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "bucketing.json").read_text())

texts = st.text(st.characters(codec="utf-8"))


def independent_bucket(salt: str, key: str) -> int:
    return (murmur3.x86_32(f"{salt}:{key}".encode()) * 100_000) >> 32


def test_the_independent_implementation_is_murmur3() -> None:
    """The values are SMHasher's verification values."""

    def narrow(data: bytes, seed: int) -> bytes:
        return murmur3.x86_32(data, seed).to_bytes(4, "little")

    def wide(data: bytes, seed: int) -> bytes:
        return b"".join(half.to_bytes(8, "little") for half in murmur3.x64_128(data, seed))

    assert murmur3.verification(narrow) == 0xB0F57EE3
    assert murmur3.verification(wide) == 0x6384BA69


def test_the_vectors_agree_with_the_independent_implementation() -> None:
    for row in VECTORS["buckets"]:
        text = f"{row['salt']}:{row['key']}".encode()
        assert row["hash"] == murmur3.x86_32(text)
        assert row["bucket"] == independent_bucket(row["salt"], row["key"])
    for row in VECTORS["openings"]:
        assert row["bucket"] == independent_bucket(row["salt"], row["key"])
        assert row["open"] == (row["bucket"] < round(row["percentage"] * 1000))
    for row in VECTORS["users"]:
        assert row["hash"] == f"{murmur3.x64_128(row['key'].encode())[0]:016x}"


@pytest.mark.parametrize("row", VECTORS["buckets"], ids=lambda row: row["about"])
def test_a_salt_and_a_key_give_the_bucket(row: dict[str, Any]) -> None:
    assert bucket(row["salt"], row["key"]) == row["bucket"]


@pytest.mark.parametrize("row", VECTORS["percentages"], ids=str)
def test_a_percentage_opens_a_number_of_buckets(row: dict[str, Any]) -> None:
    assert buckets_below(row["percentage"]) == row["buckets"]


@pytest.mark.parametrize("row", VECTORS["openings"], ids=str)
def test_a_percentage_opens_the_buckets_below_it(row: dict[str, Any]) -> None:
    opened = buckets_below(row["percentage"])
    assert (bucket(row["salt"], row["key"]) < opened) == row["open"]
    hashed = murmur3.x86_32(f"{row['salt']}:{row['key']}".encode())
    assert (hashed < hash_limit(opened)) == row["open"]


@pytest.mark.parametrize("row", VECTORS["users"], ids=lambda row: row["key"][:20])
def test_a_failing_user_is_reported_under_a_hash(row: dict[str, Any]) -> None:
    assert user_hash(row["key"]) == row["hash"]


def test_half_a_surrogate_pair_has_a_user_hash() -> None:
    assert user_hash("\ud800") != user_hash("\ud801")


def test_half_a_surrogate_pair_has_no_bucket() -> None:
    for salt, key in (("a", "\ud800"), ("\ud800", "a")):
        with pytest.raises(UnicodeEncodeError):
            bucket(salt, key)


@given(texts, texts)
def test_every_key_has_one_stable_bucket(salt: str, key: str) -> None:
    result = bucket(salt, key)
    assert 0 <= result < BUCKETS
    assert result == independent_bucket(salt, key)


@given(st.integers(0, 2**32 - 1), st.integers(0, BUCKETS))
@example(0, 0)
@example(2**32 - 1, BUCKETS)
@example(2**32 - 1, BUCKETS - 1)
def test_comparing_hashes_is_comparing_buckets(hashed: int, opened: int) -> None:
    assert (hashed < hash_limit(opened)) == (hashed * BUCKETS >> 32 < opened)


@given(st.integers(1, BUCKETS))
def test_a_limit_is_the_first_hash_of_the_next_bucket(opened: int) -> None:
    limit = hash_limit(opened)
    assert (limit - 1) * BUCKETS >> 32 == opened - 1
    assert limit * BUCKETS >> 32 == opened


@given(st.integers(0, BUCKETS))
def test_every_percentage_with_three_decimals_is_exact(opened: int) -> None:
    assert buckets_below(float(f"{opened // 1000}.{opened % 1000:03d}")) == opened


@given(texts, texts, st.floats(0, 100), st.floats(0, 100))
def test_a_larger_percentage_contains_a_smaller_one(
    salt: str, key: str, one: float, other: float
) -> None:
    smaller, larger = sorted((one, other))
    if bucket(salt, key) < buckets_below(smaller):
        assert bucket(salt, key) < buckets_below(larger)


def test_keys_spread_evenly_and_salts_are_independent() -> None:
    keys = [f"user-{number}" for number in range(20_000)]
    tenths = Counter(bucket("one", key) // 10_000 for key in keys)
    assert len(tenths) == 10
    # Six standard deviations of a binomial count of 20,000 at a tenth.
    assert all(abs(count - 2_000) < 6 * 42.5 for count in tenths.values())
    both = sum(bucket("one", key) < 10_000 and bucket("other", key) < 10_000 for key in keys)
    assert abs(both - 200) < 6 * 14.1
