from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tidegate.backoff import Backoff


def test_each_failure_in_a_row_doubles_the_wait_up_to_the_limit() -> None:
    backoff = Backoff(first_s=0.5, longest_s=3.0)
    assert [backoff.wait_s(failures) for failures in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]


@given(st.integers(1, 10_000), st.floats(0.0, 1.0))
def test_jitter_shortens_a_wait_by_at_most_its_share(failures: int, jitter: float) -> None:
    full = Backoff(2.0, 900.0).wait_s(failures)
    wait = Backoff(2.0, 900.0, jitter).wait_s(failures)
    assert full * (1.0 - jitter) * (1 - 1e-9) <= wait <= full
