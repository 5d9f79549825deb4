"""Signatures of targeting keys, with which a server vouches for the visitors of its pages.

The outcomes that a page reports count as a server's if the page sends the signature of its
visitor's targeting key along, as the attribute ``tidegateSignature`` of the context.
"""

from __future__ import annotations

import hashlib
import hmac

SIGNATURE_ATTRIBUTE = "tidegateSignature"


def sign_targeting_key(context_key: str, targeting_key: str) -> str:
    """Return the signature of a visitor's targeting key: hex HMAC-SHA256.

    Call this on a server, for a visitor whom it knows: one who is logged in, or who has a
    cookie that the server set. The context key must never reach a page or an app.

    Args:
        context_key: the environment's context key; `tidegate environment rotate-key` prints it.
        targeting_key: the targeting key of the visitor.
    """
    return hmac.new(context_key.encode(), targeting_key.encode(), hashlib.sha256).hexdigest()


def signature_matches(context_key: str, targeting_key: str, signature: str) -> bool:
    """Return whether a signature is that of a targeting key, in constant time."""
    expected = sign_targeting_key(context_key, targeting_key)
    return hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))
