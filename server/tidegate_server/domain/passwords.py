"""Which passwords are good enough.

After NIST SP 800-63B-4, section 3.1.1: at least 15 characters, since the password may be the only
factor; no rules of composition; nothing that attackers try first, and nothing about the person.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

SHORTEST = 15
LONGEST = 256
MOST_REPEATED = 5
"""A password that repeats a piece of at most this length is as weak as the piece."""

LEFT_OVER = 8
"""How much of a password must be left without the names that everybody knows."""

SEQUENCES = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
    "q1w2e3r4t5y6u7i8o9p0",
    "1q2w3e4r5t6y7u8i9o0p",
)

COMMON = (
    *("password", "passwort", "passw0rd", "iloveyou", "letmein", "welcome", "sunshine", "princess"),
    *("football", "baseball", "superman", "batman", "dragon", "monkey", "master", "shadow"),
    *("administrator", "admin", "changeme", "secret", "default", "correcthorsebatterystaple"),
    *("trustno1", "starwars", "whatever", "qwerty", "abc123", "tidegate"),
)
"""Words that guessing begins with."""


def normalized_password(text: str) -> str:
    """Return a password in the form that is hashed: Unicode NFKC, so that keyboards agree."""
    return unicodedata.normalize("NFKC", text)


def password_problem(password: str, known: Iterable[str] = ()) -> str | None:
    """Return what is wrong with a new password and how to fix it; None: nothing.

    Args:
        password: as typed.
        known: what everybody knows about the person: their name, their email.
    """
    text = normalized_password(password)
    if len(text) < SHORTEST:
        return (
            f"A password has at least {SHORTEST} characters; four or five words are easy to keep."
        )
    if len(text) > LONGEST:
        return f"A password has at most {LONGEST} characters."
    lower = "".join(text.lower().split())
    if _repeats(lower) or _is_sequence(lower):
        return "This repeats or continues a short pattern, which is guessed early; use words."
    left = lower
    for word in sorted({*COMMON, *_words(known)}, key=len, reverse=True):
        left = left.replace(word, "")
    left = "".join(each for each in left if each.isalnum())
    if len(left) < LEFT_OVER or _repeats(left) or _is_sequence(left):
        return "This is mostly a common word or your name, which is guessed early; add other words."
    return None


def _words(known: Iterable[str]) -> Iterable[str]:
    for each in known:
        text = "".join(each.lower().split())
        yield from (part for part in (text, *text.replace("@", ".").split(".")) if len(part) > 2)


def _repeats(text: str) -> bool:
    return any(
        text == (text[:size] * len(text))[: len(text)] for size in range(1, MOST_REPEATED + 1)
    )


def _is_sequence(text: str) -> bool:
    return any(text in sequence * 2 or text in sequence[::-1] * 2 for sequence in SEQUENCES)
