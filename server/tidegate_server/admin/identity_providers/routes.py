"""Identity providers: with which people sign in by OpenID Connect."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response

from tidegate_server.admin.access_documents import check_grants_exist, read_access_documents
from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import SERVER, read_document
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.identity_providers.schemas import (
    ClientSecretBody,
    IdentityProviderAnswer,
    IdentityProviderBody,
    IdentityProviderPage,
    IdentityProviderUpdate,
    ProviderTestAnswer,
)
from tidegate_server.admin.sign_in.providers import openid
from tidegate_server.domain import identity_provider_edits
from tidegate_server.domain.change import Change
from tidegate_server.domain.identity_providers import IdentityProvider
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.people import AccessDocuments, identity_provider_address
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import FieldProblem, Invalid, ProviderFailed
from tidegate_server.openid_connect.provider_documents import ProviderDocuments
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import SERVER_PREFIX, Blueprint
from tidegate_server.web.client_secrets import seal_client_secret
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint(
    "identity_providers", __name__, description="Servers with which people sign in"
)

secret_blueprint = Blueprint(
    "client secrets", __name__, description="Secrets that identity providers gave"
)
"""Apart, since a change request or a schedule would keep what it is asked to send."""

providers = DocumentResource(
    blueprint,
    Kind.IDENTITY_PROVIDER,
    IdentityProviderAnswer,
    IdentityProviderPage,
    editor=Permission.ADMINISTER,
    prefix=SERVER_PREFIX,
    reader=Permission.ADMINISTER,
    read_documents=read_access_documents,
)


def put_provider(
    access: AccessDocuments, provider: IdentityProvider, *, actor: str, reason: str
) -> Change:
    """Return the change that creates or replaces an identity provider now."""
    services = backend()
    for index, mapping in enumerate(provider.group_mappings):
        try:
            check_grants_exist(services.store, mapping.grants)
        except Invalid as error:
            [problem] = error.fields
            pointer = f"/group_mappings/{index}{problem.pointer}"
            raise Invalid(error.message, FieldProblem(pointer, problem.detail)) from None
    return identity_provider_edits.put_identity_provider(
        access,
        provider,
        caller=current_caller(),
        now_ms=services.store.now_ms(),
        networks=services.settings.identity_provider_networks,
        reason=reason,
    )


def delete_provider(access: AccessDocuments, key: str, *, actor: str, reason: str) -> Change:
    """Return the change that deletes an identity provider."""
    return identity_provider_edits.delete_identity_provider(
        access, key, caller=current_caller(), reason=reason
    )


providers.serve_list("List the identity providers.")
providers.serve_create(
    IdentityProviderBody,
    put_provider,
    """Create an identity provider. This needs every permission in the whole server.

    Set its secret with `PUT .../client-secret`.
    """,
)
providers.serve_get("Get an identity provider, without its secret.")
providers.serve_replace(
    IdentityProviderUpdate,
    put_provider,
    "Replace an identity provider, which keeps its secret. Its mappings count within two seconds.",
)
providers.serve_delete(
    delete_provider,
    "Delete an identity provider. Its sessions end, and its groups give nothing any more.",
)
providers.serve_history(put_provider)


@blueprint.operation(
    "POST",
    f"{providers.item}/test",
    permission=Permission.ADMINISTER,
    response=ProviderTestAnswer,
    etag=False,
)
def try_identity_provider(identity_provider: str) -> Response:
    """Ask an identity provider for what it publishes, and say whether people can sign in with it.

    The client secret is not tried: only a sign-in shows whether it is right.
    """
    address = identity_provider_address(identity_provider)
    provider: IdentityProvider = read_document(backend().store, SERVER, address).document
    # What is kept may be an hour old.
    documents = ProviderDocuments(openid().http)
    found: dict[str, Any] = {"authorization_endpoint": "", "keys": 0, "signs_out": False}
    problem = ""
    try:
        metadata = documents.metadata(provider.issuer)
        found["authorization_endpoint"] = metadata.authorization_endpoint
        found["signs_out"] = bool(metadata.end_session_endpoint)
        found["keys"] = len(documents.keys(metadata, None).keys)
    except ProviderFailed as error:
        problem = error.message
    return responses.value(
        ProviderTestAnswer(), {**found, "works": not problem, "problem": problem}
    )


@secret_blueprint.operation(
    "PUT",
    f"{providers.item}/client-secret",
    permission=Permission.ADMINISTER,
    body=ClientSecretBody,
    response=None,
    status=HTTPStatus.NO_CONTENT,
    etag=False,
)
def set_client_secret(given: dict[str, str], identity_provider: str) -> Response:
    """Keep the secret that the provider gave. It cannot be planned, and no answer shows it."""
    return _keep_secret(identity_provider, given["client_secret"])


@secret_blueprint.operation(
    "DELETE",
    f"{providers.item}/client-secret",
    permission=Permission.ADMINISTER,
    response=None,
    status=HTTPStatus.NO_CONTENT,
    etag=False,
)
def delete_client_secret(identity_provider: str) -> Response:
    """Forget the secret; the provider must then know this server without one."""
    return _keep_secret(identity_provider, "")


def _keep_secret(key: str, secret: str) -> Response:
    services, caller, reason = backend(), current_caller(), current_reason()
    sealed = seal_client_secret(services.settings.secret_key, key, secret) if secret else ""

    def make_change() -> Change:
        access = read_access_documents(services.store)
        return identity_provider_edits.set_client_secret(
            access, key, sealed, caller=caller, reason=reason
        )

    commit_with_retry(services.store, make_change)
    return responses.no_content()
