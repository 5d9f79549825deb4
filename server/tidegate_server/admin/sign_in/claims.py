"""Reads what an identity provider says about somebody from its claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate_server.domain.identity_edits import Presented
from tidegate_server.domain.identity_providers import IdentityProvider
from tidegate_server.domain.people import normalized_email
from tidegate_server.visible_text import INVISIBLE

MAX_EMAIL = 254
MAX_NAME = 100
MAX_GROUPS = 5_000

Claims = Mapping[str, Any]


def needs_userinfo(provider: IdentityProvider, claims: Claims) -> bool:
    """Return whether an ID token leaves out what the user info may say."""
    groups = bool(provider.group_mappings) and _at(claims, provider.groups_claim) is None
    return groups or "email" not in claims or "email_verified" not in claims


def presented(provider: IdentityProvider, claims: Claims, userinfo: Claims) -> Presented:
    """Return what a provider says, from its ID token and its user info."""
    complete = "email" in claims and "email_verified" in claims
    # An email and whether it is verified belong together.
    about_email = userinfo if not complete and "email" in userinfo else claims
    found = _at(claims, provider.groups_claim)
    groups = found if found is not None else _at(userinfo, provider.groups_claim)
    return Presented(
        subject=claims["sub"],
        email=_email(about_email.get("email")),
        # Some providers write it as a string.
        email_verified=about_email.get("email_verified") in (True, "true"),
        name=_name(claims.get("name") or userinfo.get("name")),
        groups=_groups(groups),
    )


def left_groups_out(provider: IdentityProvider, claims: Claims) -> bool:
    """Return whether a provider says that there are too many groups to say (Entra ID does)."""
    names = claims.get("_claim_names")
    return isinstance(names, dict) and provider.groups_claim in names


def _at(claims: Claims, name: str) -> Any:
    """Return a claim by its name, or by a path with dots; None: there is none."""
    if not name:
        return None
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _email(value: Any) -> str:
    """Return an email; empty if it is none that people here may have."""
    if not isinstance(value, str) or len(value) > MAX_EMAIL or INVISIBLE.search(value):
        return ""
    return normalized_email(value)


def _groups(value: Any) -> frozenset[str]:
    listed = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return frozenset(each for each in listed[:MAX_GROUPS] if isinstance(each, str))


def _name(value: Any) -> str:
    """Return a name as people may have it: parentheses hold the email in the audit log."""
    if not isinstance(value, str):
        return ""
    visible = INVISIBLE.sub(" ", value).replace("(", " ").replace(")", " ")
    return " ".join(visible.split())[:MAX_NAME].strip()
