"""Sign out together with an identity provider, whichever of the two somebody signs out of.

When they sign out here, their browser may sign out there, too (OpenID Connect RP-Initiated Logout
1.0). When they sign out there, the provider says so (Back-Channel Logout 1.0), and sessions here
end.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import structlog
from flask import request

from tidegate_server.admin.document_reader import SERVER
from tidegate_server.admin.sign_in.providers import openid
from tidegate_server.domain.identity_providers import IdentityProvider
from tidegate_server.domain.people import identity_id, identity_provider_address
from tidegate_server.domain.sessions import Session
from tidegate_server.errors import ProviderFailed, TokenRefused
from tidegate_server.openid_connect import tokens
from tidegate_server.openid_connect.tokens import LogoutToken
from tidegate_server.web.backend import backend
from tidegate_server.web.id_tokens import unseal_id_token
from tidegate_server.web.sign_in import end_sessions

SIGN_IN_PATH = "/sign-in"

log = structlog.stdlib.get_logger("tidegate_server.api")


@dataclass(frozen=True, slots=True)
class SignOutThere:
    """How a browser signs out at the provider: with a form, so that nothing stays in an address.

    Attributes:
        name: of the provider.
        url: where to send the form.
        form: its fields.
    """

    name: str
    url: str
    form: dict[str, str] = field(repr=False)


def sign_out_there(session: Session) -> SignOutThere | None:
    """Return how to sign out at the provider of a session; None: it has no such address.

    Call it before the session ends.
    """
    if not session.provider:
        return None
    services = backend()
    stored = services.store.get(SERVER, identity_provider_address(session.provider))
    if stored is None:
        return None
    provider: IdentityProvider = stored.document
    try:
        metadata = openid().documents.metadata(provider.issuer)
    except ProviderFailed as error:
        log.warning("sign_out_incomplete", provider=provider.key, problem=error.message)
        return None
    if not metadata.end_session_endpoint:
        return None
    form = {
        "client_id": provider.client_id,
        "post_logout_redirect_uri": request.host_url.rstrip("/") + SIGN_IN_PATH,
    }
    sealed = services.store.sessions.sealed_id_token(session.digest)
    id_token = unseal_id_token(services.settings.secret_key, session.digest, sealed)
    if id_token:
        form["id_token_hint"] = id_token
    return SignOutThere(provider.title, metadata.end_session_endpoint, form)


def end_sessions_of_provider(key: str, text: str) -> int:
    """End the sessions that a provider says have ended, and return how many.

    Nothing slows these requests down: many customers of a provider call from the same addresses, so
    others could keep its word from arriving.

    Args:
        key: of the identity provider.
        text: the logout token.

    Raises:
        TokenRefused: it is not valid, or was used before.
        ProviderFailed: the keys of the provider cannot be read.
    """
    store = backend().store
    stored = store.get(SERVER, identity_provider_address(key))
    if stored is None or not stored.document.enabled:
        raise TokenRefused("there is no such identity provider")
    provider: IdentityProvider = stored.document
    token = _check(provider, text)
    ended = [each for each in _sessions(provider, token) if each.provider == key]
    for person in {each.person for each in ended}:
        theirs = [each for each in ended if each.person == person]
        end_sessions(theirs, f"identity provider {key}", "signed out there")
    return len(ended)


def _check(provider: IdentityProvider, text: str) -> LogoutToken:
    store = backend().store
    metadata = openid().documents.metadata(provider.issuer)
    now_s = store.now_ms() // 1000
    token = tokens.check_logout_token(
        text,
        lambda id: openid().documents.keys(metadata, id),
        issuer=provider.issuer,
        client_id=provider.client_id,
        now_s=now_s,
    )
    left_s = token.expires_s - now_s + 2 * tokens.LEEWAY_S
    name = hashlib.sha256(f"{provider.key} {token.id}".encode()).hexdigest()[:32]
    if not store.used_once.first("logout", name, left_s):
        raise TokenRefused("it was used before")
    return token


def _sessions(provider: IdentityProvider, token: LogoutToken) -> list[Session]:
    """Return the sessions that a logout token is about."""
    store = backend().store
    if not token.subject:
        return store.sessions.of_reference(provider.key, token.session)
    access = backend().authenticator.access()
    identity = access.identities.get(identity_id(provider.issuer, token.subject))
    if identity is None:
        return []
    theirs = store.sessions.of_person(identity.document.person)
    return [each for each in theirs if token.session in ("", each.reference)]
