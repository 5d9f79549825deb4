"""Output for people and for programs."""

from __future__ import annotations

import json
import os
import pty
import subprocess

import pytest
from tidegate_server.cli.output import print_facts, print_json, print_table, print_text

from tests.cli.calls import PROGRAM, Tidegate


def test_a_table_aligns_numbers_right_without_trailing_spaces(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(
        ("name", "count", "on"), [("a", 5, True), ("long name", 12_345, False), ("b", None, "")]
    )
    assert capsys.readouterr().out.splitlines() == [
        "name        count  on",
        "a               5  yes",
        "long name  12,345  no",
        "b               -",
    ]


def test_facts_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts((("one", "x"), ("two", None), ("three", ""), ("four", 0)))
    assert capsys.readouterr().out.splitlines() == ["one   x", "four  0"]


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;owned\x07\x1b[31mred\r\n[link=x]"
    print_table(("a",), [(evil,)])
    print_facts((("a", evil),))
    print_text(evil.replace("\n", ""))
    out = capsys.readouterr().out
    assert not set(out) & {"\x1b", "\x07", "\r"}
    assert out.count("\\x1b]0;owned\\x07\\x1b[31mred\\x0d") == 3
    assert "[link=x]" in out


def test_characters_that_reorder_text_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "admin\u202etoor\u2066\u200f"
    print_table(("a",), [(evil,)])
    print_facts((("a", evil),))
    print_text(evil)
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.count("admin\\u202etoor\\u2066\\u200f") == 3
    print_json({"name": f"{evil}\x9b\U000e0041 é"})
    out = capsys.readouterr().out
    assert out.encode("latin-1").decode("latin-1") == out
    assert json.loads(out) == {"name": f"{evil}\x9b\U000e0041 é"}
    assert "\x9b" not in out


def test_a_long_row_stays_on_one_line_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("a", "b"), [("x" * 500, "y y " * 200)])
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_json_keeps_every_character(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "Käse [b]"})
    assert capsys.readouterr().out == '{\n  "name": "Käse [b]"\n}\n'


def output_of(tidegate: Tidegate, *arguments: str, terminal: bool) -> str:
    """Return the output of a command on a terminal or in a pipe, with colours requested."""
    variables = {**os.environ, **tidegate.variables, "TERM": "xterm-256color", "FORCE_COLOR": "1"}
    ours, theirs = pty.openpty() if terminal else os.pipe()
    with os.fdopen(ours, "rb", buffering=0) as reading:
        process = subprocess.Popen([PROGRAM, *arguments], env=variables, stdout=theirs)
        os.close(theirs)
        written = b""
        try:
            while part := reading.read(65_536):
                written += part
        except OSError:
            pass  # a terminal reports its closed end as an error
        assert process.wait() == 0
    return written.decode()


def test_colours_are_for_terminals_only(checkout: Tidegate) -> None:
    arguments = ("flag", "list")
    assert "\x1b[" in output_of(checkout, *arguments, terminal=True)
    assert "\x1b" not in output_of(checkout, *arguments, terminal=False)
