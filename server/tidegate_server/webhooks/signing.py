"""Signatures of what is sent to webhooks.

No secret is stored. A webhook's signing secret is derived from the server's secret key and
an id that the webhook keeps, so that a copy of the store signs nothing, and every process
that has the key makes the same signatures.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

PREFIX = "tgw_"
_PURPOSE = "tidegate webhook signing secret "
"""Keeps this use of the secret key apart from its others: no token's secret has a space."""


def signing_secret(secret_key: bytes, secret_id: str) -> str:
    """The secret that a webhook's receiver knows, as text."""
    found = hmac.new(secret_key, (_PURPOSE + secret_id).encode(), hashlib.sha256)
    return PREFIX + found.hexdigest()


def signature(secrets: Iterable[str], at_seconds: int, body: bytes) -> str:
    """The value of ``Tidegate-Signature``: ``t=1790000000,v1=<hex>``, one ``v1`` a secret.

    Each is HMAC-SHA256 of the time, a dot and the body, under the secret's own text.
    """
    signed = b"%d.%s" % (at_seconds, body)
    made = (hmac.new(each.encode(), signed, hashlib.sha256).hexdigest() for each in secrets)
    return ",".join((f"t={at_seconds}", *(f"v1={each}" for each in made)))
