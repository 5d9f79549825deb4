"""Reaching the store: clients, their patience, and what the other side must be able to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from tidegate_server.errors import StartupRefused, StoreUnavailable

T = TypeVar("T")

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
SCHEMES = ("unix", "redis", "rediss")
OLDEST = (7, 2)
"""The first release of the protocol with ``WAITAOF``; every Valkey has it."""

REASONS: tuple[tuple[type[RedisError], str], ...] = (
    (OutOfMemoryError, "it has no memory left for writes"),
    (ReadOnlyError, "it is a replica, which takes no writes"),
    (NoPermissionError, "its user may not do what Tidegate does"),
    (AuthenticationError, "it does not accept the user or the password"),
    (BusyLoadingError, "it is still reading its data"),
    (RedisTimeoutError, "it does not answer in time"),
    (RedisConnectionError, "it cannot be reached, or the connection broke"),
)
"""What an error of the client library means; the first that fits."""


def open_client(url: str, answer_seconds: float = ANSWER_SECONDS) -> redis.Redis:
    """Return a client that never sends a command twice by itself.

    A commit whose connection broke may have been carried out; only reads are repeated,
    by ``read`` below.

    Raises:
        StartupRefused: an address that is none of ``SCHEMES``.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise StartupRefused(
            f"TIDEGATE_STORE_URL starts with {scheme!r}; use unix:///path/to.sock, "
            "redis://host:6379/0 or rediss://host:6379/0. "
            "Sentinel groups and Clusters are not offered yet."
        )
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        protocol=2,
    )


def read(ask: Callable[[], T]) -> T:
    """Return what ``ask`` reads, asking a second time when a connection broke.

    Raises:
        StoreUnavailable: the store cannot be reached or refuses to answer.
    """
    try:
        return ask()
    except (RedisConnectionError, RedisTimeoutError):
        return write(ask)
    except RedisError as error:
        raise unavailable(error) from error


def write(do: Callable[[], T]) -> T:
    """Return what ``do`` does, once.

    Raises:
        StoreUnavailable: the store cannot be reached or refuses to answer.
    """
    try:
        return do()
    except RedisError as error:
        raise unavailable(error) from error


def unavailable(error: RedisError) -> StoreUnavailable:
    """Return the error that stands for the client library's."""
    # The library's own text may hold an address with a password in it.
    return StoreUnavailable(f"The store cannot be used now: {_why(error)}.")


def _why(error: RedisError) -> str:
    for kind, reason in REASONS:
        if isinstance(error, kind):
            return reason
    if str(error).startswith("MISCONF"):
        return "it cannot write to its disk"
    return type(error).__name__


def check_server(client: redis.Redis) -> bool:
    """Return whether the server keeps an append-only file.

    Raises:
        StoreUnavailable: it cannot be reached.
        StartupRefused: it is too old.
    """
    server: dict[str, Any] = read(lambda: client.info("server"))
    name = "Valkey" if "valkey_version" in server else "Redis"
    version = str(server.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise StartupRefused(f"The store is {name} {version}; Tidegate needs 7.2 or later.")
    persistence: dict[str, Any] = read(lambda: client.info("persistence"))
    return str(persistence.get("aof_enabled", "0")) == "1"
