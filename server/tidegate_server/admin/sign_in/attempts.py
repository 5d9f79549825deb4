"""Slow guessing down, without locking out the person whose account is guessed at.

Three limits hold at the same time: of one address for one account, of one address for all
accounts, and of all addresses for one account. The last one does not count for an address from
which the person has signed in lately, so a stranger's guesses keep only strangers waiting.

One-time codes have a limit of their own: six digits are few, and whoever guesses them has the
password or an invitation already.
"""

from __future__ import annotations

import hashlib
import hmac

import structlog

from tidegate_server.errors import RateLimited
from tidegate_server.store import Store
from tidegate_server.store.sign_in_attempts import Limit
from tidegate_server.web.sign_in import note_in_audit
from tidegate_server.web.trusted_proxies import network_of

PAIR = Limit("pair", 10, 5 * 60)
ADDRESS = Limit("address", 100, 5 * 60)
ACCOUNT = Limit("account", 50, 15 * 60)
CODE = Limit("code", 50, 6 * 60 * 60)
NOBODY = "nobody"
"""The id of no person. What is looked up for it takes as long as for somebody."""
PROVIDER = Limit("provider", 50, 5 * 60)
"""Sign-ins with identity providers that came to nothing; many people may share an address."""

log = structlog.stdlib.get_logger("tidegate_server.api")


class GuardedAttempt:
    """One attempt to sign in: counted before it is checked.

    Args:
        store: where attempts are counted.
        secret_key: the key of the digests under which accounts are counted.
        account: the email or the id that the attempt names, whether or not it exists.
        person: the id of the person whose account it is; empty: there is none.
        address: where the attempt comes from.

    Raises:
        RateLimited: there were too many; ``retry_after`` says when to try again.
    """

    def __init__(
        self, store: Store, secret_key: bytes, account: str, person: str, address: str
    ) -> None:
        self._store = store
        self._person = person
        self._address = network_of(address)
        name = hmac.new(secret_key, b"attempts " + account.encode(), hashlib.sha256)
        self._pair = f"{name.hexdigest()[:32]} {self._address}"
        self._count(ADDRESS, self._address)
        self._count(PAIR, self._pair)
        # Asked for nobody, too: whether an account exists does not show in the time it takes.
        known = store.sign_in_attempts.knows(person or NOBODY, self._address, store.now_ms())
        if not known:
            self._count(ACCOUNT, name.hexdigest()[:32])

    def succeeded(self, person: str = "") -> None:
        """Forget the attempts of this address for this account; remember the address.

        ``person`` is the id of the person who turned out to make the attempt.
        """
        self._store.sign_in_attempts.forget(PAIR, self._pair)
        if known := person or self._person:
            now_ms = self._store.now_ms()
            self._store.sign_in_attempts.remember(known, self._address, now_ms)

    def _count(self, limit: Limit, name: str) -> None:
        count_attempt(self._store, limit, name, self._address, self._person)


def count_code(store: Store, person: str, address: str) -> None:
    """Count an attempt to use a one-time code or a recovery code of a person.

    It does not count where they have signed in lately: only the other limits hold there.

    Raises:
        RateLimited: there were too many, from all other addresses together.
    """
    network = network_of(address)
    if not store.sign_in_attempts.knows(person, network, store.now_ms()):
        count_attempt(store, CODE, person, network, person)


def count_attempt(store: Store, limit: Limit, name: str, network: str, person: str = "") -> None:
    """Count an attempt.

    Args:
        store: where attempts are counted.
        limit: how many there may be.
        name: whose attempts are counted together.
        network: where it comes from, for the log.
        person: the id of the person whose account it is; empty: there is none.

    Raises:
        RateLimited: there were too many; ``retry_after`` says when to try again.
    """
    attempts = store.sign_in_attempts.count(limit, name)
    if attempts.count <= limit.most:
        return
    log.warning(
        "sign_in_slowed",
        limit=limit.kind,
        attempts=attempts.count,
        address=network,
        person=person or None,
    )
    if attempts.count == limit.most + 1 and person:
        # Once for each period: guesses do not fill the log.
        note_in_audit("server", "person.sign_in_slowed", person, limit=limit.kind)
    raise RateLimited(
        "Too many attempts to sign in. Wait a little, then try again.", attempts.seconds_left
    )
