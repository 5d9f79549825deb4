"""Texts that only servers with the secret key can read: authenticated encryption (AES-256-GCM).

Each purpose has a key of its own, derived from the secret key (HKDF, RFC 5869). A text that was
sealed for one purpose cannot be opened for another, so nobody who writes to the store or to a
cookie can put one in the place of another.
"""

from __future__ import annotations

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES = 12
KEY_BYTES = 32


def seal(secret_key: bytes, purpose: str, text: str) -> str:
    """Return a text that only ``unseal`` can read, with the same key and purpose.

    Args:
        secret_key: the server's.
        purpose: what the text is for, and of whom: ``client secret of google``.
        text: what nobody else may read.
    """
    nonce = os.urandom(NONCE_BYTES)
    sealed = _cipher(secret_key, purpose).encrypt(nonce, text.encode(), None)
    return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()


def unseal(secret_key: bytes, purpose: str, sealed: str) -> str | None:
    """Return a sealed text; None: it was changed, or sealed with another key or purpose."""
    try:
        content = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        nonce, rest = content[:NONCE_BYTES], content[NONCE_BYTES:]
        return _cipher(secret_key, purpose).decrypt(nonce, rest, None).decode()
    except (InvalidTag, ValueError, binascii.Error):
        return None


def _cipher(secret_key: bytes, purpose: str) -> AESGCM:
    derivation = HKDF(SHA256(), KEY_BYTES, None, b"tidegate sealed text: " + purpose.encode())
    return AESGCM(derivation.derive(secret_key))
