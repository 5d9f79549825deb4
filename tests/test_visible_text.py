"""Invisible characters are found and escaped; text of any script is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.visible_text import INVISIBLE, code_point, escape_invisible

BIDIRECTIONAL = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C]
OTHERS = [0x00, 0x1B, 0x7F, 0x9B, 0xAD, 0x200B, 0x2028, 0x2029, 0x2060, 0xFEFF, 0xE0041]


@pytest.mark.parametrize("number", [*BIDIRECTIONAL, *OTHERS], ids=lambda number: f"{number:04X}")
def test_an_invisible_character_is_found_and_escaped(number: int) -> None:
    text = f"a{chr(number)}b"
    assert INVISIBLE.search(text) is not None
    escaped = escape_invisible(text)
    assert escaped.isascii()
    assert escaped.encode().decode("unicode_escape") == text
    assert code_point(chr(number)) == f"U+{number:04X}"


@pytest.mark.parametrize(
    "text",
    [
        "Grüße aus Köln",
        "עברית",
        "العربية",
        "می\u200cخواهم",  # noqa: RUF001 - Persian needs the zero-width non-joiner
        "👩\u200d💻 ❤\ufe0f",
        "葛\U000e0100城市",  # a variant of a Japanese name
        "two\nlines\tand a tab",
    ],
)
def test_text_of_any_script_is_left_alone(text: str) -> None:
    assert INVISIBLE.search(text) is None
    assert escape_invisible(text, one_line=False) == text


@given(st.text())
def test_escaped_text_has_nothing_invisible(text: str) -> None:
    escaped = escape_invisible(text)
    assert INVISIBLE.search(escaped) is None
    assert "\n" not in escaped
