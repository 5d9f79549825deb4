"""Signatures of requests to webhooks.

No signing secret is stored. It is derived from the server's secret key and an id that the
webhook keeps. A copy of the store alone can therefore sign nothing, and every process that has
the key makes the same signatures.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

PREFIX = "tgw_"
_PURPOSE = "tidegate webhook signing secret "
"""Separates this use of the secret key from others: no token's secret contains a space."""


def signing_secret(secret_key: bytes, secret_id: str) -> str:
    """Return the signing secret that a webhook's receiver knows."""
    digest = hmac.new(secret_key, (_PURPOSE + secret_id).encode(), hashlib.sha256)
    return PREFIX + digest.hexdigest()


def signature(secrets: Iterable[str], at_seconds: int, body: bytes) -> str:
    """Return the value of ``Tidegate-Signature``: ``t=1790000000,v1=<hex>``.

    There is one ``v1`` for each secret: the HMAC-SHA256 of the time, a dot and the body, with
    the secret's text as the key.
    """
    signed = b"%d.%s" % (at_seconds, body)
    digests = (hmac.new(each.encode(), signed, hashlib.sha256).hexdigest() for each in secrets)
    return ",".join((f"t={at_seconds}", *(f"v1={each}" for each in digests)))
