"""What people do with their own account: password, second factor, tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tidegate_server.admin.access_documents import check_place_exists
from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import SERVER
from tidegate_server.admin.me.schemas import NewPersonalToken
from tidegate_server.admin.sign_in.attempts import GuardedAttempt
from tidegate_server.admin.sign_in.service import (
    WRONG,
    Account,
    check_new_password,
    find_account_by_id,
    prove_password,
)
from tidegate_server.admin.tokens.service import TokenWithUse, with_uses
from tidegate_server.domain import credential_edits, token_edits
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.people import Credential, credential_address
from tidegate_server.domain.permissions import EVALUATION, Permission, Role, in_order
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import (
    FieldProblem,
    Invalid,
    NotFound,
    NotPossible,
    Unauthenticated,
    WrongPassword,
)
from tidegate_server.store import Store
from tidegate_server.web import one_time_codes, token_secrets
from tidegate_server.web.backend import backend
from tidegate_server.web.caller_address import current_address
from tidegate_server.web.password_hashes import hash_password
from tidegate_server.web.sign_in import SignedIn, sign_in

MAX_PERSONAL_TOKENS = 50


def change_password(caller: Caller, password: str, new_password: str) -> SignedIn:
    """Change the caller's password; every session ends, and a new one begins.

    Raises:
        WrongPassword: the present password is wrong.
        Invalid: the new one is not good enough.
    """
    account = prove(caller, password)
    check_new_password(new_password, account.person, "/new_password")
    hash, store = hash_password(new_password), backend().store
    now_ms = store.now_ms()
    _edit_credential(
        account,
        lambda credential: replace(credential, password=hash, sessions_from_ms=now_ms),
        "person.change_password",
    )
    return sign_in(account.person, "password")


def begin_second_factor(caller: Caller, password: str) -> tuple[str, str]:
    """Make a secret for an authenticator app; it counts once ``confirm_second_factor`` saw a code.

    Returns:
        The secret, and its URI.

    Raises:
        WrongPassword: the password is wrong.
        NotPossible: there is a second factor already.
    """
    account, salt = prove(caller, password), one_time_codes.new_salt()

    def edit(credential: Credential) -> Credential:
        if credential.totp_confirmed:
            raise NotPossible("You have a second factor already; remove it first.")
        return replace(credential, totp_salt=salt, totp_step=0)

    _edit_credential(account, edit, "person.begin_second_factor")
    secret = one_time_codes.app_secret(backend().settings.secret_key, caller.person, salt)
    return secret, one_time_codes.app_uri(secret, account.person.email)


def confirm_second_factor(caller: Caller, code: str) -> tuple[str, ...]:
    """Require one-time codes from now on; return new recovery codes.

    Raises:
        NotPossible: no secret was made, or it is confirmed already.
        WrongPassword: the code is wrong.
    """
    store, key = backend().store, backend().settings.secret_key
    account = _account(caller)
    attempt = GuardedAttempt(store, key, caller.person, caller.person, current_address())
    codes = one_time_codes.new_recovery_codes()
    digests = tuple(one_time_codes.recovery_digest(key, each) for each in codes)

    def edit(credential: Credential) -> Credential:
        if not credential.totp_salt or credential.totp_confirmed:
            raise NotPossible("There is no second factor to confirm; begin one first.")
        secret = one_time_codes.app_secret(key, caller.person, credential.totp_salt)
        step = one_time_codes.used_step(secret, code, store.now_ms() / 1000, credential.totp_step)
        if step is None:
            raise WrongPassword("This one-time code is wrong. Check the clock of your device.")
        return replace(credential, totp_confirmed=True, totp_step=step, recovery_codes=digests)

    _edit_credential(account, edit, "person.add_second_factor")
    attempt.succeeded()
    return codes


def remove_second_factor(caller: Caller, password: str) -> None:
    """Require no one-time codes any more; the recovery codes stop working, too.

    Raises:
        WrongPassword: the password is wrong.
    """
    account = prove(caller, password)
    _edit_credential(account, Credential.without_second_factor, "person.remove_second_factor")


def new_recovery_codes(caller: Caller, password: str) -> tuple[str, ...]:
    """Make new recovery codes; those until now stop working.

    Raises:
        WrongPassword: the password is wrong.
        NotPossible: there is no second factor that they could replace.
    """
    account = prove(caller, password)
    key, codes = backend().settings.secret_key, one_time_codes.new_recovery_codes()
    digests = tuple(one_time_codes.recovery_digest(key, each) for each in codes)

    def edit(credential: Credential) -> Credential:
        if not credential.totp_confirmed:
            raise NotPossible("Recovery codes replace one-time codes; add a second factor first.")
        return replace(credential, recovery_codes=digests)

    _edit_credential(account, edit, "person.new_recovery_codes")
    return codes


def prove(caller: Caller, password: str) -> Account:
    """Check the caller's password again; return their account.

    Raises:
        WrongPassword: it is wrong.
        RateLimited: there were too many attempts.
    """
    store, key = backend().store, backend().settings.secret_key
    attempt = GuardedAttempt(store, key, caller.person, caller.person, current_address())
    account = _account(caller)
    if not prove_password(account, password):
        raise WrongPassword("The password is wrong.")
    attempt.succeeded()
    return account


def create_token(caller: Caller, new: NewPersonalToken, reason: str) -> TokenWithUse:
    """Create a token of the caller's own, which can never do more than they can.

    Raises:
        Invalid: its place does not exist, or the environment has no project.
        NotPossible: there are too many of them.
    """
    store, key = backend().store, backend().settings.secret_key
    if new.environment is not None and new.project is None:
        message = "A token for an environment needs its project, too."
        raise Invalid(message, FieldProblem("/project", message))
    check_place_exists(store, new.project, new.environment)
    if len(_own_tokens(store, caller)) >= MAX_PERSONAL_TOKENS:
        raise NotPossible(
            f"You have {MAX_PERSONAL_TOKENS} tokens of your own; delete those that you do not use."
        )
    permissions = frozenset(Permission) - EVALUATION
    id, secret, now_ms = token_secrets.new_id(), token_secrets.new_secret(), store.now_ms()
    token = Token(
        id=id,
        name=new.name,
        role=Role.CUSTOM,
        digest=token_secrets.secret_digest(key, secret),
        created_by=caller.name,
        created_ms=now_ms,
        project=new.project,
        environment=new.environment,
        permissions=in_order(permissions if new.permissions is None else new.permissions),
        owner=caller.known_as,
        expires_ms=now_ms + new.expires_in_ms,
        made_by=caller.person,
        person=caller.person,
    )
    committed = commit_with_retry(
        store, lambda: token_edits.new_token(token, actor=caller.name, reason=reason)
    )
    stored = committed.stored(token_edits.token_address(id))
    text = token_secrets.format_token(token.role, id, secret)
    return TokenWithUse(
        stored.document,
        stored.revision,
        stored.updated_ms,
        None,
        None,
        rotatable=False,
        secret=text,
    )


def own_tokens(caller: Caller) -> dict[str, TokenWithUse]:
    """Return the caller's own tokens, by id."""
    store = backend().store
    tokens = with_uses(store, list(_own_tokens(store, caller).values()), caller)
    return {each.document.id: each for each in tokens}


def delete_token(caller: Caller, id: str, reason: str) -> None:
    """Delete a token of the caller's own; raises ``NotFound``."""
    store = backend().store

    def make_change() -> Change:
        if id not in _own_tokens(store, caller):
            raise NotFound(f"You have no token {id!r} of your own.")
        tokens = store.all(SERVER, Kind.TOKEN)
        return token_edits.delete_token(
            tokens, id, now_ms=store.now_ms(), actor=caller.name, reason=reason
        )

    commit_with_retry(store, make_change)
    store.token_uses.forget(id)


def _own_tokens(store: Store, caller: Caller) -> dict[str, Stored]:
    return {
        id: stored
        for id, stored in store.all(SERVER, Kind.TOKEN).items()
        if stored.document.person == caller.person
    }


def _account(caller: Caller) -> Account:
    account = find_account_by_id(backend().store, caller.person)
    if account is None:
        raise Unauthenticated(WRONG)
    return account


def _edit_credential(
    account: Account, edit: Callable[[Credential], Credential], action: str
) -> None:
    store, person = backend().store, account.person

    def make_change() -> Change:
        stored = store.get(SERVER, credential_address(person.id))
        if stored is None:
            raise Unauthenticated(WRONG)
        return credential_edits.put_credential(
            person, stored, edit(stored.document), actor=person.audit_name, action=action
        )

    commit_with_retry(store, make_change)
