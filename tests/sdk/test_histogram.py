from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.histogram import LARGEST_BUCKET, SMALLEST, bucket_of, upper_bound

SIZES = st.floats(SMALLEST, SMALLEST * 2.0**60)


@given(SIZES)
def test_a_value_is_at_most_its_buckets_bound_and_less_than_a_tenth_below_it(value: float) -> None:
    bound = upper_bound(bucket_of(value))
    assert value <= bound * (1 + 1e-12)
    assert bound <= value * 2 ** (1 / 8) * (1 + 1e-12)


@given(st.floats(-1e11, 1e11), st.floats(-1e11, 1e11))
def test_buckets_keep_the_order_of_values(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert bucket_of(low) <= bucket_of(high)


@given(SIZES)
def test_negative_values_mirror_positive_ones(value: float) -> None:
    assert bucket_of(-value) == -bucket_of(value)
    assert upper_bound(-bucket_of(value)) == -upper_bound(bucket_of(value))


@pytest.mark.parametrize(
    ("value", "bucket"),
    [
        (0.0, 0),
        (1e-9, 1),
        (1e-6, 1),
        (2e-6, 9),
        (1e-3, 1 + math.ceil(8 * math.log2(1e3))),
        (1.0, 1 + math.ceil(8 * math.log2(1e6))),
        (1e300, LARGEST_BUCKET),
        (-1e300, -LARGEST_BUCKET),
    ],
)
def test_buckets_have_the_published_numbers(value: float, bucket: int) -> None:
    assert bucket_of(value) == bucket
