"""The file of contexts: where it is, and that it is written as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from tidegate_server.cli.contexts import Context, Contexts, path_of
from tidegate_server.errors import StartupRefused

ONE = Context("http://one", "a-token")


def test_the_file_is_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_of({"TIDEGATE_CONFIG": "x.json", "XDG_CONFIG_HOME": "y"}) == Path("x.json")
    assert path_of({"XDG_CONFIG_HOME": "y"}) == Path("y/tidegate/contexts.json")
    assert path_of({}) == tmp_path / ".config" / "tidegate" / "contexts.json"


def test_without_a_file_there_are_no_contexts(tmp_path: Path) -> None:
    found = Contexts.of_environment({"TIDEGATE_CONFIG": str(tmp_path / "none.json")})
    assert (found.known, found.current) == ({}, None)
    assert not found.readable_by_others


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "contexts.json"
    Contexts(path).with_context("one", ONE).write()
    found = Contexts.of_environment({"TIDEGATE_CONFIG": str(path)})
    assert found.current == found.named("one") == ONE
    assert found.without("one").current is None


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(target)
    Contexts(link).with_context("one", ONE).write()
    assert link.is_symlink()
    assert "http://one" in target.read_text()


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match="cannot be read"):
        Contexts.of_environment({"TIDEGATE_CONFIG": str(tmp_path)})
    with pytest.raises(StartupRefused, match="cannot be written"):
        Contexts(tmp_path).with_context("one", ONE).write()
    assert list(tmp_path.iterdir()) == []
