"""Signed contexts: whose outcomes are those of a real user of the application.

The signature is checked before anything is evaluated or counted, whichever token sent it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from tidegate.context_signing import SIGNATURE_ATTRIBUTE, signature_matches

from tidegate_server.domain.project_documents import environment_address
from tidegate_server.domain.projects import Environment
from tidegate_server.errors import InvalidEvaluationRequest, StoreUnavailable
from tidegate_server.store import Store
from tidegate_server.web.context_keys import context_key

INVALID_CONTEXT = "INVALID_CONTEXT"
NO_SIGNATURE = ""

EnvironmentKey = tuple[str, str]
"""The keys of a project and of one of its environments."""

REREAD_SECONDS = 1.0
"""After how long a signature that does not match makes the environment be read again."""

MAX_REMEMBERED = 10_000


def take_signature(attributes: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return a context's attributes without the signature, and the signature.

    Raises:
        InvalidEvaluationRequest: it is no text, or is empty.
    """
    if SIGNATURE_ATTRIBUTE not in attributes:
        return attributes, NO_SIGNATURE
    signature = attributes[SIGNATURE_ATTRIBUTE]
    if not isinstance(signature, str) or not signature:
        raise InvalidEvaluationRequest(
            INVALID_CONTEXT,
            f"The context's {SIGNATURE_ATTRIBUTE} must be the signature of its targetingKey, as "
            "text. Leave it out if you have none.",
        )
    rest = {name: value for name, value in attributes.items() if name != SIGNATURE_ATTRIBUTE}
    return rest, signature


class ContextVerifier:
    """Verifies signatures with the context keys of environments.

    Threads: a dictionary of immutable values; the worst that a race does is a second reading.

    Args:
        store: the store with the environments.
        secret_key: the server's secret key.
        cache_seconds: how long an environment is used before it is read again.
    """

    def __init__(self, store: Store, secret_key: bytes, cache_seconds: float) -> None:
        self._store = store
        self._secret_key = secret_key
        self._cache_seconds = cache_seconds
        self._known: dict[EnvironmentKey, tuple[float, Environment]] = {}

    def verify(self, key: EnvironmentKey, targeting_key: str | None, signature: str) -> None:
        """Return if a context key of the environment signed the targeting key.

        Raises:
            InvalidEvaluationRequest: none did.
            StoreUnavailable: the environment was never read, and the store cannot be reached.
        """
        environment = self._environment(key, self._cache_seconds)
        if not self._is_valid(environment, targeting_key, signature):
            # The key may have been rotated just now.
            environment = self._environment(key, REREAD_SECONDS)
            if not self._is_valid(environment, targeting_key, signature):
                raise InvalidEvaluationRequest(INVALID_CONTEXT, _problem(environment))

    def _is_valid(
        self, environment: Environment, targeting_key: str | None, signature: str
    ) -> bool:
        # Every key is tried, so that the time does not tell which one was used.
        matches = [
            signature_matches(context_key(self._secret_key, each), targeting_key or "", signature)
            for each in environment.context_key_ids(int(time.time() * 1_000))
        ]
        return bool(targeting_key) and any(matches)

    def _environment(self, key: EnvironmentKey, newest_s: float) -> Environment:
        now = time.monotonic()
        read_at, known = self._known.get(key, (-math.inf, None))
        if known is not None and now - read_at < newest_s:
            return known
        project, name = key
        try:
            stored = self._store.get(project, environment_address(name))
        except StoreUnavailable:
            if known is None:
                raise
            return known
        environment = Environment(name) if stored is None else stored.document
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[key] = now, environment
        return environment


def _problem(environment: Environment) -> str:
    if environment.context_key_id is None:
        return (
            f"The context has a {SIGNATURE_ATTRIBUTE}, but the environment has no context key. "
            "Create one with `tidegate environment rotate-key`, or leave the attribute out."
        )
    return (
        f"The {SIGNATURE_ATTRIBUTE} does not belong to this targetingKey. Sign the targetingKey "
        "with the environment's context key, on your server; after a rotation, sign it again."
    )
