"""Signing in on a device by approving it in a browser (RFC 8628).

A program on the device shows a short code. A person who is signed in compares the code, approves
it in their browser, and the program gets a token of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.domain.permissions import Permission

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no code is a word, and nothing that looks like a digit (RFC 8628, 6.1)."""

CODE_LENGTH = 8
VALID_MS = 10 * 60 * 1000
"""How long a code can be approved."""

INTERVAL_S = 2
"""How long a program is told to wait between two questions."""

TOO_SOON_MS = 1_500
"""A question so shortly after another one is refused."""


@dataclass(frozen=True, slots=True)
class DeviceSignIn:
    """A program that waits to be signed in.

    Attributes:
        code: what its user sees, ``BCDF-GHJK``.
        host: the name of its machine, as it says itself.
        address: where its request came from.
        began_ms: when it asked.
        token_ms: how long the token will work.
        permissions: the most that the token may do; None: what the person may do.
    """

    code: str
    host: str
    address: str
    began_ms: int
    token_ms: int
    permissions: tuple[Permission, ...] | None = None

    @property
    def expires_ms(self) -> int:
        """When the code stops working."""
        return self.began_ms + VALID_MS


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decided about a waiting program; ``person`` is their id."""

    person: str
    approved: bool


def user_code(letters: str) -> str:
    """Return a code as people read it: in two halves."""
    half = CODE_LENGTH // 2
    return f"{letters[:half]}-{letters[half:]}"


def parse_user_code(text: str) -> str | None:
    """Return a code as it is shown; None: the text is none. Case and separators do not count."""
    letters = "".join(each for each in text.upper() if each.isalnum())
    if len(letters) != CODE_LENGTH or not set(letters) <= set(ALPHABET):
        return None
    return user_code(letters)
