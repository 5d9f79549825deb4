from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.store import Store
from tidegate_server.store.instances import INSTANCE_SECONDS, decode_instance, describe_instance
from tidegate_server.store.instances import Instance as Seen
from tidegate_server.store.reports import Report

from tests.store.changes import PRODUCTION, SHOP, refreshed
from tests.store.reporting import Instance, set_seen

LAST = Report("i", 1, False, 4, 10.0, "", "", 1)


def kept(**changes: Any) -> bytes:
    """Return what is kept of an instance that was seen at 1,000,000."""
    return b"4 1000000 - " + describe_instance(replace(LAST, **changes))


def test_a_release_without_counts_is_in_its_first_generation(store: Store) -> None:
    found = store.evidence.totals(SHOP, PRODUCTION, "rel_1")
    assert (found.generation, found.readings) == (1, ())


class TestInstances:
    def test_have_the_values_of_their_last_report(self, store: Store) -> None:
        earliest = store.now_ms()
        Instance(store).send_next(version=7, interval=2.5, sdk="python/9", host="web-2", pid=99)
        (found,) = store.instances.all(SHOP, PRODUCTION)
        assert earliest <= found.seen_ms <= store.now_ms()
        seen = Seen(
            "a" * 32, 7, found.seen_ms, 2.5, "python/9", "web-2", 99, live=True, has_samples=True
        )
        assert found == seen

    def test_are_listed_the_latest_first(self, store: Store, raw: redis.Redis) -> None:
        now_ms = store.now_ms()
        for number, id in enumerate("abc"):
            Instance(store, id * 32).send_next()
            set_seen(raw, id * 32, now_ms - number)
        assert [each.id[0] for each in store.instances.all(SHOP, PRODUCTION)] == ["a", "b", "c"]

    def test_of_another_environment_are_not_listed(self, store: Store) -> None:
        Instance(store).send_next()
        assert store.instances.all(SHOP, "staging") == []

    @pytest.mark.parametrize(
        ("silent_ms", "live"),
        [(0, True), (3 * 10_000 + 2_000, True), (3 * 10_000 + 2_001, False)],
    )
    def test_are_live_until_three_reports_are_missing(self, silent_ms: int, live: bool) -> None:
        assert decode_instance(b"i", kept(), 1_000_000 + silent_ms).live is live

    def test_that_sent_a_last_report_are_neither_live_nor_lost(self) -> None:
        found = decode_instance(b"i", kept(leaving=True), 1_000_000)
        assert (found.live, found.left) == (False, True)

    def test_that_were_silent_for_a_day_are_left_out(self, store: Store, raw: redis.Redis) -> None:
        Instance(store).send_next()
        set_seen(raw, "a" * 32, store.now_ms() - INSTANCE_SECONDS * 1_000 - 1)
        assert store.instances.all(SHOP, PRODUCTION) == []

    @given(st.text(max_size=20), st.text(max_size=20), st.one_of(st.none(), st.integers(0, 10**14)))
    def test_are_kept_with_any_text(self, host: str, token: str, started: int | None) -> None:
        report = replace(LAST, host=host, token=token)
        beginning = "-" if started is None else str(started)
        found = decode_instance(
            b"i", f"4 5 {beginning} ".encode() + describe_instance(report), 1_000_000
        )
        assert (found.host, found.token, found.started_ms) == (host, token, started)


class TestKillReceipts:
    def test_there_is_none_without_a_kill(self, store: Store) -> None:
        Instance(store).send_next()
        assert store.instances.kill_receipt(SHOP, PRODUCTION, "checkout") is None

    def test_list_which_instances_have_applied_the_kill_and_which_have_not(
        self, store: Store
    ) -> None:
        store.commit(refreshed("checkout"))
        quick, slow = Instance(store, "a" * 32), Instance(store, "b" * 32)
        quick.send_next(version=1)
        slow.send_next(version=1)
        committed = store.commit(refreshed(killed=("checkout",)))
        quick.send_next(version=2)
        newcomer = Instance(store, "c" * 32)
        newcomer.send_next(version=2)

        receipt = store.instances.kill_receipt(SHOP, PRODUCTION, "checkout")
        assert receipt is not None
        assert (receipt.version, receipt.at_ms) == (2, committed.at_ms)
        assert (receipt.live, receipt.applied, receipt.waiting) == (3, 2, ("b" * 32,))
        assert len(receipt.elapsed_ms) == 1

        slow.send_next(version=5)
        receipt = store.instances.kill_receipt(SHOP, PRODUCTION, "checkout")
        assert receipt is not None
        assert (receipt.applied, receipt.waiting, len(receipt.elapsed_ms)) == (3, (), 2)

    def test_leave_out_instances_that_no_longer_report(
        self, store: Store, raw: redis.Redis
    ) -> None:
        store.commit(refreshed("checkout"))
        gone = Instance(store)
        gone.send_next(version=1)
        store.commit(refreshed(killed=("checkout",)))
        gone.send_next(version=2)
        set_seen(raw, gone.id, store.now_ms() - 3_600_000)
        receipt = store.instances.kill_receipt(SHOP, PRODUCTION, "checkout")
        assert receipt is not None
        assert (receipt.live, receipt.applied, receipt.elapsed_ms) == (0, 0, ())
