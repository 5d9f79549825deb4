"""The secrets that identity providers gave this server, as the store keeps them."""

from __future__ import annotations

from tidegate_server.domain.identity_providers import IdentityProvider
from tidegate_server.web.sealed_text import seal, unseal


def seal_client_secret(secret_key: bytes, provider: str, secret: str) -> str:
    """Return the secret of the identity provider with a key as the store keeps it."""
    return seal(secret_key, _purpose(provider), secret)


def client_secret(secret_key: bytes, provider: IdentityProvider) -> str:
    """Return the secret of an identity provider; empty: it has none that can be read."""
    sealed = provider.sealed_client_secret
    return (unseal(secret_key, _purpose(provider.key), sealed) or "") if sealed else ""


def _purpose(provider: str) -> str:
    return f"client secret of {provider}"
