"""Hash and check passwords with Argon2id.

A hash takes some 30 milliseconds and ``MEMORY_KIB`` of memory, so that guesses are expensive. It is
computed in a native thread, since the web process serves everybody on one. At most ``AT_ONCE`` run
at a time and ``MOST_WAITING`` wait: whoever sends guesses cannot exhaust the memory.

Threads and greenlets: ``_turns`` and ``_waiting`` are shared by all requests of the process.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from tidegate_server.domain.passwords import normalized_password
from tidegate_server.errors import Overloaded

AT_ONCE = 2
MOST_WAITING = 50
TURN_SECONDS = 10.0

TIME_COST = 2
MEMORY_KIB = 19 * 1024
PARALLELISM = 1
"""After the OWASP Password Storage Cheat Sheet (Argon2id, m=19 MiB, t=2, p=1)."""

T = TypeVar("T")

_turns = threading.BoundedSemaphore(AT_ONCE)
_waiting = threading.BoundedSemaphore(AT_ONCE + MOST_WAITING)


def hash_password(password: str) -> str:
    """Return the hash of a password, with its salt and parameters.

    Raises:
        Overloaded: too many passwords are being checked.
    """
    return str(_in_turn(lambda: _hasher().hash(normalized_password(password))))


def password_matches(hash: str, password: str) -> bool:
    """Return whether a password has a hash.

    An empty hash, of a person without a password, takes as long and never matches.

    Raises:
        Overloaded: too many passwords are being checked.
    """
    matches = _in_turn(lambda: _matches(hash or _any_hash(), password))
    return bool(hash) and matches


def _matches(hash: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return bool(_hasher().verify(hash, normalized_password(password)))
    except (VerificationError, InvalidHashError):
        return False


def _in_turn(work: Callable[[], T]) -> T:
    if not _waiting.acquire(blocking=False):
        raise Overloaded("Too many people sign in at once; try again in a moment.", 5)
    try:
        if not _turns.acquire(timeout=TURN_SECONDS):
            raise Overloaded("Too many people sign in at once; try again in a moment.", 5)
        try:
            return _in_native_thread(work)
        finally:
            _turns.release()
    finally:
        _waiting.release()


def _in_native_thread(work: Callable[[], T]) -> T:
    """Return what some work returns; under gevent, other greenlets run meanwhile."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return work()
    import gevent

    pool: Any = gevent.get_hub().threadpool
    result: T = pool.apply(work)
    return result


def _hasher() -> Any:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=PARALLELISM)


@cache
def _any_hash() -> str:
    """Return the hash of a password that nobody has."""
    return str(_hasher().hash("nobody's password"))
