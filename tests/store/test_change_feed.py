from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis
from structlog.testing import capture_logs
from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import Store, change_feed
from tidegate_server.store.change_feed import FeedUpdate, Subscription
from tidegate_server.store.embedded import EmbeddedValkey

from tests.store.changes import PRODUCTION, SHOP, refreshed
from tests.waiting import PATIENCE_SECONDS, until


def following(subscription: Subscription) -> FeedUpdate:
    """The next update, which has to come."""
    update = subscription.get(PATIENCE_SECONDS)
    assert update is not None, "nothing came"
    return update


def change_something(store: Store, times: int = 1) -> int:
    """Raise the environment's version; return it."""
    for _ in range(times):
        version = store.commit(refreshed("checkout")).versions[PRODUCTION]
    return version


class TestSubscriptions:
    def test_get_every_change_from_the_present_version_on(self, store: Store) -> None:
        version = change_something(store, 3)
        subscription = store.feed().subscribe(SHOP, PRODUCTION)
        change_something(store, 5)
        updates = [following(subscription) for _ in range(5)]
        assert [each.version for each in updates] == list(range(version + 1, version + 6))
        for update in updates:
            assert msgspec.json.decode(update.data or "null")["version"] == update.version
        assert subscription.get(0.01) is None

    def test_all_of_a_place_get_the_same(self, store: Store) -> None:
        subscriptions = [store.feed().subscribe(SHOP, PRODUCTION) for _ in range(20)]
        change_something(store, 2)
        for subscription in subscriptions:
            assert [following(subscription).version for _ in range(2)] == [1, 2]

    def test_of_one_place_get_nothing_of_another(self, store: Store) -> None:
        staging = store.feed().subscribe(SHOP, "staging")
        elsewhere = store.feed().subscribe("blog", PRODUCTION)
        here = store.feed().subscribe(SHOP, PRODUCTION)
        change_something(store)
        following(here)
        store.commit(refreshed(environment="staging"))
        assert following(staging).version == 1
        assert elsewhere.get(0.01) is None

    def test_that_come_later_miss_nothing_from_their_version_on(self, store: Store) -> None:
        early = store.feed().subscribe(SHOP, PRODUCTION)
        for _ in range(20):
            version = change_something(store)
            late = store.feed().subscribe(SHOP, PRODUCTION)
            change_something(store)
            # What the reader was behind with is given once more, never less.
            seen = following(late).version
            while seen <= version:
                seen = following(late).version
            assert seen == version + 1
            late.close()
        assert [following(early).version for _ in range(40)] == list(range(1, 41))

    def test_that_were_closed_get_nothing_more(self, store: Store) -> None:
        closed, open_ = (store.feed().subscribe(SHOP, PRODUCTION) for _ in range(2))
        closed.close()
        closed.close()
        change_something(store)
        following(open_)
        assert closed.get(0.01) is None

    def test_can_be_taken_again_after_all_were_closed(self, store: Store) -> None:
        store.feed().subscribe(SHOP, PRODUCTION).close()
        change_something(store, 2)
        subscription = store.feed().subscribe(SHOP, PRODUCTION)
        change_something(store)
        assert following(subscription).version == 3

    def test_end_when_the_feed_closes(self, store: Store) -> None:
        subscription = store.feed().subscribe(SHOP, PRODUCTION)
        store.feed().close()
        assert subscription.get(PATIENCE_SECONDS) is None
        assert store.feed().subscribe(SHOP, PRODUCTION).get(PATIENCE_SECONDS) is None

    def test_share_one_reader_a_process(self, store: Store) -> None:
        assert store.feed() is store.feed()


class TestMissedChanges:
    def test_are_told_as_a_gap_and_what_follows_is_whole_again(
        self, store: Store, raw: redis.Redis
    ) -> None:
        subscription = store.feed().subscribe(SHOP, PRODUCTION)
        # Two versions of which the stream lost the first, seen at once.
        lose = raw.pipeline(transaction=True)
        lose.set(f"tg:{{{SHOP}}}:version:{PRODUCTION}", 2)
        lose.xadd(f"tg:{{{SHOP}}}:changes:{PRODUCTION}", {"update": "{}"}, id="2-0")
        lose.execute()
        assert following(subscription) == FeedUpdate(2, None)
        change_something(store)
        update = following(subscription)
        assert update.version == 3
        assert update.data is not None

    def test_of_a_slow_subscriber_become_one_request_to_take_a_snapshot(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(change_feed, "QUEUE_ROOM", 3)
        slow = store.feed().subscribe(SHOP, PRODUCTION)
        monkeypatch.setattr(change_feed, "QUEUE_ROOM", 1_000)
        quick = store.feed().subscribe(SHOP, PRODUCTION)
        change_something(store, 4)
        assert [following(quick).version for _ in range(4)] == [1, 2, 3, 4]
        assert following(slow) == FeedUpdate(4, None)
        change_something(store)
        update = following(slow)
        assert update.version == 5
        assert update.data is not None

    def test_do_not_keep_a_slow_subscriber_from_hearing_of_the_end(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(change_feed, "QUEUE_ROOM", 1)
        slow = store.feed().subscribe(SHOP, PRODUCTION)
        slow.put(FeedUpdate(1, "{}"))
        store.feed().close()
        assert slow.get(PATIENCE_SECONDS) is None


class TestAStoreThatGoesAway:
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

    def test_and_comes_back_is_followed_on_from_the_same_version(
        self, own: EmbeddedValkey, away: Store
    ) -> None:
        subscription = away.feed().subscribe(SHOP, PRODUCTION)
        change_something(away)
        assert following(subscription).version == 1
        with capture_logs() as logs:
            assert own.pid is not None
            os.kill(own.pid, signal.SIGKILL)
            until(lambda: "feed_interrupted" in [each["event"] for each in logs], "the break")
            own.restart_if_dead()
            change_something(away, 2)
            updates = [following(subscription) for _ in range(2)]
            until(lambda: "feed_resumed" in [each["event"] for each in logs], "the word")
        assert [each.version for each in updates] == [2, 3]
        assert all(each.data for each in updates)
        # One line when it breaks, one when it is mended; nothing in between.
        assert [each["event"] for each in logs] == ["feed_interrupted", "feed_resumed"]

    def test_and_returns_from_an_older_copy_is_followed_from_there(
        self, own: EmbeddedValkey, away: Store
    ) -> None:
        change_something(away, 2)
        own.stop()
        shutil.copytree(own.data_dir, own.data_dir.parent / "copy")
        own.start()
        subscription = away.feed().subscribe(SHOP, PRODUCTION)
        change_something(away, 3)
        assert [following(subscription).version for _ in range(3)] == [3, 4, 5]

        own.stop()
        shutil.rmtree(own.data_dir)
        shutil.copytree(own.data_dir.parent / "copy", own.data_dir)
        own.start()
        assert following(subscription) == FeedUpdate(2, None)
        change_something(away)
        update = following(subscription)
        assert update.version == 3
        assert update.data is not None

    def test_cannot_be_subscribed_to_meanwhile(self, own: EmbeddedValkey, away: Store) -> None:
        own.stop()
        with pytest.raises(StoreUnavailable):
            away.feed().subscribe(SHOP, PRODUCTION)
        own.start()
        subscription = away.feed().subscribe(SHOP, PRODUCTION)
        change_something(away)
        assert following(subscription).version == 1
