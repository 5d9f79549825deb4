"""Sign in with an identity provider: send the browser there, and check what it brings back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import structlog
from flask import Flask, current_app, request

from tidegate_server.admin.access_documents import read_access_documents
from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import SERVER
from tidegate_server.admin.identity_providers.schemas import callback_path
from tidegate_server.admin.sign_in import claims as said
from tidegate_server.admin.sign_in import service
from tidegate_server.admin.sign_in.attempts import (
    NOBODY,
    PROVIDER,
    count_attempt,
)
from tidegate_server.admin.sign_in.flows import SECONDS, Flow, kept_flow
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.identity_edits import Presented, sign_in_change
from tidegate_server.domain.identity_providers import IdentityProvider
from tidegate_server.domain.people import Person, identity_provider_address
from tidegate_server.errors import Invalid, ProviderFailed, SignInRefused, TokenRefused
from tidegate_server.openid_connect import code_flow, tokens
from tidegate_server.openid_connect.metadata import ProviderMetadata
from tidegate_server.openid_connect.provider_documents import ProviderDocuments
from tidegate_server.outbound.http_client import HttpClient
from tidegate_server.web import invitations, token_secrets
from tidegate_server.web.backend import backend
from tidegate_server.web.caller_address import current_address
from tidegate_server.web.client_secrets import client_secret
from tidegate_server.web.own_paths import own_path
from tidegate_server.web.settings import ApiSettings
from tidegate_server.web.sign_in import SignedIn, sign_in
from tidegate_server.web.trusted_proxies import network_of

MAX_SESSION = 255
"""Characters of a provider's name for a session."""

EXTENSION = "tidegate_openid"

UNKNOWN = "There is no such way to sign in here. Choose another one."
BEGUN_ELSEWHERE = (
    "This sign-in took too long, was used already, or began in another browser. Begin again."
)
NO_ANSWER = (
    "{} does not answer as it should. Try again, or sign in another way; the server's log has more."
)
NOT_VALID = (
    "What {} said about you is not valid, so nobody was signed in. Begin again; if it stays so, "
    "ask an admin: the server's log says why."
)
ENDED_THERE = "{} did not sign you in, because you or it said no."
FAILED_THERE = "{} could not sign you in. Try again, or ask an admin: the server's log has more."

DECLINED = frozenset(
    {"access_denied", "interaction_required", "login_required", "consent_required"}
)

log = structlog.stdlib.get_logger("tidegate_server.api")


@dataclass(frozen=True, slots=True)
class OpenIdServices:
    """What all requests of a process share: a client, and what providers publish."""

    http: HttpClient
    documents: ProviderDocuments


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that has begun: where to send the browser, and what it has to keep."""

    url: str
    flow: Flow


@dataclass(frozen=True, slots=True)
class Answer:
    """What a browser brought back from a provider.

    Attributes:
        state: of the sign-in.
        code: to be exchanged for tokens.
        issuer: who sent it, if the provider says so (RFC 9207).
        error: why there is no code.
    """

    state: str
    code: str
    issuer: str
    error: str


def install(app: Flask, settings: ApiSettings) -> None:
    """Give an application what it needs to talk to identity providers."""
    http = HttpClient(settings.identity_provider_networks)
    app.extensions[EXTENSION] = OpenIdServices(http, ProviderDocuments(http))


def openid() -> OpenIdServices:
    """Return the services of the application that serves the current request."""
    return cast(OpenIdServices, current_app.extensions[EXTENSION])


def offered_providers() -> list[IdentityProvider]:
    """Return the identity providers with which people sign in, by their title."""
    stored = backend().authenticator.access().providers.values()
    enabled = (each.document for each in stored if each.document.enabled)
    return sorted(enabled, key=lambda each: each.title.casefold())


def begin(key: str, wanted: str, invitation: str = "") -> Begun:
    """Begin a sign-in.

    Args:
        key: of the identity provider.
        wanted: a path of this server to go to afterwards.
        invitation: the text of an invitation, which was checked; empty: none.

    Raises:
        SignInRefused: there is no such provider, or it does not answer.
    """
    store = backend().store
    provider: IdentityProvider = _provider(key).document
    try:
        metadata = openid().documents.metadata(provider.issuer)
    except ProviderFailed as error:
        raise _no_answer(provider, error) from None
    flow = Flow(
        provider=key,
        issuer=provider.issuer,
        secrets=code_flow.new_flow_secrets(),
        redirect_uri=request.host_url.rstrip("/") + callback_path(key),
        wanted=own_path(wanted),
        began_ms=store.now_ms(),
        invitation=invitation,
    )
    url = code_flow.authorization_url(metadata, provider, flow.secrets, flow.redirect_uri)
    return Begun(url, flow)


def finish(key: str, answer: Answer) -> tuple[SignedIn, str]:
    """Check what the browser brought back, and begin a session; return it and where to go.

    Raises:
        SignInRefused: nobody is signed in; the message says why.
        RateLimited: there were too many attempts from this address.
    """
    store, network = backend().store, network_of(current_address())
    stored = _provider(key)
    provider: IdentityProvider = stored.document
    flow = _flow_of(provider, answer)
    # Only what this server began counts: other pages cannot keep a network waiting.
    count_attempt(store, PROVIDER, network, network)
    if answer.error:
        raise _ended_there(provider, answer.error)
    try:
        metadata = openid().documents.metadata(provider.issuer)
        _check_sender(metadata, answer)
        id_token, claims, userinfo = _read_claims(provider, metadata, flow, answer)
    except ProviderFailed as error:
        raise _no_answer(provider, error) from None
    except TokenRefused as error:
        raise _refused(provider, NOT_VALID.format(provider.title), error.message) from None
    if said.left_groups_out(provider, claims):
        log.warning("provider_left_groups_out", provider=key)
    try:
        person = _person(key, said.presented(provider, claims, userinfo), flow)
    except SignInRefused as error:
        raise _refused(provider, error.message, "no account that fits") from None
    store.sign_in_attempts.forget(PROVIDER, network)
    session = claims.get("sid")
    signed_in = sign_in(
        person,
        "identity_provider",
        provider=key,
        reference=session[:MAX_SESSION] if isinstance(session, str) else "",
        id_token=id_token,
    )
    return signed_in, flow.wanted


def _flow_of(provider: IdentityProvider, answer: Answer) -> Flow:
    """Return the sign-in that this browser began, which counts once."""
    store, key = backend().store, backend().settings.secret_key
    flow = kept_flow(key, store.now_ms())
    problem = ""
    if flow is None:
        problem = "the browser has no sign-in"
    elif not flow.has_state(answer.state):
        problem = "the state is not that of the sign-in"
    elif (flow.provider, flow.issuer) != (provider.key, provider.issuer):
        problem = "the sign-in began with another provider"
    elif not store.used_once.first("flow", flow.name, SECONDS):
        problem = "the sign-in was used already"
    if flow is None or problem:
        raise _refused(provider, BEGUN_ELSEWHERE, problem)
    return flow


def _check_sender(metadata: ProviderMetadata, answer: Answer) -> None:
    if (answer.issuer or metadata.names_itself) and answer.issuer != metadata.issuer:
        raise TokenRefused("the answer is from another issuer")


def _read_claims(
    provider: IdentityProvider, metadata: ProviderMetadata, flow: Flow, answer: Answer
) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
    """Return the ID token, its claims, and those of the user info that it left out."""
    services, shared = backend(), openid()
    got = code_flow.exchange_code(
        shared.http,
        metadata,
        provider,
        client_secret(services.settings.secret_key, provider),
        code=answer.code,
        verifier=flow.secrets.verifier,
        redirect_uri=flow.redirect_uri,
    )
    claims = tokens.check_id_token(
        got.id_token,
        lambda id: shared.documents.keys(metadata, id),
        issuer=provider.issuer,
        client_id=provider.client_id,
        nonce=flow.secrets.nonce,
        access_token=got.access_token,
        now_s=services.store.now_ms() // 1000,
    )
    if not said.needs_userinfo(provider, claims):
        return got.id_token, claims, {}
    more = code_flow.read_userinfo(shared.http, metadata, got.access_token, claims["sub"])
    return got.id_token, claims, more


def _person(key: str, presented: Presented, flow: Flow) -> Person:
    """Return who signs in, after what that changes was committed."""
    store, new_person = backend().store, token_secrets.new_id()
    found: list[Person] = []

    def make_change() -> Change:
        access = read_access_documents(store)
        provider = access.providers.get(key)
        if provider is None or provider.document.issuer != flow.issuer:
            raise SignInRefused(UNKNOWN)
        person, change = sign_in_change(
            access,
            provider,
            presented,
            new_person=new_person,
            now_ms=store.now_ms(),
            invitation=_invitation(flow),
        )
        found[:] = [person]
        return change

    commit_with_retry(store, make_change)
    return found[0]


def _invitation(flow: Flow) -> Stored | None:
    if not flow.invitation:
        return None
    store, key = backend().store, backend().settings.secret_key
    id, secret = invitations.parse_invitation(flow.invitation) or (NOBODY, "")
    try:
        return service.read_invitation(store, key, id, secret)
    except Invalid as error:
        raise SignInRefused(error.message) from None


def _provider(key: str) -> Stored:
    stored = backend().store.get(SERVER, identity_provider_address(key))
    if stored is None or not stored.document.enabled:
        raise SignInRefused(UNKNOWN)
    return stored


def _no_answer(provider: IdentityProvider, error: ProviderFailed) -> SignInRefused:
    return _refused(provider, NO_ANSWER.format(provider.title), error.message)


def _ended_there(provider: IdentityProvider, error: str) -> SignInRefused:
    # Whoever makes the address of an answer chooses this text.
    code = error if error.isascii() and error.isprintable() and len(error) < 60 else "?"
    message = ENDED_THERE if error in DECLINED else FAILED_THERE
    return _refused(provider, message.format(provider.title), f"the provider said {code}")


def _refused(provider: IdentityProvider, message: str, problem: str) -> SignInRefused:
    log.warning(
        "sign_in_refused", provider=provider.key, problem=problem, address=current_address()
    )
    return SignInRefused(message)
