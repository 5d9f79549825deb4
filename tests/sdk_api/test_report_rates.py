"""How many reports a token may send."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask import Flask
from tidegate_server.errors import RateLimited
from tidegate_server.sdk_api import report_rates as module
from tidegate_server.sdk_api.report_rates import UNIT, ReportRates
from tidegate_server.sdk_api.services import EXTENSION

from tests.http_calls import Caller, slug
from tests.sdk_api.test_routes import report


def accepted(rates: ReportRates, size: int = 100, now: float = 0.0, token: str = "t1") -> int:
    """Return how many reports in a row are accepted."""
    count = 0
    while count < 10_000:
        try:
            rates.take(token, size, now)
        except RateLimited:
            break
        count += 1
    return count


def test_a_token_may_send_ten_seconds_worth_at_once_and_then_its_rate() -> None:
    rates = ReportRates(600)
    assert accepted(rates) == 100
    assert accepted(rates, now=1.0) == 10
    assert accepted(rates, now=1_000.0) == 100


def test_each_token_has_its_own_rate() -> None:
    rates = ReportRates(600)
    accepted(rates)
    assert accepted(rates, token="t2") == 100


def test_a_large_report_costs_as_much_as_several() -> None:
    rates = ReportRates(600)
    assert accepted(rates, size=10 * UNIT) == 10
    assert accepted(rates, size=10 * UNIT + 1, now=1_000.0) == 9


def test_what_is_refused_as_it_will_be_has_cost_what_it_was() -> None:
    rates = ReportRates(600)
    rates.take("t1", 2 * UNIT, 0.0)
    for _ in range(50):
        rates.take("t1", 100, 0.0)
        with pytest.raises(RateLimited):
            rates.take("t1", 100 * UNIT, 0.0, counted=100)
    assert accepted(rates) == 48
    rates.take("t1", 100, 1_000.0)
    rates.take("t1", 10 * UNIT, 1_000.0, counted=100)
    assert accepted(rates, now=1_000.0) == 90


def test_the_largest_report_is_accepted_at_any_rate() -> None:
    assert accepted(ReportRates(60), size=10**9) == 1


def test_the_error_says_when_to_retry() -> None:
    rates = ReportRates(600)
    accepted(rates)
    with pytest.raises(RateLimited) as refused:
        rates.take("t1", 50 * UNIT, 0.0)
    assert refused.value.retry_after == 5
    rates.take("t1", 50 * UNIT, 5.0)


def test_buckets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOKENS", 2)
    rates = ReportRates(600)
    for token in ("t1", "t2", "t3"):
        accepted(rates, token=token)
    assert accepted(rates, token="t3") == 0
    assert accepted(rates, token="t1") == 100


@pytest.mark.usefixtures("stopped_rates")
def test_a_report_beyond_the_rate_is_refused_before_it_is_read(app: Flask, sdk: Caller) -> None:
    app.extensions[EXTENSION] = replace(app.extensions[EXTENSION], report_rates=ReportRates(60))
    for sequence in range(1, 11):
        sdk.post_ok("/sdk/v1/reports", report(sequence=sequence))
    refused = sdk.post("/sdk/v1/reports", {"not": "a report"})
    assert (refused.status_code, slug(refused)) == (429, "rate-limited")
    assert int(refused.headers["Retry-After"]) >= 1
    assert "TIDEGATE_REPORTS_PER_MINUTE" in refused.text
