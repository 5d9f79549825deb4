"""What an identity provider says about itself (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tidegate_server.domain.identity_provider_edits import is_loopback
from tidegate_server.errors import ProviderFailed
from tidegate_server.urls import split_url

PATH = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """The addresses of a provider.

    Attributes:
        issuer: its name; exactly that of the settings.
        authorization_endpoint: where browsers are sent to sign in.
        token_endpoint: where a code is exchanged.
        jwks_uri: where its public keys are.
        userinfo_endpoint: where more claims are; empty: nowhere.
        end_session_endpoint: where browsers are sent to sign out; empty: nowhere.
        secret_in_body: whether the client secret goes into the body, not into a header.
        names_itself: whether its answers to browsers name the issuer (RFC 9207).
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    secret_in_body: bool = False
    names_itself: bool = False


def metadata_url(issuer: str) -> str:
    """Return the address of a provider's metadata."""
    return issuer.rstrip("/") + PATH


def parse_metadata(issuer: str, body: bytes) -> ProviderMetadata:
    """Return what a provider says about itself.

    Raises:
        ProviderFailed: it is no such document, is about another issuer, or has an address that
            cannot be used.
    """
    given = parse_object(body, "the settings of the provider")
    if given.get("issuer") != issuer:
        raise ProviderFailed(
            f"the provider calls itself {str(given.get('issuer'))[:200]!r}, and the issuer in its "
            f"settings here is {issuer!r}"
        )
    methods = given.get("token_endpoint_auth_methods_supported")
    return ProviderMetadata(
        issuer=issuer,
        authorization_endpoint=_address(issuer, given, "authorization_endpoint"),
        token_endpoint=_address(issuer, given, "token_endpoint"),
        jwks_uri=_address(issuer, given, "jwks_uri"),
        userinfo_endpoint=_address(issuer, given, "userinfo_endpoint", required=False),
        end_session_endpoint=_address(issuer, given, "end_session_endpoint", required=False),
        secret_in_body=isinstance(methods, list) and "client_secret_post" in methods,
        names_itself=given.get("authorization_response_iss_parameter_supported") is True,
    )


def parse_object(body: bytes, what: str) -> Mapping[str, Any]:
    """Return a JSON object.

    Raises:
        ProviderFailed: the text is none; the message says ``what`` it should be.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ProviderFailed(f"{what} are no JSON object")
    return given


def _address(issuer: str, given: Mapping[str, Any], name: str, *, required: bool = True) -> str:
    value = given.get(name)
    if value is None and not required:
        return ""
    parts = split_url(value) if isinstance(value, str) else None
    if parts is None or parts.fragment or parts.username is not None:
        raise ProviderFailed(f"the settings of the provider have no usable {name}")
    # A provider on this machine may speak plain HTTP, and send to nowhere else without TLS.
    plain = urlsplit(issuer).scheme == "http" and is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not plain:
        raise ProviderFailed(f"the {name} of the provider does not begin with https://")
    return str(value)
