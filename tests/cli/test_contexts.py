"""The contexts file: where it is, and how it is read and written."""

from __future__ import annotations

from pathlib import Path

import pytest
from tidegate_server.cli.contexts import Context, Contexts, contexts_path
from tidegate_server.errors import StartupRefused

ONE = Context("http://one", "a-token")


def test_variables_select_the_contexts_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert contexts_path({"TIDEGATE_CONFIG": "x.json", "XDG_CONFIG_HOME": "y"}) == Path("x.json")
    assert contexts_path({"XDG_CONFIG_HOME": "y"}) == Path("y/tidegate/contexts.json")
    assert contexts_path({}) == tmp_path / ".config" / "tidegate" / "contexts.json"


def test_without_a_file_there_are_no_contexts(tmp_path: Path) -> None:
    contexts = Contexts.read({"TIDEGATE_CONFIG": str(tmp_path / "none.json")})
    assert (contexts.by_name, contexts.current) == ({}, None)
    assert not contexts.readable_by_others


def test_written_contexts_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "contexts.json"
    Contexts(path).with_context("one", ONE).write()
    contexts = Contexts.read({"TIDEGATE_CONFIG": str(path)})
    assert contexts.current == contexts.get("one") == ONE
    assert contexts.without("one").current is None


@pytest.mark.parametrize("target", ["/dev/null", "/dev/full", "."])
def test_what_is_not_a_file_is_not_replaced(tmp_path: Path, target: str) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(target)
    for path in (link, Path(target)):
        before = path.stat()
        with pytest.raises(StartupRefused, match="not a file"):
            Contexts(path).with_context("one", ONE).write()
        assert path.stat().st_ino == before.st_ino


def test_a_symbolic_link_to_the_file_is_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(target)
    Contexts(link).with_context("one", ONE).write()
    assert link.is_symlink()
    assert "http://one" in target.read_text()


def test_a_folder_is_not_a_contexts_file(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match="Cannot read"):
        Contexts.read({"TIDEGATE_CONFIG": str(tmp_path)})
    with pytest.raises(StartupRefused, match="Cannot write"):
        Contexts(tmp_path).with_context("one", ONE).write()
    assert list(tmp_path.iterdir()) == []
