"""Sign in from the terminal, and get a token of one's own for the contexts file."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import click

from tidegate_server.cli.api_client import ApiClient, Document, Json, api_path
from tidegate_server.cli.target import Target
from tidegate_server.errors import ServerRefused, StartupRefused

CSRF_HEADER = "Tidegate-CSRF"
FIRST_INVITATION = "tgi_first_"


def token_by_password(target: Target, email: str, expires_in: str) -> Json:
    """Sign in with a password, which is asked for, and return a new token of one's own.

    Args:
        target: the server.
        email: the person's email.
        expires_in: how long the token works.

    Raises:
        ServerRefused: the email, the password or the code do not fit.
    """
    body = {"email": email, "password": ask_secret("Password")}
    document = _begin_session(target, api_path("sign-in"), body)
    return _own_token(target, document, expires_in)


def token_by_invitation(
    target: Target, invitation: str, email: str, name: str, expires_in: str
) -> Json:
    """Accept an invitation with a new password, which is asked for; return a new token.

    Args:
        target: the server.
        invitation: the link, or what is after its ``#``.
        email: of the first person; others have theirs already.
        name: what others see.
        expires_in: how long the token works.

    Raises:
        ServerRefused: the invitation does not work, or the password is not good enough.
        StartupRefused: the two passwords differ.
    """
    if FIRST_INVITATION in invitation and not email:
        email = ask("Your email")
    name = name or ask("Your name")
    password = ask_secret("New password")
    if not password:
        raise StartupRefused(
            "There is no password. Standard input has your name, unless you give --name, and then "
            "the password, each on a line of its own."
        )
    if sys.stdin.isatty() and ask_secret("The same again") != password:
        raise StartupRefused("The two passwords differ; run the command again.")
    body = {"invitation": invitation, "name": name, "email": email, "password": password}
    document = _begin_session(target, api_path("invitations", "accept"), body)
    return _own_token(target, document, expires_in)


def ask(question: str) -> str:
    """Return an answer, from the terminal or a line of standard input."""
    if sys.stdin.isatty():
        return str(click.prompt(question, err=True))
    return sys.stdin.readline().strip()


def ask_secret(question: str) -> str:
    """Return a secret, from the terminal without showing it or a line of standard input."""
    if sys.stdin.isatty():
        return str(click.prompt(question, hide_input=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def _begin_session(target: Target, path: str, body: Json) -> Document:
    with closing(ApiClient(target)) as client:
        try:
            return client.sign_in(path, body)
        except ServerRefused as refused:
            if refused.problem != "second-factor-required":
                raise
            return client.sign_in(path, {**body, **_second_factor()})


def _second_factor() -> Json:
    code = ask("One-time code, or a recovery code")
    digits = "".join(code.split())
    return {"code": digits} if digits.isdigit() else {"recovery_code": code}


def _own_token(target: Target, document: Document, expires_in: str) -> Json:
    """Make a token of one's own in a new session, and end the session."""
    body = {"name": f"tidegate on {socket.gethostname()}"[:100], "expires_in": expires_in}
    with _session(target, document) as client:
        token = client.post(api_path("me", "tokens"), body)
        client.post(api_path("sign-out"), None)
    return token


@contextmanager
def _session(target: Target, document: Document) -> Iterator[ApiClient]:
    headers = {"Cookie": document.cookie, CSRF_HEADER: str(document.body["csrf_token"])}
    with closing(ApiClient(replace(target, token=""), session=headers)) as client:
        yield client
