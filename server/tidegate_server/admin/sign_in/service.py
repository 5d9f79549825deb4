"""Sign in with a password or a link, and accept invitations. Pages call these functions, too."""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from tidegate_server.admin.access_documents import read_access_documents
from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import SERVER
from tidegate_server.admin.sign_in.attempts import NOBODY, GuardedAttempt, count_code
from tidegate_server.domain import credential_edits
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.passwords import password_problem
from tidegate_server.domain.people import (
    FIRST_INVITATION,
    AccessDocuments,
    Credential,
    Person,
    credential_address,
    email_address,
    invitation_address,
    normalized_email,
    person_address,
)
from tidegate_server.domain.people_edits import is_email, name_problem
from tidegate_server.errors import (
    FieldProblem,
    Forbidden,
    Invalid,
    NotPossible,
    SecondFactorRequired,
    WrongPassword,
)
from tidegate_server.store import Store
from tidegate_server.web import invitations, one_time_codes, token_secrets
from tidegate_server.web.backend import backend
from tidegate_server.web.caller_address import current_address
from tidegate_server.web.password_hashes import hash_password, password_matches
from tidegate_server.web.sign_in import SignedIn, sign_in

WRONG = "The email and the password, or the one-time code, do not fit. Check them and try again."
NO_PASSWORDS = (
    "People sign in here with an identity provider only, not with a password. Choose one on the "
    "sign-in page, or on that of your invitation."
)
BAD_INVITATION = (
    "This invitation does not work: it was used, has expired, or a newer one was made. Ask an "
    "admin for another."
)

BAD_LINK = (
    "This link does not work: it was used, has expired, or a newer one was made. Ask an admin for "
    "another."
)

log = structlog.stdlib.get_logger("tidegate_server.api")


@dataclass(frozen=True, slots=True)
class Account:
    """A person with their credential, as read together."""

    person: Person
    credential: Stored


def sign_in_with_password(
    email: str, password: str, code: str = "", recovery_code: str = ""
) -> SignedIn:
    """Check a password and a second factor, and begin a session.

    Whether nobody has the email, or the password is wrong, the answer and the work are the same.

    Raises:
        Forbidden: people sign in with identity providers only.
        WrongPassword: they do not fit, or the person is not active.
        SecondFactorRequired: the password is right, and a one-time code is needed.
        RateLimited: there were too many attempts.
        Overloaded: too many passwords are being checked.
    """
    store, key = backend().store, backend().settings.secret_key
    if not backend().settings.password_sign_in:
        raise Forbidden(NO_PASSWORDS)
    email = normalized_email(email)
    account = _find_account(store, email)
    id = account.person.id if account is not None else ""
    attempt = GuardedAttempt(store, key, email, id, current_address())
    if not prove_password(account, password) or account is None:
        log.warning("sign_in_refused", person=id or None, address=current_address())
        raise WrongPassword(WRONG)
    _require_second_factor(store, key, account, code, recovery_code)
    attempt.succeeded()
    return sign_in(account.person, "password")


def prove_password(account: Account | None, password: str) -> bool:
    """Return whether a password is right; it takes as long if there is no account."""
    hash = account.credential.document.password if account is not None else ""
    return password_matches(hash, password) and account is not None and account.person.active


def _require_second_factor(
    store: Store, key: bytes, account: Account, code: str, recovery_code: str
) -> None:
    """Use up a one-time code or a recovery code, if the person has a second factor.

    Raises:
        SecondFactorRequired: neither code was given.
        WrongPassword: the code is wrong, or was used before.
        RateLimited: there were too many codes.
    """
    if not account.credential.document.totp_confirmed:
        return
    if not code and not recovery_code:
        raise SecondFactorRequired("Send a one-time code or a recovery code, too.")
    person = account.person
    count_code(store, person.id, current_address())

    def make_change() -> Change:
        stored = store.get(SERVER, credential_address(person.id))
        if stored is None:
            raise WrongPassword(WRONG)
        after = _with_factor_used(key, stored.document, store.now_ms(), code, recovery_code)
        if after is None:
            log.warning("sign_in_refused", person=person.id, address=current_address())
            raise WrongPassword(WRONG)
        action = "person.use_recovery_code" if recovery_code else "person.use_one_time_code"
        return credential_edits.put_credential(
            person, stored, after, actor=person.audit_name, action=action
        )

    commit_with_retry(store, make_change)


def sign_in_with_link(text: str) -> SignedIn:
    """Use up a link that only signs in, and begin a session.

    Raises:
        Forbidden: people sign in with identity providers only.
        Invalid: the link does not work.
        NotPossible: the person may not sign in any more, or has a password by now.
        RateLimited: there were too many attempts from this address.
    """
    store, key = backend().store, backend().settings.secret_key
    attempt, id, secret = _invitation_attempt(text)
    found = _read_link(store, key, id, secret)
    if found is None or not found.document.signs_in_only:
        raise _bad_link()
    if not backend().settings.password_sign_in:
        raise Forbidden(NO_PASSWORDS)
    signed_in: list[Person] = []

    def make_change() -> Change:
        access = read_access_documents(store)
        stored = access.invitations.get(id)
        if stored is None or stored.document != found.document:
            raise _bad_link()
        person, change = credential_edits.use_sign_in_link(access, stored)
        signed_in[:] = [person]
        return change

    commit_with_retry(store, make_change)
    attempt.succeeded(signed_in[0].id)
    return sign_in(signed_in[0], "link")


def accept_invitation(
    text: str, name: str, email: str, password: str, code: str = "", recovery_code: str = ""
) -> SignedIn:
    """Set a name and a password with an invitation, and begin a session.

    It replaces a password, not a second factor: who has one must use it here, too.

    Raises:
        Forbidden: people sign in with identity providers only, and it is not for the first person.
        SecondFactorRequired: the person has a second factor, and no code was given.
        WrongPassword: the code is wrong.
        Invalid: the invitation does not work, or the name, email or password is not good enough.
        NotPossible: the person may not sign in any more.
        RateLimited: there were too many attempts from this address, or too many codes.
    """
    store, key = backend().store, backend().settings.secret_key
    attempt, id, secret = _invitation_attempt(text)
    first = id == FIRST_INVITATION
    found = read_invitation(store, key, id, secret)
    if not first and not backend().settings.password_sign_in:
        raise Forbidden(NO_PASSWORDS)
    access = read_access_documents(store)
    known = access.people[id].document if id in access.people else None
    email = normalized_email(email) if first else known.email if known is not None else ""
    _check_new_account(first, email, name, password)
    credential = access.credentials.get(id)
    if known is not None and credential is not None:
        _require_second_factor(store, key, Account(known, credential), code, recovery_code)
    hash = hash_password(password)
    new = Person(token_secrets.new_id(), email, name)
    accepted: list[Person] = []

    def make_change() -> Change:
        access = read_access_documents(store)
        stored = access.invitations.get(id)
        if stored is None or stored.document != found.document:
            raise _bad_invitation()
        person, change = _accepted(access, stored, new, hash, store.now_ms())
        accepted[:] = [person]
        return change

    commit_with_retry(store, make_change)
    attempt.succeeded(accepted[0].id)
    return sign_in(accepted[0], "invitation")


def open_invitation(text: str, code: str, recovery_code: str) -> None:
    """Check an invitation that is to be accepted with an identity provider.

    Raises:
        SecondFactorRequired, WrongPassword, Invalid, RateLimited: as ``accept_invitation``.
        NotPossible: it is for the first person, who needs a password.
    """
    store, key = backend().store, backend().settings.secret_key
    attempt, id, secret = _invitation_attempt(text)
    read_invitation(store, key, id, secret)
    if id == FIRST_INVITATION:
        raise NotPossible(
            "The first person here needs a password: it works when nothing else does."
        )
    account = find_account_by_id(store, id)
    if account is not None:
        _require_second_factor(store, key, account, code, recovery_code)
    attempt.succeeded()


def find_account_by_id(store: Store, id: str) -> Account | None:
    """Return a person with their credential; None: there is no such person."""
    person, credential = store.get_many(SERVER, [person_address(id), credential_address(id)])
    if person is None or credential is None:
        return None
    return Account(person.document, credential)


def check_new_password(password: str, person: Person, pointer: str = "/password") -> None:
    """Check that a new password is good enough; raises ``Invalid``."""
    problem = password_problem(password, (person.name, person.email))
    if problem is not None:
        raise Invalid(problem, FieldProblem(pointer, problem))


def _find_account(store: Store, email: str) -> Account | None:
    owner = store.get(SERVER, email_address(email))
    # Looked up whether or not somebody has the email, so that both take as long.
    return find_account_by_id(store, owner.document.person if owner is not None else NOBODY)


def _with_factor_used(
    key: bytes, credential: Credential, now_ms: int, code: str, recovery_code: str
) -> Credential | None:
    if recovery_code:
        digest = one_time_codes.recovery_digest(key, recovery_code)
        left = tuple(
            each
            for each in credential.recovery_codes
            if not token_secrets.same_digest(each, digest)
        )
        used = len(left) < len(credential.recovery_codes)
        return replace(credential, recovery_codes=left) if used else None
    secret = one_time_codes.app_secret(key, credential.person, credential.totp_salt)
    step = one_time_codes.used_step(secret, code, now_ms / 1000, credential.totp_step)
    return None if step is None else replace(credential, totp_step=step)


def _invitation_attempt(text: str) -> tuple[GuardedAttempt, str, str]:
    """Count an attempt to use an invitation or a link; return it, and the text's id and secret.

    It is counted by address only: nobody can keep others from accepting theirs.
    """
    address = current_address()
    key = backend().settings.secret_key
    attempt = GuardedAttempt(backend().store, key, f"invitation {address}", "", address)
    id, secret = invitations.parse_invitation(text) or (NOBODY, "")
    return attempt, id, secret


def read_invitation(store: Store, key: bytes, id: str, secret: str) -> Stored:
    """Return the invitation with an id, if this is its secret and it has not expired.

    Raises:
        Invalid: it does not work.
    """
    stored = _read_link(store, key, id, secret)
    if stored is None or stored.document.signs_in_only:
        raise _bad_invitation()
    return stored


def _read_link(store: Store, key: bytes, id: str, secret: str) -> Stored | None:
    """Return the invitation of either kind with an id; None: it does not work."""
    stored = store.get(SERVER, invitation_address(id))
    if (
        stored is None
        or not invitations.is_secret_of(key, stored.document, secret)
        or store.now_ms() >= stored.document.expires_ms
    ):
        return None
    return stored


def _bad_invitation() -> Invalid:
    return Invalid(BAD_INVITATION, FieldProblem("/invitation", BAD_INVITATION))


def _bad_link() -> Invalid:
    return Invalid(BAD_LINK, FieldProblem("/link", BAD_LINK))


def _check_new_account(first: bool, email: str, name: str, password: str) -> None:
    if first and not is_email(email):
        message = "Give your email address: you sign in with it."
        raise Invalid(message, FieldProblem("/email", message))
    problem = name_problem(name)
    if problem is not None:
        raise Invalid(problem.detail, problem)
    check_new_password(password, Person("", email, name))


def _accepted(
    access: AccessDocuments, invitation: Stored, new: Person, hash: str, now_ms: int
) -> tuple[Person, Change]:
    if invitation.document.id == FIRST_INVITATION:
        return credential_edits.accept_first_invitation(
            access, invitation, new, password_hash=hash, now_ms=now_ms
        )
    return credential_edits.accept_invitation(
        access, invitation, name=new.name, password_hash=hash, now_ms=now_ms
    )
