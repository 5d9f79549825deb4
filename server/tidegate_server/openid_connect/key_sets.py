"""The public keys of a provider (RFC 7517)."""

from __future__ import annotations

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey, import_key

from tidegate_server.errors import ProviderFailed
from tidegate_server.openid_connect.metadata import parse_object

MAX_KEYS = 100
MIN_RSA_BITS = 2048


def parse_key_set(body: bytes) -> KeySet:
    """Return the keys of a key set that may check signatures; others are left out.

    A secret key has no place there: whoever knows it could sign as the provider.

    Raises:
        ProviderFailed: it is no key set, or there is no such key.
    """
    listed = parse_object(body, "the keys of the provider").get("keys")
    if not isinstance(listed, list):
        raise ProviderFailed("the keys of the provider are no key set")
    keys: list[RSAKey | ECKey | OKPKey] = []
    for each in listed[:MAX_KEYS]:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        try:
            key = import_key(each)
        except (JoseError, ValueError, TypeError):
            continue
        if isinstance(key, ECKey | OKPKey) or (
            isinstance(key, RSAKey) and key.public_key.key_size >= MIN_RSA_BITS
        ):
            keys.append(key)
    if not keys:
        raise ProviderFailed("the provider publishes no key with which it could sign")
    return KeySet([*keys])
