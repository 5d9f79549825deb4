"""Passwords are hashed a few at a time, whoever sends how many."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tidegate_server.errors import Overloaded
from tidegate_server.web import password_hashes
from tidegate_server.web.password_hashes import hash_password, password_matches

PASSWORD = "four quiet harbour boats"


@pytest.fixture(scope="module", autouse=True)
def cheap_passwords() -> None:
    """Here a hash costs what it costs on a server."""


def test_a_password_matches_its_own_hash_only() -> None:
    hash = hash_password(PASSWORD)
    assert hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hash != hash_password(PASSWORD), "each has its own salt"
    assert password_matches(hash, PASSWORD)
    assert not password_matches(hash, PASSWORD + "s")
    assert not password_matches("", PASSWORD)
    assert not password_matches("not a hash", PASSWORD)


def test_a_keyboard_that_composes_characters_differently_makes_no_difference() -> None:
    assert password_matches(
        hash_password("caf\u00e9 caf\u00e9 caf\u00e9"), "cafe\u0301 " * 2 + "cafe\u0301"
    )


def test_at_most_two_are_hashed_at_once_and_too_many_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(password_hashes, "_waiting", threading.BoundedSemaphore(6))
    running = most = 0
    lock, go = threading.Lock(), threading.Event()

    def hash(_: str, __: str) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go.wait(5)
        with lock:
            running -= 1
        return False

    monkeypatch.setattr(password_hashes, "_matches", hash)

    def attempt(_: int) -> bool:
        try:
            password_matches("x", PASSWORD)
        except Overloaded:
            go.set()  # the refused ones come while the others wait
            return False
        return True

    with ThreadPoolExecutor(20) as threads:
        accepted = list(threads.map(attempt, range(20)))
    assert most == password_hashes.AT_ONCE
    assert False in accepted
    assert accepted.count(True) >= 6


def test_other_greenlets_run_while_a_password_is_hashed() -> None:
    program = """
from gevent import monkey; monkey.patch_all()
import gevent
from tidegate_server.web.password_hashes import hash_password
ticks = 0
done = False
def tick():
    global ticks
    while not done:
        ticks += 1
        gevent.sleep(0.001)
other = gevent.spawn(tick)
hash_password("four quiet harbour boats")
done = True
print(ticks)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(result.stdout) >= 2, "a hash in the hub's own thread would let it run once at most"
