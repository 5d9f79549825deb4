from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate_server.domain.checks import Check, Compare, Metric, OnFailure
from tidegate_server.domain.error_rate import (
    as_kept_by_release,
    policy_warnings,
    with_error_rate_check,
)
from tidegate_server.domain.policy import ErrorRate, Stage

from tests.domain.builders import make_policy, store_with_checkout

LATENCY = Check(metric=Metric.LATENCY)
ABSOLUTE = Check(compare=Compare.ABSOLUTE, threshold=0.02)


@pytest.mark.parametrize("checks", [(), (LATENCY,), (ABSOLUTE,), (LATENCY, ABSOLUTE)])
def test_the_check_is_added_after_the_others(checks: tuple[Check, ...]) -> None:
    policy = make_policy(checks=checks)

    assert with_error_rate_check(policy).checks == (*checks, Check())
    assert with_error_rate_check(with_error_rate_check(policy)).checks == (*checks, Check())


def test_the_policys_own_check_stays_as_it_is() -> None:
    own = replace(Check(), on_failure=OnFailure.PAUSE)
    policy = make_policy(checks=(own, LATENCY))

    assert with_error_rate_check(policy) is policy


def test_off_leaves_it_out() -> None:
    policy = make_policy(checks=(LATENCY,), error_rate=ErrorRate.OFF)

    assert with_error_rate_check(policy) is policy


def test_a_policy_that_never_has_a_control_group_needs_an_absolute_limit_instead() -> None:
    policy = make_policy(Stage("all", 100), checks=(ABSOLUTE,))

    assert with_error_rate_check(policy) is policy
    with_holdback = replace(policy, holdback=5.0)
    assert with_error_rate_check(with_holdback).checks == (ABSOLUTE, Check())


def test_a_release_that_started_without_the_check_says_that_it_is_off() -> None:
    complete = make_policy()

    assert as_kept_by_release(complete) is complete
    kept = as_kept_by_release(make_policy(checks=(LATENCY,)))
    assert (kept.checks, kept.error_rate) == ((LATENCY,), ErrorRate.OFF)


def test_a_start_adds_the_check_to_a_policy_that_was_stored_without_it() -> None:
    store = store_with_checkout()
    address, stored = next(
        (address, each) for address, each in store.stored.items() if address.kind == "policy"
    )
    store.stored[address] = replace(stored, document=replace(stored.document, checks=(LATENCY,)))
    store.start()

    assert store.release().policy.checks == (LATENCY, Check())


def test_warnings_say_where_errors_do_not_stop_a_release() -> None:
    def texts(**changes: object) -> list[tuple[str, str]]:
        warnings = policy_warnings(make_policy(**changes))
        return [(each.pointer, each.detail) for each in warnings]

    assert texts() == []
    [(pointer, detail)] = texts(checks=(LATENCY,), error_rate=ErrorRate.OFF)
    assert pointer == "/error_rate"
    assert "no other check measures the error rate" in detail
    [(_, detail)] = texts(checks=(LATENCY, ABSOLUTE), error_rate=ErrorRate.OFF)
    assert "no other check" not in detail
    only_warns = replace(Check(), on_failure=OnFailure.WARN)
    assert texts(checks=(LATENCY, only_warns))[0][0] == "/checks/1/on_failure"
    assert texts(checks=(Check(false_alarm=0.001), only_warns)) == []
