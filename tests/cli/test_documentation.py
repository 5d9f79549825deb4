"""The commands in the documentation work."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import click
import pytest
from tidegate_server.cli.program import cli
from tidegate_server.domain.change import Audit

from tests.cli.calls import Tidegate
from tests.cli.conftest import RunningServer

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
YAML_BLOCK = re.compile(r"^```yaml\n# (\S+?\.yaml)(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|\$\()(tidegate [^|)>]*)")
SPAN = re.compile(r"`(tidegate [^`\n]+)`")


def commands_of(page: Path) -> Iterator[str]:
    """Yield every command of a page, from its code blocks and its text."""
    text = page.read_text()
    for block in BLOCK.findall(text):
        for line in block.splitlines():
            if match := COMMAND.search(line.partition(" #")[0]):
                yield match[1]
    yield from (span for span in SPAN.findall(BLOCK.sub("", text)) if "..." not in span)


LINES = sorted({(page.name, line) for page in PAGES for line in commands_of(page)})


def test_the_documentation_has_commands() -> None:
    assert len(LINES) > 30


@pytest.mark.parametrize(("page", "line"), LINES)
def test_a_command_in_the_documentation_is_valid(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "careful.yaml",
        "crew.yaml",
        "night.yaml",
        "rules.yaml",
        "plan.json",
        "production.json",
        "FILE",
    ):
        (tmp_path / name).write_text('{"key": "careful"}')
    arguments = shlex.split(line)[1:]
    command: click.Command = cli
    ctx = click.Context(cli, info_name="tidegate")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        subcommand = command.get_command(ctx, arguments.pop(0))
        assert subcommand is not None, f"{page}: {line}"
        command = subcommand
    # A command without arguments is only mentioned.
    if arguments and not isinstance(command, click.Group):
        with suppress(click.exceptions.Exit):
            command.make_context(command.name, arguments, parent=ctx)


def test_getting_started_works_from_top_to_bottom(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "getting-started.md").read_text()
    monkeypatch.chdir(tmp_path)
    for name, content in YAML_BLOCK.findall(page):
        (tmp_path / name).write_text(content)
    user = Tidegate({"TIDEGATE_URL": server.url, "TIDEGATE_TOKEN": server.token})
    lines = [
        line
        for block in BLOCK.findall(page)
        for line in block.splitlines()
        if line.startswith("tidegate ") and line != "tidegate serve"
    ]
    output = {line: user.ok(*shlex.split(line)[1:]) for line in lines}
    assert len(output) == 6
    id = user.json("release", "list", "--flag", "fast-checkout")[0]["id"]
    for line in ("release show ID", "release ledger ID"):
        assert f"`tidegate {line}`" in page
        user.ok(*line.replace("ID", id).split())
    assert "`tidegate restore fast-checkout`" in page
    user.ok("restore", "fast-checkout")


def test_the_page_about_history_names_every_field_that_a_hash_covers() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "history.md").read_text()
    covered = re.search(r"The content is the JSON of (.*?), with the names", page, re.DOTALL)
    assert covered is not None
    assert set(re.findall(r"`(\w+)`", covered[1])) == {each.name for each in fields(Audit)}
