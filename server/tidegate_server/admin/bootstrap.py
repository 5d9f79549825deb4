"""The first start: a project to begin with, and a token that may administer the server."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from tidegate_server.admin import document_edits
from tidegate_server.admin.document_reader import SERVER
from tidegate_server.domain import token_edits
from tidegate_server.domain.change import Kind
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.domain.tokens import Role, Token
from tidegate_server.errors import AlreadyExists, StaleRevision, StartupRefused
from tidegate_server.store import Store
from tidegate_server.web import token_secrets

ACTOR = "server"
FINGERPRINT = "secret-key-fingerprint"
DEFAULT_PROJECT = Project("default", name="Default")
DEFAULT_ENVIRONMENTS = (
    Environment("development", name="Development"),
    Environment("production", name="Production"),
)


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """What a start found or made.

    Attributes:
        token: the admin token that was made, to be shown once; None when there was one
            already, or when it was given.
        ignored: a token was given, but the server has admin tokens already and the given one
            is none of them.
    """

    token: str | None = None
    ignored: bool = False


def bootstrap(store: Store, secret_key: bytes, given_token: str = "") -> Bootstrapped:
    """Make what a fresh server needs; does nothing on one that has it.

    Several servers may do this at the same time on one store.

    Args:
        store: an open store.
        secret_key: the key of the tokens' digests.
        given_token: the first admin token, when the operator chose it.

    Raises:
        StartupRefused: another secret key made the tokens in this store, or the given token
            is not fit to be one.
    """
    check_key(store, secret_key)
    _make_default_project(store)
    return _first_token(store, secret_key, given_token)


def check_key(store: Store, secret_key: bytes) -> None:
    """Insist that a secret key is the one that a store is used with, or the first one.

    Raises:
        StartupRefused: another secret key made the tokens in this store.
    """
    fingerprint = token_secrets.fingerprint(secret_key)
    if store.put_value_once(FINGERPRINT, fingerprint) != fingerprint:
        raise StartupRefused(
            "The store's tokens were made with another secret key, so none of them would be "
            "known. Start with the TIDEGATE_SECRET_KEY, or the data folder with the secret.key, "
            "that this store was first used with."
        )


def _make_default_project(store: Store) -> None:
    with suppress(AlreadyExists):
        document_edits.create_project(store, DEFAULT_PROJECT, ACTOR)
    for environment in DEFAULT_ENVIRONMENTS:
        with suppress(AlreadyExists):
            document_edits.create_environment(store, DEFAULT_PROJECT.key, environment, ACTOR)


def _first_token(store: Store, secret_key: bytes, given: str) -> Bootstrapped:
    presented = token_secrets.parse_token(given) if given else None
    if given and presented is None:
        raise StartupRefused(
            "TIDEGATE_BOOTSTRAP_TOKEN must be 20 to 200 printable characters without spaces, "
            "for example what `openssl rand -hex 24` prints."
        )
    tokens: dict[str, Token] = {
        id: stored.document for id, stored in store.all(SERVER, Kind.TOKEN).items()
    }
    if any(each.role is Role.ADMIN and each.project is None for each in tokens.values()):
        known = presented is not None and presented.id in tokens
        return Bootstrapped(
            ignored=presented is not None
            and not (
                known
                and token_secrets.secret_matches(
                    secret_key, presented.secret, tokens[presented.id].digest
                )
            )
        )
    made = presented or token_secrets.ParsedToken(
        token_secrets.BOOTSTRAP_ID, token_secrets.new_secret()
    )
    token = Token(
        id=made.id,
        name="first admin",
        role=Role.ADMIN,
        digest=token_secrets.secret_digest(secret_key, made.secret),
        created_by=ACTOR,
        created_ms=store.now_ms(),
    )
    try:
        store.commit(token_edits.new_token(token, actor=ACTOR))
    except StaleRevision:
        return Bootstrapped()  # another server was first, and tells its token
    if presented is not None:
        return Bootstrapped()
    return Bootstrapped(token=token_secrets.format_token(Role.ADMIN, made.id, made.secret))
