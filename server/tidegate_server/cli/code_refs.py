"""`tidegate code-refs`: find uses of flags in source code, and post them to the server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate_server.cli.exit_codes import NOT_REACHED
from tidegate_server.cli.formatting import count
from tidegate_server.cli.options import (
    file_label,
    optional_server_options,
    output_option,
    read_document,
)
from tidegate_server.cli.output import JSON, print_json, print_stderr, print_text
from tidegate_server.near_misses import question, similar

if TYPE_CHECKING:
    from tidegate_server.cli.api_client import ApiClient
    from tidegate_server.code_refs.scan import Scan
    from tidegate_server.code_refs.settings import ScanSettings
    from tidegate_server.code_refs.uses import ScanResult, Use

MODULES = ("code_refs_push", "code_refs_remove")
"""The modules of the subcommands that are not in this one."""

UNKNOWN = "unknown"
COMPUTED = "computed"

path_argument = click.argument("path", default=".", type=click.Path(path_type=Path))
settings_option = click.option(
    "--settings", "settings_file", metavar="FILE",
    help="Settings of the scan.  [PATH/.tidegate/code-refs.yaml]",
)  # fmt: skip
context_option = click.option(
    "--context-lines", type=click.IntRange(0, 10), default=0, show_default=True, metavar="N",
    help="Include N lines before and after each use.",
)  # fmt: skip


class _Group(click.Group):
    """Imports the module of each subcommand when the group is used."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a subcommand."""
        self._import()
        return super().get_command(ctx, name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands."""
        self._import()
        return super().list_commands(ctx)

    def _import(self) -> None:
        for module in MODULES:
            import_module(f"{__package__}.{module}")


@click.group("code-refs", cls=_Group)
def code_refs() -> None:
    """Find where code uses flags, and remove finished flags from Python code."""


@code_refs.command("scan")
@path_argument
@click.option("--flag", "only", metavar="KEY", multiple=True, help="Only this flag. Repeatable.")
@click.option(
    "--fail-on", type=click.Choice((UNKNOWN, COMPUTED)), multiple=True,
    help="Exit with status 5 if code asks for a flag that the server does not have (unknown), or "
    "for a key that is computed (computed). Repeatable.",
)  # fmt: skip
@click.option(
    "--offline", is_flag=True,
    help="Ask no server: find calls of SDKs, and the keys that --flag names.",
)  # fmt: skip
@context_option
@click.option("--no-source", is_flag=True, help="Leave the lines of source code out.")
@settings_option
@output_option
@optional_server_options
def scan_command(
    connect: Callable[[], ApiClient],
    path: Path,
    only: Sequence[str],
    fail_on: Sequence[str],
    offline: bool,
    context_lines: int,
    no_source: bool,
    settings_file: str | None,
    output: str,
) -> None:
    """Print the uses of flags in the files of PATH.

    Python is read by its syntax trees, other languages as text. What git ignores, links, binary
    files and files over 1 MB are left out.
    """
    if offline and UNKNOWN in fail_on:
        raise click.UsageError("--fail-on unknown needs the server's flags; leave out --offline.")
    known = set() if offline else flag_keys(connect())
    lines = None if no_source else context_lines
    found = new_scan(path, known | set(only), settings_file, lines).run()
    shown = [use for use in found.uses if not only or use.flag in only]
    unknown = [] if offline else unknown_uses(shown, known)
    if output == JSON:
        print_json(
            {
                "uses": [asdict(use) for use in shown],
                "unknown": [
                    {**asdict(use), "suggestions": list(similar(use.flag, known))}
                    for use in unknown
                ],
                "computed": [asdict(place) for place in found.computed],
                "unreadable": [asdict(place) for place in found.unreadable],
                "files": found.files,
                "skipped_large": found.skipped_large,
                "skipped_binary": found.skipped_binary,
                "warnings": list(found.warnings),
            }
        )
    else:
        _print_uses(shown)
        print_stderr(summary(found, shown))
    print_notes(found)
    _print_unknown(unknown, known)
    if (UNKNOWN in fail_on and unknown) or (COMPUTED in fail_on and found.computed):
        sys.exit(NOT_REACHED)


def new_scan(
    path: Path, keys: Collection[str], settings_file: str | None, context_lines: int | None
) -> Scan:
    """Return a scan of a folder with its settings."""
    from tidegate_server.code_refs.scan import Scan
    from tidegate_server.code_refs.source_files import SourceTree

    return Scan(SourceTree(path), keys, read_settings(path, settings_file), context_lines)


def read_settings(path: Path, settings_file: str | None) -> ScanSettings:
    """Return the settings in a file, or in the file that the folder has.

    Raises:
        Invalid: a setting is not valid.
    """
    from tidegate_server.code_refs.settings import SETTINGS_FILE, parse_settings

    if settings_file is None:
        default = path / SETTINGS_FILE
        if not default.is_file():
            return parse_settings(None)
        settings_file = str(default)
    return parse_settings(read_document(settings_file), file_label(settings_file))


def flag_keys(client: ApiClient) -> set[str]:
    """Return the keys of all flags of the project, archived ones included."""
    path = client.project_path("flags")
    listed = client.list(path).items + client.list(path, archived="true").items
    return {flag["key"] for flag in listed}


def unknown_uses(uses: Sequence[Use], keys: Collection[str]) -> list[Use]:
    """Return the calls that certainly ask for a flag that there is not."""
    from tidegate_server.domain.code_references import CodeUseKind

    return [
        use for use in uses if use.kind is CodeUseKind.CALL and use.certain and use.flag not in keys
    ]


def summary(found: ScanResult, shown: Sequence[Use]) -> str:
    """Return how much was found, in one line."""
    flags, files = {use.flag for use in shown}, {use.path for use in shown}
    if not shown:
        return f"No uses of flags in {count(found.files, 'file')}."
    return (
        f"{count(len(shown), 'use')} of {count(len(flags), 'flag')} in "
        f"{count(len(files), 'file')} (of {found.files:,})."
    )


def print_notes(found: ScanResult) -> None:
    """Print to standard error what a scan could not read."""
    for place in (*found.computed, *found.unreadable):
        print_stderr(f"{place.path}:{place.line}: {place.message}")
    skipped = [
        (found.skipped_large, "larger than 1 MB"),
        (found.skipped_binary, "binary"),
    ]
    parts = [f"{number:,} {why}" for number, why in skipped if number]
    if parts:
        print_stderr(f"Files left out: {', '.join(parts)}.")
    for warning in found.warnings:
        print_stderr(f"Warning: {warning}")


def _print_uses(uses: Sequence[Use]) -> None:
    for use in uses:
        kind = use.kind.value if use.certain else f"perhaps a {use.kind.value}"
        lines = use.source.split("\n")
        first = f"{use.path}:{use.line}: {use.flag} ({kind})"
        if len(lines) == 1 and use.source:
            first += f"  {use.source.strip()[:200]}"
        print_text(first)
        if len(lines) > 1:
            print_text("\n".join(f"    {line[:200]}" for line in lines))


def _print_unknown(unknown: Sequence[Use], keys: Collection[str]) -> None:
    meant: dict[str, str] = {}
    for use in unknown:
        if use.flag not in meant:
            meant[use.flag] = question(similar(use.flag, keys))
        print_stderr(
            f"{use.path}:{use.line}: There is no flag {use.flag!r}, so the code gets its "
            f"default.{meant[use.flag]}"
        )
