from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis
from structlog.testing import capture_logs
from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import Store, change_feed
from tidegate_server.store.change_feed import Subscription, Update
from tidegate_server.store.embedded import EmbeddedValkey

from tests.store.changes import PRODUCTION, SHOP, refreshed
from tests.waiting import PATIENCE_SECONDS, until


def next_update(subscription: Subscription) -> Update:
    """Return the next update; fail if none comes."""
    update = subscription.get(PATIENCE_SECONDS)
    assert update is not None, "no update came"
    return update


def raise_version(store: Store, times: int = 1) -> int:
    """Commit changes of the snapshot; return the new version."""
    for _ in range(times):
        version = store.commit(refreshed("checkout")).versions[PRODUCTION]
    return version


class TestSubscriptions:
    def test_get_every_change_after_the_current_version(self, store: Store) -> None:
        version = raise_version(store, 3)
        subscription = store.change_feed.subscribe(SHOP, PRODUCTION)
        raise_version(store, 5)
        updates = [next_update(subscription) for _ in range(5)]
        assert [each.version for each in updates] == list(range(version + 1, version + 6))
        for update in updates:
            assert msgspec.json.decode(update.data or "null")["version"] == update.version
        assert subscription.get(0.01) is None

    def test_of_one_environment_all_get_the_same_updates(self, store: Store) -> None:
        subscriptions = [store.change_feed.subscribe(SHOP, PRODUCTION) for _ in range(20)]
        raise_version(store, 2)
        for subscription in subscriptions:
            assert [next_update(subscription).version for _ in range(2)] == [1, 2]

    def test_get_no_updates_of_another_environment(self, store: Store) -> None:
        staging = store.change_feed.subscribe(SHOP, "staging")
        elsewhere = store.change_feed.subscribe("blog", PRODUCTION)
        here = store.change_feed.subscribe(SHOP, PRODUCTION)
        raise_version(store)
        next_update(here)
        store.commit(refreshed(environment="staging"))
        assert next_update(staging).version == 1
        assert elsewhere.get(0.01) is None

    def test_that_start_later_miss_no_update_after_their_version(self, store: Store) -> None:
        early = store.change_feed.subscribe(SHOP, PRODUCTION)
        for _ in range(20):
            version = raise_version(store)
            late = store.change_feed.subscribe(SHOP, PRODUCTION)
            raise_version(store)
            # Updates that the reader was behind with may come again, but none is missing.
            seen = next_update(late).version
            while seen <= version:
                seen = next_update(late).version
            assert seen == version + 1
            late.close()
        assert [next_update(early).version for _ in range(40)] == list(range(1, 41))

    def test_that_were_closed_get_no_more_updates(self, store: Store) -> None:
        closed, open_ = (store.change_feed.subscribe(SHOP, PRODUCTION) for _ in range(2))
        closed.close()
        closed.close()
        raise_version(store)
        next_update(open_)
        assert closed.get(0.01) is None

    def test_can_be_opened_again_after_all_were_closed(self, store: Store) -> None:
        store.change_feed.subscribe(SHOP, PRODUCTION).close()
        raise_version(store, 2)
        subscription = store.change_feed.subscribe(SHOP, PRODUCTION)
        raise_version(store)
        assert next_update(subscription).version == 3

    def test_end_when_the_feed_closes(self, store: Store) -> None:
        subscription = store.change_feed.subscribe(SHOP, PRODUCTION)
        store.change_feed.close()
        assert subscription.get(PATIENCE_SECONDS) is None
        assert store.change_feed.subscribe(SHOP, PRODUCTION).get(PATIENCE_SECONDS) is None

    def test_share_one_reader_per_store(self, store: Store) -> None:
        others = set(threading.enumerate())
        for environment in (PRODUCTION, PRODUCTION, "staging"):
            store.change_feed.subscribe(SHOP, environment)
        assert len(set(threading.enumerate()) - others) == 1


class TestMissedChanges:
    def test_become_a_request_for_a_snapshot_and_later_updates_are_complete(
        self, store: Store, raw: redis.Redis
    ) -> None:
        subscription = store.change_feed.subscribe(SHOP, PRODUCTION)
        # Two versions appear at once, and the stream lost the first.
        lose = raw.pipeline(transaction=True)
        lose.set(f"tg:{{{SHOP}}}:version:{PRODUCTION}", 2)
        lose.xadd(f"tg:{{{SHOP}}}:changes:{PRODUCTION}", {"update": "{}"}, id="2-0")
        lose.execute()
        assert next_update(subscription) == Update(2, None)
        raise_version(store)
        update = next_update(subscription)
        assert update.version == 3
        assert update.data is not None

    def test_are_found_by_the_version_if_nothing_else_comes(
        self, store: Store, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(change_feed, "CHECK_SECONDS", 0.0)
        subscription = store.change_feed.subscribe(SHOP, PRODUCTION)
        raw.set(f"tg:{{{SHOP}}}:version:{PRODUCTION}", 3)
        assert next_update(subscription) == Update(3, None)
        raise_version(store)
        update = next_update(subscription)
        assert update.version == 4
        assert update.data is not None

    def test_are_found_after_a_failover_that_lost_versions_which_others_have_now(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(change_feed, "CHECK_SECONDS", float("inf"))
        raise_version(store)
        incarnation = store.exact_version(SHOP, PRODUCTION).incarnation
        before = store.dump_scope(SHOP)
        subscription = store.change_feed.subscribe(SHOP, PRODUCTION)
        raise_version(store)
        assert next_update(subscription).version == 2
        store.replace_scope(SHOP, before, incarnation)
        time.sleep(0.002)  # a commit of another millisecond
        raise_version(store)
        monkeypatch.setattr(change_feed, "CHECK_SECONDS", 0.0)
        assert next_update(subscription) == Update(2, None)
        raise_version(store)
        update = next_update(subscription)
        assert update.version == 3
        assert update.data is not None

    def test_of_a_slow_subscriber_become_one_request_for_a_snapshot(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(change_feed, "QUEUE_SIZE", 3)
        slow = store.change_feed.subscribe(SHOP, PRODUCTION)
        monkeypatch.setattr(change_feed, "QUEUE_SIZE", 1_000)
        quick = store.change_feed.subscribe(SHOP, PRODUCTION)
        raise_version(store, 4)
        assert [next_update(quick).version for _ in range(4)] == [1, 2, 3, 4]
        assert next_update(slow) == Update(4, None)
        raise_version(store)
        update = next_update(slow)
        assert update.version == 5
        assert update.data is not None

    def test_do_not_hide_the_end_of_the_feed_from_a_slow_subscriber(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(change_feed, "QUEUE_SIZE", 1)
        slow = store.change_feed.subscribe(SHOP, PRODUCTION)
        slow.put(Update(1, "{}"))
        store.change_feed.close()
        assert slow.get(PATIENCE_SECONDS) is None


class TestInterruptedStore:
    @pytest.fixture
    def own(self) -> Iterator[EmbeddedValkey]:
        with tempfile.TemporaryDirectory(prefix="tg-feed-") as folder:
            server = EmbeddedValkey(Path(folder) / "data")
            server.start()
            yield server
            server.stop()

    @pytest.fixture
    def away(self, own: EmbeddedValkey) -> Iterator[Store]:
        store = Store.connect(own.url)
        yield store
        store.close()

    def test_is_followed_from_the_same_version_after_a_restart(
        self, own: EmbeddedValkey, away: Store
    ) -> None:
        subscription = away.change_feed.subscribe(SHOP, PRODUCTION)
        raise_version(away)
        assert next_update(subscription).version == 1
        with capture_logs() as logs:
            assert own.pid is not None
            os.kill(own.pid, signal.SIGKILL)
            until(lambda: "feed_interrupted" in [each["event"] for each in logs], "interrupted")
            own.restart_if_dead()
            raise_version(away, 2)
            updates = [next_update(subscription) for _ in range(2)]
            until(lambda: "feed_resumed" in [each["event"] for each in logs], "resumed")
        assert [each.version for each in updates] == [2, 3]
        assert all(each.data for each in updates)
        # One event when it breaks and one when it resumes; none in between.
        assert [each["event"] for each in logs] == [
            "feed_interrupted",
            "feed_resumed",
        ]

    def test_is_followed_from_an_older_version_after_a_restore(
        self, own: EmbeddedValkey, away: Store
    ) -> None:
        raise_version(away, 2)
        own.stop()
        shutil.copytree(own.data_dir, own.data_dir.parent / "copy")
        own.start()
        subscription = away.change_feed.subscribe(SHOP, PRODUCTION)
        raise_version(away, 3)
        assert [next_update(subscription).version for _ in range(3)] == [3, 4, 5]

        own.stop()
        shutil.rmtree(own.data_dir)
        shutil.copytree(own.data_dir.parent / "copy", own.data_dir)
        own.start()
        assert next_update(subscription) == Update(2, None)
        raise_version(away)
        update = next_update(subscription)
        assert update.version == 3
        assert update.data is not None

    def test_refuses_subscriptions_while_unreachable(
        self, own: EmbeddedValkey, away: Store
    ) -> None:
        own.stop()
        with pytest.raises(StoreUnavailable):
            away.change_feed.subscribe(SHOP, PRODUCTION)
        own.start()
        subscription = away.change_feed.subscribe(SHOP, PRODUCTION)
        raise_version(away)
        assert next_update(subscription).version == 1
