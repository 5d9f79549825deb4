"""Shares: links that show a release or a state to people who have no account."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_commits import with_secret
from tidegate_server.admin.document_reader import read_document, read_environment
from tidegate_server.admin.releases.service import read_release
from tidegate_server.admin.shares.schemas import (
    NewShareAnswer,
    OpenBody,
    OpenedAnswer,
    ShareBody,
    SharePage,
    ShareRequest,
)
from tidegate_server.domain.change import Address, Change
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import targeting_address
from tidegate_server.domain.shares import (
    MAX_SHARES,
    Share,
    create_share,
    revoke_share,
    share_address,
)
from tidegate_server.errors import NotFound, NotPossible
from tidegate_server.web import responses, token_secrets
from tidegate_server.web.backend import backend, current_actor, public_address
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint("shares", __name__, description="Links that work without signing in")

COLLECTION = f"{ENVIRONMENT}/shares"
NO_LINK = "This link does not work: it has expired, was revoked, or is not whole."


@blueprint.operation(
    "GET", COLLECTION, permission=Permission.READ, query=PageQuery, response=SharePage
)
def list_shares(page: PageRequest, project: str, environment: str) -> Response:
    """List the links of an environment, without their secrets; those that expired, too."""
    store = backend().store
    read_environment(store, project, environment)
    here = {
        id: stored
        for id, stored in store.all(project, Kind.SHARE).items()
        if stored.document.environment == environment
    }
    shares, following = paginate(here, page)
    return responses.page(SharePage(), shares, following)


@blueprint.operation(
    "POST",
    COLLECTION,
    permission=Permission.RELEASE,
    body=ShareBody,
    response=NewShareAnswer,
    status=HTTPStatus.CREATED,
    etag=False,
)
def create_share_link(new: ShareRequest, project: str, environment: str) -> Response:
    """Make a link. Only this answer shows it; the server keeps a digest of its secret."""
    store, settings = backend().store, backend().settings
    reason = current_reason(new.reason)
    flag = new.flag
    if new.release:
        release = read_document(store, project, Address(Kind.RELEASE, new.release, environment))
        flag = release.document.flag
    else:
        read_document(store, project, targeting_address(environment, flag))
    id, secret = token_secrets.new_id(), token_secrets.new_secret()
    now_ms = store.now_ms()
    share = Share(
        id=id,
        kind=new.kind,
        environment=environment,
        digest=token_secrets.secret_digest(settings.secret_key, secret),
        created_by=current_actor(),
        created_ms=now_ms,
        expires_ms=None if new.lasts_ms is None else now_ms + new.lasts_ms,
        release=new.release,
        flag=flag,
    )

    def make_change() -> Change:
        if len(store.keys(project, Kind.SHARE)) >= MAX_SHARES:
            raise NotPossible(f"A project has at most {MAX_SHARES} links; revoke old ones first.")
        return create_share(project, share, actor=current_actor(), reason=reason)

    stored = commit_with_retry(store, make_change).stored(share_address(id))
    page = "badge" if new.kind == "badge" else "shared"
    end = ".svg" if new.kind == "badge" else ""
    link = f"{public_address()}/{page}/{project}/{id}/{secret}{end}"
    return responses.document(
        NewShareAnswer(), with_secret(stored, link), stored.revision, status=HTTPStatus.CREATED
    )


@blueprint.operation(
    "DELETE",
    f"{COLLECTION}/<key:share>",
    permission=Permission.RELEASE,
    response=None,
    status=HTTPStatus.NO_CONTENT,
)
def revoke_share_link(project: str, environment: str, share: str) -> Response:
    """Revoke a link: it stops working at once."""
    store, reason = backend().store, current_reason()

    def make_change() -> Change:
        stored = read_document(store, project, share_address(share))
        if stored.document.environment != environment:
            raise NotFound(f"There is no link {share!r} in {environment}.")
        return revoke_share(project, stored, actor=current_actor(), reason=reason)

    commit_with_retry(store, make_change)
    return responses.no_content()


@blueprint.operation(
    "POST",
    "/api/v1/shared/<key:project>/<key:share>",
    permission=None,
    body=OpenBody,
    response=OpenedAnswer,
    etag=False,
    errors=(HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS),
)
def open_share(given: dict[str, Any], project: str, share: str) -> Response:
    """Say what a link shows. It needs the link's secret and nothing else."""
    services = backend()
    stored = services.store.get(project, share_address(share))
    found: Share | None = stored.document if stored is not None else None
    # A digest is compared also where there is no link, so that both take as long.
    digest = found.digest if found is not None else "0" * 64
    matches = token_secrets.secret_matches(services.settings.secret_key, given["secret"], digest)
    if not matches or found is None:
        services.authenticator.count_guess(NO_LINK)
        raise NotFound(NO_LINK)
    if found.has_expired(services.store.now_ms()):
        raise NotFound(NO_LINK)
    state, percentage = _state(project, found)
    answer = {
        "kind": found.kind,
        "environment": found.environment,
        "release": found.release,
        "flag": found.flag,
        "state": state,
        "percentage": percentage,
        "expires_ms": found.expires_ms,
    }
    return responses.value(OpenedAnswer(), answer)


def _state(project: str, share: Share) -> tuple[str, float | None]:
    """Return the state of what a link is about, and what its release has open."""
    store = backend().store
    if share.release:
        release = read_release(store, project, share.environment, share.release)
        return str(release.document.state), release.open_now
    address = targeting_address(share.environment, share.flag)
    targeting: Targeting = read_document(store, project, address).document
    if targeting.kill is not None:
        return "killed", None
    if targeting.release is not None:
        release = read_release(store, project, share.environment, targeting.release)
        return str(release.document.state), release.open_now
    return ("on" if targeting.enabled else "off"), None
