"""Rate limits: a token bucket holds the requests of one minute and refills evenly."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.domain.tokens import Role, Token
from tidegate_server.errors import RateLimited
from tidegate_server.ofrep.rate_limits import RateLimits


def token(limit: int | None, id: str = "a") -> Token:
    return Token(id, "web", Role.CLIENT, "digest", "ana", 0, "shop", "production", limit)


def retry_after(limits: RateLimits, limited: Token, now: float) -> int:
    with pytest.raises(RateLimited) as caught:
        limits.take(limited, now)
    return caught.value.retry_after


def test_the_requests_of_a_minute_may_come_at_once() -> None:
    limits = RateLimits()
    for _ in range(30):
        limits.take(token(30), 100.0)
    assert retry_after(limits, token(30), 100.0) == 2


def test_the_bucket_refills_evenly_up_to_its_size() -> None:
    limits = RateLimits()
    limits.take(token(2), 0.0)
    limits.take(token(2), 0.0)
    assert retry_after(limits, token(2), 10.0) == 20
    limits.take(token(2), 30.0)
    assert retry_after(limits, token(2), 30.0) == 30
    for _ in range(2):
        limits.take(token(2), 3_600.0)
    assert retry_after(limits, token(2), 3_600.0) == 30


def test_tokens_do_not_share_a_bucket() -> None:
    limits = RateLimits()
    limits.take(token(1, "a"), 0.0)
    limits.take(token(1, "b"), 0.0)
    assert retry_after(limits, token(1, "a"), 0.0) == 60


def test_a_token_without_a_limit_is_never_refused() -> None:
    limits = RateLimits()
    for _ in range(1_000):
        limits.take(token(None), 0.0)


@given(
    limit=st.integers(1, 600),
    pauses=st.lists(st.floats(0, 5), min_size=1, max_size=300),
)
def test_no_more_requests_pass_than_the_bucket_held(limit: int, pauses: list[float]) -> None:
    limits, now, passed = RateLimits(), 0.0, 0
    for pause in pauses:
        now += pause
        with suppress(RateLimited):
            limits.take(token(limit), now)
            passed += 1
    assert passed <= limit + now * limit / 60 + 1e-6
    # Nothing is refused while the bucket has requests left.
    assert passed == len(pauses) or passed >= min(len(pauses), limit)
