"""Characters that cannot be seen: control characters, and formatting that reorders or hides text.

Text with them can look like other text: a name may seem to be somebody else's, and a log line or a
terminal may show what nobody wrote. Tidegate refuses them where people name things, and escapes
them where it prints what others wrote.
"""

from __future__ import annotations

import re

INVISIBLE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, except tab and line feed
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f"  # zero-width space, direction marks; joiners are below
    "\u2028\u2029\u202a-\u202e"  # line separators, embeddings and overrides
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e00ff"  # tags
    "]"
)
"""One invisible character. The joiners U+200C and U+200D and the variation selectors are not in it:
several scripts and emoji are written with them."""


CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""One control character, except tab and line feed."""


def code_point(character: str) -> str:
    """Return the usual name of a character's number: ``U+202E``."""
    return f"U+{ord(character):04X}"


def escape_invisible(text: str, *, one_line: bool = True) -> str:
    """Return a text with its invisible characters as escapes: ``\\u202e``.

    Args:
        text: the text.
        one_line: whether tabs and line feeds are escaped too.
    """
    escaped = INVISIBLE.sub(lambda match: _escape(match[0]), text)
    if one_line:
        escaped = escaped.replace("\t", "\\t").replace("\n", "\\n")
    return escaped


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
