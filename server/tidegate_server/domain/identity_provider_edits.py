"""Changes to identity providers (scope ``""``).

Who writes a provider's settings decides who signs in as whom. So only those who have every
permission in the whole server change them: they can give nothing that they do not have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Audit, Change, Guard, Put
from tidegate_server.domain.document_changes import delete_document_change, put_document_change
from tidegate_server.domain.field_problems import (
    duplicate_problems,
    key_problems,
    missing_problems,
    raise_problems,
)
from tidegate_server.domain.identity_providers import OPENID, IdentityProvider
from tidegate_server.domain.network_addresses import AllowedNetworks
from tidegate_server.domain.people import (
    AccessDocuments,
    group_address,
    identity_provider_address,
    role_address,
)
from tidegate_server.domain.people_edits import grant_problems, require_all
from tidegate_server.domain.permissions import PERMISSIONS, Grant, Role
from tidegate_server.errors import FieldProblem, NotFound, NotPossible
from tidegate_server.urls import MAX_URL_LENGTH, split_url

MAX_PROVIDERS = 20
MAX_MAPPINGS = 200
MAX_DOMAINS = 50

EVERYTHING = Grant(PERMISSIONS[Role.ADMIN], role=Role.ADMIN.value)
"""All that a person may do in the whole server."""

_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")


def put_identity_provider(
    access: AccessDocuments,
    provider: IdentityProvider,
    *,
    caller: Caller,
    now_ms: int,
    networks: AllowedNetworks,
    reason: str = "",
) -> Change:
    """Create an identity provider, or replace the one with its key, which keeps its secret.

    Args:
        access: who may do what.
        provider: the provider.
        caller: who changes it.
        now_ms: when.
        networks: where providers may be besides public addresses.
        reason: why.

    Raises:
        Invalid: the issuer or another field is not valid, or a group or role does not exist.
        Forbidden: the caller does not have every permission in the whole server.
        NotPossible: there are too many.
    """
    require_all(caller, EVERYTHING)
    stored = access.providers.get(provider.key)
    before: IdentityProvider | None = stored.document if stored is not None else None
    domains = tuple(dict.fromkeys(each.lower() for each in provider.email_domains))
    provider = replace(
        provider,
        email_domains=domains,
        sealed_client_secret=before.sealed_client_secret if before is not None else "",
        sessions_from_ms=_sessions_from(before, provider, now_ms),
    )
    raise_problems(
        f"identity provider {provider.key}", _problems(access, before, provider, networks)
    )
    if before is None and len(access.providers) >= MAX_PROVIDERS:
        raise NotPossible(f"A server has at most {MAX_PROVIDERS} identity providers.")
    return put_document_change(
        "",
        identity_provider_address(provider.key),
        stored,
        provider,
        actor=caller.name,
        reason=reason,
        details={"issuer": provider.issuer},
        writes=_guards(access, provider),
    )


def set_client_secret(
    access: AccessDocuments, key: str, sealed: str, *, caller: Caller, reason: str = ""
) -> Change:
    """Keep another secret of an identity provider; empty: it has none any more.

    Raises:
        NotFound: there is no such provider.
        Forbidden: the caller does not have every permission in the whole server.
    """
    require_all(caller, EVERYTHING)
    stored = access.providers.get(key)
    if stored is None:
        raise NotFound(f"There is no identity provider {key!r}.")
    before: IdentityProvider = stored.document
    after = replace(before, sealed_client_secret=sealed)
    return Change(
        "",
        (Put(identity_provider_address(key), after, stored.revision, before=before),),
        audit=Audit(
            caller.name, "identity_provider.set_secret" if sealed else
            "identity_provider.delete_secret", key, reason=reason
        ),
    )  # fmt: skip


def delete_identity_provider(
    access: AccessDocuments, key: str, *, caller: Caller, reason: str = ""
) -> Change:
    """Delete an identity provider. Its sessions end, and its groups give nothing any more.

    Raises:
        NotFound: there is no such provider.
        Forbidden: the caller does not have every permission in the whole server.
    """
    require_all(caller, EVERYTHING)
    stored = access.providers.get(key)
    if stored is None:
        raise NotFound(f"There is no identity provider {key!r}.")
    return delete_document_change(
        "", identity_provider_address(key), stored, actor=caller.name, reason=reason
    )


def grants_of_change(
    access: AccessDocuments, before: IdentityProvider | None, after: IdentityProvider
) -> tuple[Grant, ...]:
    """Return what a change of a provider gives to somebody.

    Whoever controls a provider can sign in as the people who are known by it.
    """
    if before is None:
        return (EVERYTHING,)
    harmless = replace(
        before,
        name=after.name,
        enabled=after.enabled and before.enabled,
        group_mappings=after.group_mappings,
        sealed_client_secret=after.sealed_client_secret,
        sessions_from_ms=after.sessions_from_ms,
    )
    if harmless != after:
        return (EVERYTHING,)
    grants: list[Grant] = []
    for mapping in after.group_mappings:
        if mapping not in before.group_mappings:
            grants += access.resolved(mapping.grants)
            for key in mapping.groups:
                if key in access.groups:
                    grants += access.resolved(access.groups[key].document.grants)
    return tuple(grants)


def _sessions_from(before: IdentityProvider | None, after: IdentityProvider, now_ms: int) -> int:
    if before is None:
        return now_ms
    other = (before.issuer, before.client_id) != (after.issuer, after.client_id)
    ended = before.enabled and not after.enabled
    return now_ms if other or ended else before.sessions_from_ms


def _guards(access: AccessDocuments, provider: IdentityProvider) -> Iterator[Guard]:
    """Guard the custom roles and the groups that mappings name: nobody deletes them now."""
    roles = {grant.role for each in provider.group_mappings for grant in each.grants}
    for role in sorted(roles & access.roles.keys()):
        yield Guard(role_address(role), access.roles[role].revision)
    groups = {key for each in provider.group_mappings for key in each.groups}
    for key in sorted(groups & access.groups.keys()):
        yield Guard(group_address(key), access.groups[key].revision)


def _problems(
    access: AccessDocuments,
    before: IdentityProvider | None,
    provider: IdentityProvider,
    networks: AllowedNetworks,
) -> Iterator[FieldProblem]:
    yield from key_problems(provider.key)
    problem = _issuer_problem(provider.issuer)
    # An unchanged issuer may stay, so that its provider can still be disabled.
    if problem is None and (before is None or before.issuer != provider.issuer):
        problem = _host_problem(provider.issuer, networks)
    if problem is not None:
        yield FieldProblem("/issuer", problem)
    for key, other in access.providers.items():
        if key != provider.key and other.document.issuer == provider.issuer:
            yield FieldProblem("/issuer", f"The identity provider {key} has this issuer already.")
    if OPENID not in provider.scopes:
        yield FieldProblem("/scopes", "The scopes must have openid; add it.")
    for index, domain in enumerate(provider.email_domains):
        if not _DOMAIN.fullmatch(domain):
            yield FieldProblem(
                f"/email_domains/{index}",
                f"{domain!r} is no domain; write what is after the @, such as example.com.",
            )
    if provider.create_people and not provider.email_domains:
        yield FieldProblem(
            "/email_domains",
            "Name the domains of the emails of those who may join; otherwise everybody with an "
            "account at this provider could.",
        )
    mappings = provider.group_mappings
    names = [each.provider_group for each in mappings]
    yield from duplicate_problems(
        names, "/group_mappings/{}/provider_group", "mappings of the group"
    )
    for index, mapping in enumerate(mappings):
        at = f"/group_mappings/{index}"
        if not mapping.groups and not mapping.grants:
            yield FieldProblem(at, "A mapping gives groups or grants; add one, or leave it out.")
        yield from missing_problems(mapping.groups, access.groups, f"{at}/groups/{{}}", "group")
        for each in grant_problems(access, mapping.grants):
            yield replace(each, pointer=f"{at}{each.pointer}")


def _issuer_problem(issuer: str) -> str | None:
    parts = split_url(issuer)
    if parts is None:
        return (
            "Write the issuer as the provider does: https:// and a host, in at most "
            f"{MAX_URL_LENGTH} characters."
        )
    if parts.username is not None or parts.query or parts.fragment or "?" in issuer:
        return "An issuer has no user name, no query and no fragment; leave them out."
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        return "The issuer must begin with https://, unless it is on this machine."
    return None


def is_loopback(host: str) -> bool:
    """Return whether a host of a URL is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _host_problem(issuer: str, networks: AllowedNetworks) -> str | None:
    parts = split_url(issuer)
    host = (parts.hostname if parts is not None else None) or ""
    if networks.permits_host(host):
        return None
    return (
        f"{host} is not a public address, so the server sends nothing there. Ask its operator to "
        "add the network to TIDEGATE_IDENTITY_PROVIDER_NETWORKS."
    )
