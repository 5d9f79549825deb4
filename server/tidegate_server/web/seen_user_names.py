"""The names of seen users, which SDKs and this server make of targeting keys in the same way."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from functools import partial

from tidegate.seen_users import user_name

_PURPOSE = "tidegate names of seen users "
"""Separates this use of the secret key from others: no token's secret contains a space."""


def names_secret(secret_key: bytes, project: str, environment: str) -> str:
    """Return the secret of an environment's names; not stored, but derived from the server's key.

    No other environment has it, so the names of one user in two of them cannot be joined.
    """
    text = f"{_PURPOSE}{project}/{environment}".encode()
    return hmac.new(secret_key, text, hashlib.sha256).hexdigest()


def name_of_key(secret_key: bytes, project: str, environment: str) -> Callable[[str], str]:
    """Return the function from a targeting key to the name of its user."""
    return partial(user_name, names_secret(secret_key, project, environment))
