"""Context keys, with which applications sign the targeting keys of their visitors.

No context key is stored. It is derived from the server's secret key and an id that the
environment keeps, as the signing secrets of webhooks are.
"""

from __future__ import annotations

import hashlib
import hmac

PREFIX = "tgc_"
_PURPOSE = "tidegate context key "
"""Separates this use of the secret key from others: no token's secret contains a space."""


def context_key(secret_key: bytes, key_id: str) -> str:
    """Return the context key that an application's server knows."""
    digest = hmac.new(secret_key, (_PURPOSE + key_id).encode(), hashlib.sha256)
    return PREFIX + digest.hexdigest()
