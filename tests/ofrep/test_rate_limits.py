"""Rate limits: buckets that hold the requests of one minute and refill evenly."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.domain.permissions import Role
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import RateLimited
from tidegate_server.ofrep import rate_limits
from tidegate_server.ofrep.rate_limits import RateLimits

LIMIT = 600
HALF = LIMIT // 2


def token(limit: int | None, id: str = "a", role: Role = Role.CLIENT) -> Token:
    return Token(id, "web", role, "digest", "ana", 0, "shop", "production", limit)


def retry_after(limits: RateLimits, limited: Token, now: float) -> int:
    with pytest.raises(RateLimited) as caught:
        limits.take(limited, now=now)
    return caught.value.retry_after


def passing(
    limits: RateLimits,
    count: int,
    address: str | None = None,
    key: str | None = None,
    *,
    now: float = 0.0,
    of: Token | None = None,
) -> int:
    """Return how many of a number of requests pass."""
    passed = 0
    for _ in range(count):
        with suppress(RateLimited):
            limits.check(of or token(LIMIT), address, now)
            limits.take(of or token(LIMIT), address, key, now)
            passed += 1
    return passed


def test_the_requests_of_a_minute_may_come_at_once() -> None:
    limits = RateLimits()
    for _ in range(30):
        limits.take(token(30), now=100.0)
    assert retry_after(limits, token(30), 100.0) == 2


def test_the_bucket_refills_evenly_up_to_its_size() -> None:
    limits = RateLimits()
    limits.take(token(2), now=0.0)
    limits.take(token(2), now=0.0)
    assert retry_after(limits, token(2), 10.0) == 20
    limits.take(token(2), now=30.0)
    assert retry_after(limits, token(2), 30.0) == 30
    for _ in range(2):
        limits.take(token(2), now=3_600.0)
    assert retry_after(limits, token(2), 3_600.0) == 30


def test_tokens_do_not_share_a_bucket() -> None:
    limits = RateLimits()
    limits.take(token(1, "a"), now=0.0)
    limits.take(token(1, "b"), now=0.0)
    assert retry_after(limits, token(1, "a"), 0.0) == 60


def test_a_token_without_a_limit_is_never_refused() -> None:
    limits = RateLimits()
    assert passing(limits, 1_000, "192.0.2.1", "ann", of=token(None)) == 1_000


def test_a_hot_address_leaves_the_others_half_of_the_requests() -> None:
    limits = RateLimits()
    assert passing(limits, 2_000, "192.0.2.1") == HALF
    others = [passing(limits, 10, f"198.51.100.{number}") for number in range(20)]
    assert others == [10] * 20


def test_a_hot_address_still_leaves_the_others_their_requests_an_hour_later() -> None:
    limits = RateLimits()
    for second in range(3_600):
        passing(limits, 50, "192.0.2.1", now=float(second))
        assert passing(limits, 1, f"198.51.100.{second % 200}", now=float(second)) == 1


def test_a_lone_address_gets_everything_that_refills() -> None:
    """So a proxy that is not trusted, whose clients count as one, costs only the first half."""
    limits = RateLimits()
    passing(limits, 2_000, "192.0.2.1")
    # The token refills to its half first; then each request that comes in may pass.
    passing(limits, 2_000, "192.0.2.1", now=60.0)
    passed = sum(passing(limits, 100, "192.0.2.1", now=60.0 + second) for second in range(1, 61))
    assert passed == pytest.approx(LIMIT, abs=2)


def test_a_hot_targeting_key_leaves_its_neighbours_their_requests() -> None:
    limits = RateLimits()
    assert passing(limits, 2_000, "192.0.2.1", "hot") == HALF
    assert passing(limits, 20, "192.0.2.1", "ann") == 20
    assert passing(limits, 20, "198.51.100.1", "bob") == 20


def test_nobody_can_use_up_the_part_of_somebody_elses_key() -> None:
    limits = RateLimits()
    passing(limits, 2_000, "192.0.2.1", "ann")
    assert passing(limits, 20, "198.51.100.1", "ann") == 20


def test_invented_targeting_keys_do_not_help_an_address() -> None:
    limits = RateLimits()
    passed = sum(passing(limits, 1, "192.0.2.1", f"user-{number}") for number in range(2_000))
    assert passed == HALF


def test_addresses_of_one_ipv6_network_are_one() -> None:
    limits = RateLimits()
    passed = sum(passing(limits, 1, f"2001:db8:0:1::{number:x}") for number in range(2_000))
    assert passed == HALF
    assert passing(limits, 10, "2001:db8:0:2::1") == 10


def test_an_applications_server_is_one_address_with_the_whole_limit() -> None:
    limits, sdk = RateLimits(), token(LIMIT, role=Role.SDK)
    passed = [passing(limits, 1, "10.0.0.1", f"user-{number}", of=sdk) for number in range(LIMIT)]
    assert sum(passed) == LIMIT


def test_a_refused_request_says_whose_part_is_used_up() -> None:
    limits = RateLimits()
    passing(limits, 2_000, "192.0.2.1", "hot")
    with pytest.raises(RateLimited, match=r"This targeting key .* 600 per minute, .* it 30"):
        limits.take(token(LIMIT), "192.0.2.1", "hot", 0.0)
    passing(limits, 2_000, "192.0.2.1")
    with pytest.raises(RateLimited, match=r"This address .* 600 per minute, .* it 60"):
        limits.check(token(LIMIT), "192.0.2.1", 0.0)


def test_a_small_limit_still_lets_a_page_load() -> None:
    limits = RateLimits()
    assert passing(limits, 5, "192.0.2.1", "ann", of=token(5)) == 5


def test_the_memory_is_bounded_and_the_hot_address_stays_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rate_limits, "MAX_PARTS", 100)
    monkeypatch.setattr(rate_limits, "MAX_TOKENS", 10)
    limits = RateLimits()
    passing(limits, 2_000, "192.0.2.1")
    for number in range(1_000):
        passing(limits, 1, f"198.51.{number // 250}.{number % 250}", "k" * 1_000, now=0.0)
        assert passing(limits, 1, "192.0.2.1") == 0
        passing(limits, 1, of=token(5, id=f"t{number}"))
        limits.check(token(LIMIT), None, 0.0) if number < 200 else None
    assert len(limits._parts) <= 100
    assert len(limits._tokens) <= 10
    assert all(len(part) == 16 for part in limits._parts)


@given(
    limit=st.integers(1, 600),
    pauses=st.lists(st.floats(0, 5), min_size=1, max_size=300),
)
def test_no_more_requests_pass_than_the_bucket_held(limit: int, pauses: list[float]) -> None:
    limits, now, passed = RateLimits(), 0.0, 0
    for pause in pauses:
        now += pause
        with suppress(RateLimited):
            limits.take(token(limit), now=now)
            passed += 1
    assert passed <= limit + now * limit / 60 + 1e-6
    # Nothing is refused while the bucket has requests left.
    assert passed == len(pauses) or passed >= min(len(pauses), limit)
