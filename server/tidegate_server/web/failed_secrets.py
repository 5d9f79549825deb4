"""Slow the guessing of secrets: an address that sends too many that do not work has to wait.

Secrets are those of tokens, hooks and shared links, and the signatures of streams' URLs.

They are counted in the store, for all processes together, as attempts to sign in are. A secret that
works is neither counted nor refused, wherever it comes from. A process remembers which addresses
have to wait, so that their guesses cost the store no more counting.

Threads: what is remembered is one dictionary, of which each step reads or writes one item.
"""

from __future__ import annotations

import math
import time

import structlog

from tidegate_server.errors import RateLimited, StoreUnavailable
from tidegate_server.store import Store
from tidegate_server.store.sign_in_attempts import Limit
from tidegate_server.web.trusted_proxies import network_of

FAILED_SECRETS = Limit("secret", 100, 5 * 60)

MOST_REMEMBERED = 10_000
"""How many addresses a process remembers; those that it forgets are counted on."""

log = structlog.stdlib.get_logger("tidegate_server.api")


class FailedSecrets:
    """How many secrets that do not work each address has sent lately.

    Args:
        store: where they are counted.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, float] = {}
        """Until when each address has to wait, by the monotonic clock."""

    def count(self, address: str, problem: str) -> None:
        """Count a secret that does not work.

        Args:
            address: where it comes from.
            problem: what is wrong with it.

        Raises:
            RateLimited: there were too many; ``retry_after`` says how long the address has to wait.
        """
        network = network_of(address)
        left_s = self._waiting.get(network, 0.0) - time.monotonic()
        if left_s <= 0:
            left_s = self._seconds_to_wait(network)
        if left_s > 0:
            raise RateLimited(
                f"{problem} This address has sent more than {FAILED_SECRETS.most} tokens or other "
                "secrets that do not work. Wait before you try another; one that works is accepted "
                "at any time.",
                math.ceil(left_s),
            )

    def _seconds_to_wait(self, network: str) -> float:
        self._waiting.pop(network, None)
        try:
            attempts = self._store.sign_in_attempts.count(FAILED_SECRETS, network)
        except StoreUnavailable:
            return 0.0
        if attempts.count <= FAILED_SECRETS.most:
            return 0.0
        log.warning("guesses_slowed", address=network, attempts=attempts.count)
        if len(self._waiting) >= MOST_REMEMBERED:
            self._waiting.clear()
        self._waiting[network] = time.monotonic() + attempts.seconds_left
        return float(attempts.seconds_left)
