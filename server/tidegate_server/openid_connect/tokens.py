"""Checks of what an identity provider signed: ID tokens and logout tokens.

ID tokens: OpenID Connect Core 1.0, 3.1.3.7. Logout tokens: OpenID Connect Back-Channel Logout 1.0,
2.6. Only asymmetric algorithms count: with another one, whoever knows the public key or the client
secret could sign, or nobody would have to.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from authlib.oidc.core.claims import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from tidegate_server.errors import TokenRefused

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
LEEWAY_S = 60
"""How far the clocks of the provider and of this server may be apart, in seconds."""

LONGEST_S = 24 * 3600
"""How long a logout token may count: so long it is remembered that it was used."""

MAX_LENGTH = 64 * 1024
MAX_NAME = 255
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_TYPES = (None, "logout+jwt", "application/logout+jwt", "JWT")


class _Registry(JWSRegistry):
    """Headers may be as long as those with certificates are."""

    max_header_length = 8_192


REGISTRY: Final = _Registry(algorithms=[*ALGORITHMS])

FindKeys = Callable[[str | None], KeySet]
"""Returns the keys of a provider, looking for the one with an id."""


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """A provider says that somebody signed out there.

    Attributes:
        id: of the token; each counts once.
        subject: who; empty: all of the session.
        session: the provider's session; empty: all of the subject.
        expires_s: when the token stops counting, in seconds since 1970.
    """

    id: str
    subject: str
    session: str
    expires_s: int


def check_id_token(
    text: str,
    find_keys: FindKeys,
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    access_token: str,
    now_s: int,
) -> Mapping[str, Any]:
    """Return the claims of an ID token that a provider made for this server and this sign-in.

    Args:
        text: the token.
        find_keys: returns the provider's keys.
        issuer: who must have made it.
        client_id: for whom.
        nonce: of the sign-in.
        access_token: what came with it; its hash is compared if the token has one.
        now_s: seconds since 1970.

    Raises:
        TokenRefused: it is not valid; the message says why, for the log.
        ProviderFailed: the keys cannot be read.
    """
    header, claims = _verified(text, find_keys)
    options = {
        "iss": {"essential": True, "value": issuer},
        "sub": {"essential": True},
        "aud": {"essential": True, "value": client_id},
        "exp": {"essential": True},
        "iat": {"essential": True},
    }
    parameters = {"client_id": client_id, "access_token": access_token}
    token = CodeIDToken(claims, header, options, parameters)
    try:
        token.validate(now_s, LEEWAY_S)
    except (JoseError, ValueError, TypeError) as error:
        raise TokenRefused(_reason(error)) from None
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise TokenRefused("the nonce is not that of this sign-in")
    _check_name(claims, "sub")
    if "events" in claims:
        raise TokenRefused("it is a logout token")
    return claims


def check_logout_token(
    text: str, find_keys: FindKeys, *, issuer: str, client_id: str, now_s: int
) -> LogoutToken:
    """Return what a logout token says; raises and takes arguments as ``check_id_token``."""
    header, claims = _verified(text, find_keys)
    if header.get("typ") not in LOGOUT_TYPES:
        raise TokenRefused("its type is not logout+jwt")
    registry = JWTClaimsRegistry(
        now_s,
        LEEWAY_S,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client_id},
        exp={"essential": True},
        iat={"essential": True},
        jti={"essential": True},
    )
    try:
        registry.validate({**claims})
    except (JoseError, ValueError, TypeError) as error:
        raise TokenRefused(_reason(error)) from None
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise TokenRefused("it has no logout event")
    if "nonce" in claims:
        raise TokenRefused("it has a nonce, as an ID token has")
    if claims["exp"] - now_s > LONGEST_S:
        raise TokenRefused("it counts for longer than a day")
    if "sub" not in claims and "sid" not in claims:
        raise TokenRefused("it names neither a subject nor a session")
    return LogoutToken(
        id=_check_name(claims, "jti"),
        subject=_check_name(claims, "sub") if "sub" in claims else "",
        session=_check_name(claims, "sid") if "sid" in claims else "",
        expires_s=int(claims["exp"]),
    )


def _verified(text: str, find_keys: FindKeys) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the header and the claims of a token with a valid signature."""
    if len(text) > MAX_LENGTH:
        raise TokenRefused("it is too long")
    try:
        header = jws.extract_compact(text.encode(), registry=REGISTRY).headers()
    except (JoseError, ValueError, TypeError) as error:
        raise TokenRefused(_reason(error)) from None
    algorithm, id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise TokenRefused(f"its algorithm is {str(algorithm)[:20]!r}")
    if id is not None and not isinstance(id, str):
        raise TokenRefused("its key id is no string")
    key = _key(find_keys(id), id)
    try:
        token = jwt.decode(text, key, registry=REGISTRY)
    except (JoseError, ValueError, TypeError) as error:
        raise TokenRefused(_reason(error)) from None
    return token.header, token.claims


def _key(keys: KeySet, id: str | None) -> Key:
    found = [each for each in keys if id is None or each.kid == id]
    if len(found) != 1:
        raise TokenRefused("it is signed with a key that the provider does not publish")
    return found[0]


def _check_name(claims: Mapping[str, Any], claim: str) -> str:
    value = claims[claim]
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise TokenRefused(f"its claim {claim} is not a short text")
    return value


def _reason(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
