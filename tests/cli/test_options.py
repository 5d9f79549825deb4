"""Types of options: durations and files."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from tidegate_server.cli.options import duration, read_document, read_object

from tests.cli.calls import Tidegate


def test_durations_are_parsed_to_seconds() -> None:
    assert [duration(text) for text in ("0s", "250ms", "10s", "2m", "1h")] == [
        0.0,
        0.25,
        10.0,
        120.0,
        3600.0,
    ]


@pytest.mark.parametrize("text", ["", "10", "s", "1.5s", "-1s", "1 s", "1d", "1234567s"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="500ms, 10s, 2m"):
        duration(text)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"a": ["on", "\\ud83d\\ude00"]}'),
        ("a.yaml", "a: [on, 😀]"),
        ("a.yml", '{a: ["on", 😀]}'),
        ("a", '{"a": ["on", "\\ud83d\\ude00"]}'),
        ("a.yaml", "\ufeffa: [on, 😀]"),
    ],
)
def test_files_are_json_or_yaml(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_document(str(tmp_path / name)) == {"a": ["on", "😀"]}


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.json", b"a: 1", "a.json is not JSON: Expecting value at line 1, column 1"),
        ("a.yaml", b"a: [1", "a.yaml is not YAML"),
        ("a.yaml", b"a: 1\na: 2", "has the key 'a' on line 2 again"),
        ("a.yaml", b"a: \xff", "is not UTF-8"),
        ("missing.yaml", None, "missing.yaml: No such file or directory"),
    ],
)
def test_an_unreadable_file_is_refused(
    tmp_path: Path, name: str, content: bytes | None, text: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(click.BadParameter) as refused:
        read_document(str(tmp_path / name))
    assert text in refused.value.message


def test_a_file_without_an_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("[1]")
    with pytest.raises(click.BadParameter, match="does not contain an object"):
        read_object(str(tmp_path / "a.yaml"))


def test_messages_name_standard_input(tidegate: Tidegate) -> None:
    arguments = ("segment", "create", "staff", "--when", "-")
    for text in ("[1]", "a: [1"):
        assert ": standard input " in tidegate.refused(*arguments, status=2, stdin=text)
