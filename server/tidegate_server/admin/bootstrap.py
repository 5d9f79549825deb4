"""The first start: create a project to begin with, and a token that administers the server."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from tidegate.addresses import trimmed, unsendable

from tidegate_server.admin.document_commits import create_document
from tidegate_server.admin.document_reader import SERVER
from tidegate_server.admin.projects.service import create_project
from tidegate_server.domain import credential_edits, project_edits, token_edits
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.people import FIRST_INVITATION, AccessDocuments
from tidegate_server.domain.permissions import Role
from tidegate_server.domain.project_documents import environment_address
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import AlreadyExists, StaleRevision, StartupRefused
from tidegate_server.store import Store
from tidegate_server.web import invitations, token_secrets

ACTOR = "server"
FIRST_INVITATION_MS = 24 * 60 * 60 * 1000
FINGERPRINT = "secret-key-fingerprint"
DEFAULT_PROJECT = Project("default", name="Default")
DEFAULT_ENVIRONMENTS = (
    Environment("development", name="Development"),
    Environment("production", name="Production"),
)


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """The result of a start.

    Attributes:
        token: the new admin token, to be shown once; None if the store already had an admin
            token, or if the operator gave one.
        invitation: the text of an invitation for the first person, shown once; made with ``token``.
        ignored: the operator gave a token, but the server already has admin tokens and the
            given one is not among them.
    """

    token: str | None = None
    invitation: str | None = None
    ignored: bool = False


def bootstrap(store: Store, secret_key: bytes, given_token: str = "") -> BootstrapResult:
    """Create what a new server needs; change nothing on one that has it.

    Several servers may do this at the same time with one store.

    Args:
        store: an open store.
        secret_key: the key of the tokens' digests.
        given_token: the first admin token, if the operator chose it.

    Raises:
        StartupRefused: the store was used with another secret key, or the given token is not
            a valid one.
    """
    secret_key = key_in_use(store, secret_key)
    _create_default_project(store)
    return _create_first_token(store, secret_key, given_token)


def key_in_use(store: Store, configured: bytes) -> bytes:
    """Return the secret key: the configured one without the white space around it.

    A store that was first used with the white space keeps it: every token depends on the key.

    Raises:
        StartupRefused: the store was used with another secret key, or a new store's key has a
            line break.
    """
    key = configured.strip()
    if b"\n" in key and store.get_server_value(FINGERPRINT) is None:
        raise StartupRefused(
            "TIDEGATE_SECRET_KEY contains a line break; check how you read it, or create a key "
            "with `openssl rand -hex 32`."
        )
    first = store.put_server_value_once(FINGERPRINT, token_secrets.fingerprint(key))
    for each in (key, configured):
        if token_secrets.fingerprint(each) == first:
            return each
    raise StartupRefused(
        "The tokens in this store were created with another secret key, so none of them "
        "would work. Start with the TIDEGATE_SECRET_KEY, or the data folder with the "
        "secret.key, that this store was first used with."
    )


def add_admin_token(store: Store, secret_key: bytes, name: str, reason: str) -> str:
    """Create another admin token of the whole server, and return its text.

    Raises:
        StartupRefused: the store was used with another secret key.
    """
    key = key_in_use(store, secret_key)
    new = token_secrets.ParsedToken(token_secrets.new_id(), token_secrets.new_secret())
    return _create_admin_token(store, key, new, name, reason)


def _create_admin_token(
    store: Store, key: bytes, new: token_secrets.ParsedToken, name: str, reason: str = ""
) -> str:
    """Create an admin token of the whole server with this id and secret, and return its text.

    Raises:
        StaleRevision: there is a token with this id.
    """
    token = Token(
        id=new.id,
        name=name,
        role=Role.ADMIN,
        digest=token_secrets.secret_digest(key, new.secret),
        created_by=ACTOR,
        created_ms=store.now_ms(),
    )
    store.commit(token_edits.new_token(token, actor=ACTOR, reason=reason))
    return token_secrets.format_token(Role.ADMIN, new.id, new.secret)


def _create_default_project(store: Store) -> None:
    if store.all(DEFAULT_PROJECT.key, Kind.DELETION):
        return  # a person deleted it, or one of its environments
    with suppress(AlreadyExists):
        create_project(store, DEFAULT_PROJECT, ACTOR)
    for environment in DEFAULT_ENVIRONMENTS:
        with suppress(AlreadyExists):
            _create_environment(store, environment)


def _create_environment(store: Store, environment: Environment) -> None:
    create_document(
        store,
        DEFAULT_PROJECT.key,
        environment_address(environment.key),
        lambda documents: project_edits.new_environment(documents, environment, actor=ACTOR),
    )


def _create_first_token(store: Store, secret_key: bytes, given_token: str) -> BootstrapResult:
    given_token = trimmed(given_token, "bootstrap token")
    given = token_secrets.parse_token(given_token) if given_token else None
    if given_token and given is None:
        raise StartupRefused(_why_refused(given_token))
    tokens: dict[str, Token] = {
        id: stored.document for id, stored in store.all(SERVER, Kind.TOKEN).items()
    }
    if any(token_edits.administers_server(token) for token in tokens.values()):
        known = (
            given is not None
            and given.id in tokens
            and token_secrets.secret_matches(secret_key, given.secret, tokens[given.id].digest)
        )
        return BootstrapResult(ignored=given is not None and not known)
    first = given or token_secrets.ParsedToken(
        token_secrets.BOOTSTRAP_ID, token_secrets.new_secret()
    )
    try:
        text = _create_admin_token(store, secret_key, first, "first admin")
    except StaleRevision:
        return BootstrapResult()  # another server created it first, and shows it
    if given is not None:
        return BootstrapResult()
    return BootstrapResult(token=text, invitation=_invite_first_person(store, secret_key))


def _invite_first_person(store: Store, secret_key: bytes) -> str:
    new = invitations.new_invitation(
        secret_key,
        FIRST_INVITATION,
        expires_ms=store.now_ms() + FIRST_INVITATION_MS,
        invited_by=ACTOR,
    )
    store.commit(credential_edits.invite(AccessDocuments(), new.invitation, actor=ACTOR))
    return new.text


def _why_refused(given_token: str) -> str:
    """Return what is wrong with a bootstrap token, without showing it."""
    example = "Use for example the output of `openssl rand -hex 24`."
    if problem := unsendable(given_token):
        return f"TIDEGATE_BOOTSTRAP_TOKEN contains {problem}, as no token does. {example}"
    shortest, longest = token_secrets.FREE_FORM_LENGTHS
    if not shortest <= len(given_token) <= longest:
        return (
            f"TIDEGATE_BOOTSTRAP_TOKEN must have {shortest} to {longest} characters; it has "
            f"{len(given_token)}. {example}"
        )
    return (
        "TIDEGATE_BOOTSTRAP_TOKEN begins with tg_ but is not a complete token, which reads "
        f"tg_admin_<id>_<secret>. Copy all of it, or choose one that does not begin with tg_. "
        f"{example}"
    )
