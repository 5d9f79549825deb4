"""Begin to sign a program in, approve it in a browser, and give it its token."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from tidegate_server.admin.device_sign_ins.schemas import NewDeviceSignIn
from tidegate_server.admin.me import service as me
from tidegate_server.admin.me.schemas import NewPersonalToken
from tidegate_server.admin.sign_in.attempts import count_attempt
from tidegate_server.admin.tokens.service import TokenWithUse
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.device_sign_ins import (
    ALPHABET,
    CODE_LENGTH,
    Decision,
    DeviceSignIn,
    parse_user_code,
    user_code,
)
from tidegate_server.errors import (
    AsksTooSoon,
    DeviceCodeExpired,
    DeviceNotSignedIn,
    NotFound,
    NotPossible,
    SignInDenied,
)
from tidegate_server.store.sign_in_attempts import Limit
from tidegate_server.web import token_secrets
from tidegate_server.web.backend import backend
from tidegate_server.web.caller_address import current_address
from tidegate_server.web.sign_in import note_in_audit
from tidegate_server.web.trusted_proxies import network_of

BEGUN = Limit("device", 60, 10 * 60)
"""How many programs of one address may begin."""

CODES = Limit("device-code", 60, 10 * 60)
"""How many codes one person may look at: guessing a code of somebody else is hopeless."""


@dataclass(frozen=True, slots=True)
class StartedDeviceSignIn:
    """A program that waits, with its secret."""

    waiting: DeviceSignIn
    secret: str = field(repr=False)


def begin(new: NewDeviceSignIn) -> StartedDeviceSignIn:
    """Let a program wait to be signed in.

    Raises:
        RateLimited: too many programs of its address have begun.
    """
    store, address = backend().store, current_address()
    network = network_of(address)
    count_attempt(store, BEGUN, network, network)
    secret, now_ms = token_secrets.new_secret(), store.now_ms()
    while True:
        code = user_code("".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH)))
        waiting = DeviceSignIn(code, new.host, address, now_ms, new.token_ms, new.permissions)
        if store.device_sign_ins.begin(_digest("device", secret), _digest("code", code), waiting):
            return StartedDeviceSignIn(waiting, secret)


def find(caller: Caller, code: str) -> DeviceSignIn:
    """Return the program that shows a code and about which nobody has decided.

    Raises:
        NotFound: there is none.
        RateLimited: the caller has looked at too many codes.
    """
    return _find(caller, code)[1]


def decide(caller: Caller, code: str, *, approved: bool) -> DeviceSignIn:
    """Approve or refuse the program that shows a code.

    Raises:
        NotFound: there is none that waits.
        NotPossible: somebody has decided just now.
        RateLimited: the caller has looked at too many codes.
    """
    digest, waiting = _find(caller, code)
    if not backend().store.device_sign_ins.decide(digest, Decision(caller.person, approved)):
        raise NotPossible("Somebody has decided about this code already.")
    action = "person.approve_device" if approved else "person.refuse_device"
    note_in_audit(caller.name, action, caller.person, host=waiting.host, address=waiting.address)
    return waiting


def take_token(secret: str) -> TokenWithUse:
    """Return the token of a program that a person has approved; once.

    Raises:
        DeviceNotSignedIn: nobody has decided yet.
        AsksTooSoon: the program has asked just before.
        SignInDenied: a person has refused it.
        DeviceCodeExpired: nobody decided in time, or it has got its token.
        Unauthenticated: the person is not active any more.
        NotPossible: the person has too many tokens.
    """
    services = backend()
    programs, digest = services.store.device_sign_ins, _digest("device", secret)
    waiting = programs.get(digest)
    if waiting is None:
        raise DeviceCodeExpired("This code has expired or was used. Begin again.")
    if programs.asks_too_soon(digest):
        raise AsksTooSoon("Wait longer between two questions.")
    decision = programs.take(digest)
    if decision is None:
        raise DeviceNotSignedIn("Nobody has approved this code yet.")
    if not decision.approved:
        raise SignInDenied("The request was refused in the browser.")
    caller = services.authenticator.caller_of_person(decision.person)
    name = f"tidegate on {waiting.host}"[:100]
    new = NewPersonalToken(name, waiting.token_ms, waiting.permissions, None, None)
    return me.create_token(caller, new, f"approved for {waiting.host} at {waiting.address}")


def _find(caller: Caller, text: str) -> tuple[str, DeviceSignIn]:
    store = backend().store
    count_attempt(store, CODES, caller.person, network_of(current_address()), caller.person)
    code = parse_user_code(text)
    found = store.device_sign_ins.find(_digest("code", code)) if code is not None else None
    if found is None or store.device_sign_ins.is_decided(found[0]):
        raise NotFound("No program waits with this code. It works for ten minutes, once.")
    return found


def _digest(what: str, text: str) -> str:
    key = backend().settings.secret_key
    return hmac.new(key, f"device sign-in {what} {text}".encode(), hashlib.sha256).hexdigest()
