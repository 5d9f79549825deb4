"""The authorization code flow with PKCE: where a browser is sent, and what its code is worth."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from tidegate_server.domain.identity_providers import IdentityProvider
from tidegate_server.errors import ProviderFailed, TokenRefused
from tidegate_server.openid_connect.metadata import ProviderMetadata, parse_object
from tidegate_server.outbound.http_client import HttpClient

TIMEOUT_S = 8.0
MAX_BYTES = 256 * 1024
SECRET_BYTES = 32
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class FlowSecrets:
    """What binds a sign-in to the browser that began it.

    Attributes:
        state: comes back with the browser.
        nonce: comes back in the ID token.
        verifier: is shown only to the token endpoint (RFC 7636).
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a code was exchanged for."""

    id_token: str = field(repr=False)
    access_token: str = field(repr=False)


def new_flow_secrets() -> FlowSecrets:
    """Return new secrets, of 256 bits each."""
    return FlowSecrets(*(secrets.token_urlsafe(SECRET_BYTES) for _ in range(3)))


def authorization_url(
    metadata: ProviderMetadata, provider: IdentityProvider, flow: FlowSecrets, redirect_uri: str
) -> str:
    """Return where to send a browser to sign in."""
    url: str = prepare_grant_uri(
        metadata.authorization_endpoint,
        client_id=provider.client_id,
        response_type="code",
        redirect_uri=redirect_uri,
        scope=" ".join(provider.scopes),
        state=flow.state,
        nonce=flow.nonce,
        code_challenge=create_s256_code_challenge(flow.verifier),
        code_challenge_method="S256",
    )
    return url


def exchange_code(
    http: HttpClient,
    metadata: ProviderMetadata,
    provider: IdentityProvider,
    client_secret: str,
    *,
    code: str,
    verifier: str,
    redirect_uri: str,
) -> Tokens:
    """Exchange a code for tokens.

    Args:
        http: sends the request.
        metadata: where.
        provider: the provider.
        client_secret: proves that it is this server; empty: it has none.
        code: what the browser brought.
        verifier: the secret that only this sign-in has.
        redirect_uri: as in ``authorization_url``.

    Raises:
        ProviderFailed: the provider cannot be reached, or answers something else.
        TokenRefused: it does not accept the code.
    """
    body = prepare_token_request(
        "authorization_code", code=code, redirect_uri=redirect_uri, code_verifier=verifier
    )
    headers = {"Accept": "application/json", "Content-Type": FORM}
    url, headers, body = _client(metadata, provider, client_secret).prepare(
        "POST", metadata.token_endpoint, headers, body
    )
    result = http.request(
        "POST", url, timeout_s=TIMEOUT_S, body=body.encode(), headers=headers, max_bytes=MAX_BYTES
    )
    if result.status is None:
        raise ProviderFailed(f"the token endpoint does not answer: {result.detail}")
    if not result.succeeded:
        raise _refusal(result.status, result.body)
    given = parse_object(result.body, "the tokens of the provider")
    id_token, access_token = given.get("id_token"), given.get("access_token", "")
    if not isinstance(id_token, str) or not isinstance(access_token, str):
        raise ProviderFailed("the token endpoint gave no ID token; is openid among the scopes?")
    return Tokens(id_token, access_token)


def read_userinfo(
    http: HttpClient, metadata: ProviderMetadata, access_token: str, subject: str
) -> Mapping[str, Any]:
    """Return more claims about whoever signed in; none if the provider has none.

    Raises:
        ProviderFailed: the provider cannot be reached, or answers something else.
        TokenRefused: it answers about somebody else.
    """
    if not metadata.userinfo_endpoint or not access_token.isascii() or not access_token:
        return {}
    result = http.request(
        "GET",
        metadata.userinfo_endpoint,
        timeout_s=TIMEOUT_S,
        headers={"Accept": "application/json", "Authorization": f"Bearer {access_token}"},
        max_bytes=MAX_BYTES,
    )
    if not result.succeeded:
        answer = result.detail if result.status is None else f"answered {result.status}"
        raise ProviderFailed(f"the userinfo endpoint: {answer}")
    claims = parse_object(result.body, "the user info of the provider")
    if claims.get("sub") != subject:
        raise TokenRefused("the user info is about another subject")
    return claims


def _client(
    metadata: ProviderMetadata, provider: IdentityProvider, client_secret: str
) -> ClientAuth:
    if not client_secret:
        return ClientAuth(provider.client_id, "", "none")
    if metadata.secret_in_body:
        return ClientAuth(provider.client_id, client_secret, "client_secret_post")
    # In a header both are encoded first (RFC 6749, 2.3.1).
    names = (quote(each, safe="") for each in (provider.client_id, client_secret))
    return ClientAuth(*names, "client_secret_basic")


def _refusal(status: int, body: bytes) -> ProviderFailed | TokenRefused:
    try:
        error = str(parse_object(body, "the answers of the provider").get("error"))[:60]
    except ProviderFailed:
        error = ""
    text = f"the token endpoint answered {status} {error}".strip()
    return TokenRefused(text) if error == "invalid_grant" else ProviderFailed(text)
