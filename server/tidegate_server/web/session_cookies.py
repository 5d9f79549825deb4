"""The cookie of a session, and how a change is known to come from this server's own pages.

Over HTTPS the cookie is ``__Host-tidegate``: browsers accept it over HTTPS only, for this host
only, and never from another one. Over plain HTTP browsers refuse such a cookie, so there it is
``tidegate-http``, which anybody on the network can read: use that on your own machine only.

A browser sends cookies also with requests that another page makes. So a change needs the session's
CSRF token, in the header ``Tidegate-CSRF`` or the form field ``csrf_token``, and must not come from
another origin. Requests with a bearer token need neither: no browser adds one by itself.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from flask import Response, request

from tidegate_server.errors import Forbidden
from tidegate_server.web.token_secrets import same_digest

SECURE_COOKIE = "__Host-tidegate"
PLAIN_COOKIE = "tidegate-http"
CSRF_HEADER = "Tidegate-CSRF"
CSRF_FIELD = "csrf_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SECRET_BYTES = 32
MAX_LENGTH = 100


def new_session_secret() -> str:
    """Return the secret of a new session, of 256 bits."""
    return secrets.token_urlsafe(SECRET_BYTES)


def session_digest(secret_key: bytes, secret: str) -> str:
    """Return the digest of a session's secret that the store keeps: hex HMAC-SHA256."""
    return hmac.new(secret_key, b"session " + secret.encode(), hashlib.sha256).hexdigest()


def csrf_token(secret_key: bytes, secret: str) -> str:
    """Return the CSRF token of the session with a secret; hex."""
    return hmac.new(secret_key, b"csrf " + secret.encode(), hashlib.sha256).hexdigest()


def cookie_name() -> str:
    """Return the name of the session's cookie over the current request's scheme."""
    return SECURE_COOKIE if request.is_secure else PLAIN_COOKIE


def session_secret() -> str | None:
    """Return the secret in the current request's cookie; None: there is none."""
    secret = request.cookies.get(cookie_name(), "")
    return secret if 0 < len(secret) <= MAX_LENGTH and secret.isascii() else None


def set_session_cookie(response: Response, secret: str, seconds: int) -> None:
    """Give the browser the cookie of a session."""
    response.set_cookie(
        cookie_name(),
        secret,
        max_age=seconds,
        path="/",
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )


def delete_session_cookie(response: Response) -> None:
    """Tell the browser to forget the cookie."""
    response.delete_cookie(
        cookie_name(), path="/", secure=request.is_secure, httponly=True, samesite="Lax"
    )


def require_own_page(secret_key: bytes, secret: str) -> None:
    """Check that a change by a session comes from a page of this server.

    Raises:
        Forbidden: it has no valid CSRF token, or comes from another origin.
    """
    require_own_origin()
    given = request.headers.get(CSRF_HEADER)
    if given is None and request.mimetype in (
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ):
        given = request.form.get(CSRF_FIELD)
    if not given or not same_digest(_ascii(given), csrf_token(secret_key, secret)):
        raise Forbidden(
            f"A change by a session needs its CSRF token in the header {CSRF_HEADER}; "
            "GET /api/v1/me shows it. Reload the page and try again."
        )


def require_own_origin() -> None:
    """Check that a browser does not send the current request for a page of another origin.

    Raises:
        Forbidden: it does.
    """
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    own = request.host_url.rstrip("/")
    if site not in ("same-origin", "none") or (origin is not None and origin != own):
        raise Forbidden(
            f"This request comes from a page of {origin or 'another site'}; this server is {own}. "
            "If a proxy is in front of it, name the proxy in TIDEGATE_TRUSTED_PROXIES, and let it "
            "send X-Forwarded-Host and X-Forwarded-Proto."
        )


def _ascii(text: str) -> str:
    return text if text.isascii() else ""
