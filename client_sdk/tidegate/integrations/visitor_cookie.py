"""A first-party cookie that gives each visitor of a site a stable targeting key.

The cookie is set in the response to the first request that evaluates a flag, and only if the flag
is evaluated before the response starts: pages without flags stay as they are.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from tidegate.context import Context, context_problem, usable_context

VISITOR: Final = "tidegate.visitor"
"""Where a request has its visitor: in the WSGI environ, the ASGI scope, or Django's ``META``."""

LONGEST_AGE: Final = 400 * 86_400
"""Browsers keep no cookie longer (RFC 6265bis): 400 days, in seconds."""

_KEY: Final = re.compile(r"[0-9a-f]{32}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_VALUE: Final = re.compile(r"[!-:<-~]*")


@dataclass(frozen=True, slots=True)
class VisitorCookie:
    """The cookie of visitors, and what happens to their key when they log in.

    Its value is 128 random bits, as 32 hexadecimal digits. It is always ``HttpOnly``.

    Attributes:
        name: the cookie's name.
        max_age: how long browsers keep it, in seconds; 400 days at most.
        path: the paths that it is sent to.
        domain: the domain that it is sent to, subdomains included; None: only this host.
        same_site: when browsers send it with requests from other sites.
        secure: whether it is sent over HTTPS only; None: if this request came over HTTPS. Behind a
            proxy that ends TLS, set True.
        keep_after_login: keep the visitor's key as the targeting key of contexts that name a user.
        user_attribute: the attribute that then has the user's targeting key.

    Raises:
        ValueError: browsers would not accept such a cookie.
    """

    name: str = "tidegate_visitor"
    max_age: int = LONGEST_AGE
    path: str = "/"
    domain: str | None = None
    same_site: Literal["Lax", "Strict", "None"] = "Lax"
    secure: bool | None = None
    keep_after_login: bool = False
    user_attribute: str = "userId"

    def __post_init__(self) -> None:
        """Check what browsers would reject silently."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name has letters, digits, _, . and -; it is {self.name!r}")
        if not 0 < self.max_age <= LONGEST_AGE:
            raise ValueError(f"max_age is 1 to {LONGEST_AGE} seconds; it is {self.max_age}")
        if not self.path.startswith("/") or not _VALUE.fullmatch(self.path):
            raise ValueError(f"path begins with / and has no ; or space; it is {self.path!r}")
        if self.domain is not None and not _NAME.fullmatch(self.domain):
            raise ValueError(f"domain is a host's name; it is {self.domain!r}")
        if self.same_site not in ("Lax", "Strict", "None"):
            raise ValueError(f"same_site is Lax, Strict or None; it is {self.same_site!r}")
        if self.same_site == "None" and not self.secure:
            raise ValueError("same_site is None, so browsers need secure=True")

    def visitor(self, cookies: str, *, https: bool) -> Visitor:
        """Return the visitor of a request.

        Args:
            cookies: the header ``Cookie``; empty: the request has none.
            https: whether the request came over HTTPS.
        """
        for part in cookies.split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.name and _KEY.fullmatch(value):
                return Visitor(self, value, https=https)
        return Visitor(self, None, https=https)


class Visitor:
    """The visitor of one request. Their key is made when it is first needed."""

    __slots__ = ("_cookie", "_https", "_is_new", "_key")

    def __init__(self, cookie: VisitorCookie, key: str | None, *, https: bool) -> None:
        self._cookie = cookie
        self._key = key
        self._https = https
        self._is_new = key is None

    @property
    def key(self) -> str:
        """The visitor's targeting key."""
        if self._key is None:
            self._key = secrets.token_hex(16)
        return self._key

    def context(self, given: Context | str | None) -> Context | str | None:
        """Return the context to evaluate with.

        Args:
            given: what the application returned for the request; None: nobody has logged in.
        """
        if given is None:
            return self.key
        user = usable_context(given)
        if context_problem(given) or user.targeting_key is None:
            return given
        if not self._cookie.keep_after_login:
            return given
        kept = Context(self.key)
        kept.attributes = {**user.attributes, self._cookie.user_attribute: user.targeting_key}
        return kept

    def new_cookie(self) -> str | None:
        """Return the value of a header ``Set-Cookie``; None if the response needs none."""
        if not self._is_new or self._key is None:
            return None
        cookie = self._cookie
        parts = [
            f"{cookie.name}={self._key}",
            f"Max-Age={cookie.max_age}",
            f"Path={cookie.path}",
            f"SameSite={cookie.same_site}",
            "HttpOnly",
        ]
        if cookie.domain is not None:
            parts.append(f"Domain={cookie.domain}")
        if self._https if cookie.secure is None else cookie.secure:
            parts.append("Secure")
        return "; ".join(parts)


def visitor_key(request: Mapping[str, Any]) -> str:
    """Return the key of a request's visitor, for example to keep it with an account.

    Args:
        request: the WSGI environ (in Flask ``request.environ``), the ASGI scope, or Django's
            ``request.META``.

    Raises:
        LookupError: the integration was installed without a ``VisitorCookie``.
    """
    visitor: Visitor | None = request.get(VISITOR)
    if visitor is None:
        raise LookupError("there is no visitor: give the integration a VisitorCookie")
    return visitor.key
