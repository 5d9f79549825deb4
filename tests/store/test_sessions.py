"""Sessions in the store: they end by themselves, and nothing brings one back."""

from __future__ import annotations

import redis
from tidegate_server.domain.sessions import Session
from tidegate_server.store import Store

HOUR_MS = 60 * 60 * 1000


def session(digest: str, now_ms: int, *, person: str = "ada", idle_ms: int = HOUR_MS) -> Session:
    return Session(
        id=f"id of {digest}",
        digest=digest,
        person=person,
        method="password",
        began_ms=now_ms,
        last_seen_ms=now_ms,
        expires_ms=now_ms + 10 * HOUR_MS,
        idle_ms=idle_ms,
    )


def test_a_session_is_kept_and_listed_by_its_last_use(store: Store) -> None:
    now_ms = store.now_ms()
    first, second = session("a", now_ms), session("b", now_ms)
    for each in (first, second, session("c", now_ms, person="bob")):
        store.sessions.begin(each, now_ms)
    assert store.sessions.get("a") == first
    store.sessions.note_uses({"b": (second, now_ms + 5)}, now_ms)
    listed = store.sessions.of_person("ada")
    assert [each.digest for each in listed] == ["b", "a"]
    assert listed[0].last_seen_ms == now_ms + 5


def test_a_use_that_is_noted_late_does_not_bring_an_ended_session_back(store: Store) -> None:
    now_ms = store.now_ms()
    ended = session("a", now_ms)
    store.sessions.begin(ended, now_ms)
    count = store.sessions.count_ended()
    store.sessions.end([ended])
    assert store.sessions.count_ended() == count + 1
    store.sessions.note_uses({"a": (ended, now_ms + 5)}, now_ms)
    assert store.sessions.get("a") is None
    assert store.sessions.of_person("ada") == []
    store.sessions.end([])
    assert store.sessions.count_ended() == count + 1


def test_a_use_prolongs_a_session_but_not_beyond_its_end(store: Store, raw: redis.Redis) -> None:
    now_ms = store.now_ms()
    used = session("a", now_ms)
    store.sessions.begin(used, now_ms)
    [key] = raw.keys("*:session:*")
    assert 0 < raw.pttl(key) <= HOUR_MS
    store.sessions.note_uses({"a": (used, now_ms + HOUR_MS // 2)}, now_ms)
    assert HOUR_MS < raw.pttl(key) <= 1.5 * HOUR_MS
    store.sessions.note_uses({"a": (used, now_ms + 20 * HOUR_MS)}, now_ms)
    assert raw.pttl(key) <= 10 * HOUR_MS


def test_the_list_forgets_sessions_that_have_expired(store: Store, raw: redis.Redis) -> None:
    now_ms = store.now_ms()
    store.sessions.begin(session("a", now_ms), now_ms)
    [key] = raw.keys("*:session:*")
    raw.delete(key)
    assert store.sessions.of_person("ada") == []
    assert raw.keys("*:sessions:ada") == []
