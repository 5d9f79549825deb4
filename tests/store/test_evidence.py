from __future__ import annotations

import pytest
import redis
from tidegate_server.store import Store
from tidegate_server.store.instances import Instance as Seen
from tidegate_server.store.instances import decode_instance

from tests.store.changes import PRODUCTION, SHOP, refreshed
from tests.store.reporting import Instance


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
        for number, id in enumerate("abc"):
            Instance(store, id * 32).send_next()
            raw.zadd(f"tg:{{{SHOP}}}:instances:{PRODUCTION}", {id * 32: 10**14 - number})
        assert [each.id[0] for each in store.instances.all(SHOP, PRODUCTION)] == ["a", "b", "c"]

    def test_of_another_environment_are_not_listed(self, store: Store) -> None:
        Instance(store).send_next()
        assert store.instances.all(SHOP, "staging") == []

    @pytest.mark.parametrize(
        ("silent_ms", "live"),
        [(0, True), (3 * 10_000 + 2_000, True), (3 * 10_000 + 2_001, False)],
    )
    def test_are_live_until_three_reports_are_missing(self, silent_ms: int, live: bool) -> None:
        values: list[bytes | None] = [
            b"4",
            b"1000000",
            b"10.0",
            b"",
            b"",
            b"1",
            b"0",
            b"0",
            b"",
            b"",
            b"0",
        ]
        found = decode_instance("i", values, 1_000_000 + silent_ms)
        assert found is not None
        assert found.live is live

    def test_that_sent_a_last_report_are_neither_live_nor_lost(self) -> None:
        values: list[bytes | None] = [
            b"4",
            b"1000000",
            b"10.0",
            b"",
            b"",
            b"1",
            b"1",
            b"0",
            b"",
            b"",
            b"0",
        ]
        found = decode_instance("i", values, 1_000_000)
        assert found is not None
        assert (found.live, found.left) == (False, True)

    def test_that_expired_while_being_read_are_left_out(self) -> None:
        assert decode_instance("i", [None] * 11, 5) is None


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
        raw.hset(f"tg:{{{SHOP}}}:instance:{PRODUCTION}:{gone.id}", "seen", 1)
        receipt = store.instances.kill_receipt(SHOP, PRODUCTION, "checkout")
        assert receipt is not None
        assert (receipt.live, receipt.applied, receipt.elapsed_ms) == (0, 0, ())
