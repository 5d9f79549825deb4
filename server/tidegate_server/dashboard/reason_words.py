"""Reasons of decisions as people say them: with the names of the variants, without the jargon.

What is not recognized stays as the API says it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tidegate_server.dashboard import words

NUMBER = r"([\d,.]+|more than a million)"
ARM = re.compile(
    rf"(treatment|control): ((?:about )?{NUMBER} users? failed in {NUMBER} operations?)"
)
SLOW_ARM = re.compile(rf"(treatment|control): (?=(?:about )?{NUMBER} of {NUMBER})")
"""What follows names the operations that were slow, or whose values were bad."""

SLOWER = re.compile(rf"(?<=slower than )control's p{NUMBER}")
PHRASES = tuple(
    (re.compile(pattern.replace("#", NUMBER)), phrase)
    for pattern, phrase in (
        ("^waiting: ", ""),
        ("^no data: ", ""),
        ("^advanced on evidence: ", ""),
        ("^advanced on time, not on evidence", "on time, not on evidence"),
        ("evidence of safety # (?:reached|of) #", r"evidence that it is harmless \1 of \2"),
        (
            "evidence of harm # is too high to advance",
            r"it looks too bad to open further (evidence against it \1)",
        ),
        (
            "evidence of harm # reached #",
            r"it is worse than the policy allows (evidence against it \1, limit \2)",
        ),
        ("evidence of harm #", r"evidence against it \1"),
        ("too few samples, # of # outcomes in the", r"too few operations, \1 of \2 in the"),
        ("windows with data", "evaluations with data"),
        ("no new outcomes since the last evaluation", "no new operations"),
        (r" \(this stage\)", " in this stage"),
    )
)


def reason_words(text: str, release: Mapping[str, Any]) -> str:
    """Return a reason in words.

    Args:
        text: as the API says it.
        release: whose; its variants give the arms their names.
    """
    names = {name: str(release[name]) for name in ("treatment", "control")}
    text = ARM.sub(lambda found: f"{found[2]} with {names[found[1]]}", text)
    text = SLOW_ARM.sub(lambda found: f"with {names[found[1]]} ", text)
    for pattern, phrase in PHRASES:
        text = pattern.sub(phrase, text)
    for name, variant in names.items():
        text = text.replace(f"in the {name} arm", f"with {variant}")
    text = SLOWER.sub(lambda found: f"{found[1]} % of those with {names['control']}", text)
    return words.tied(sentence(text))


def without_numbers(text: str) -> str:
    """Return a reason without its numbers, to tell whether two are the same."""
    return re.sub(r"[\d.,]+", "#", text)


def sentence(text: str) -> str:
    """Return a text with a capital at its beginning and a full stop at its end."""
    text = text.strip()
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
