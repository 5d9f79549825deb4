"""`tidegate backup` and `tidegate restore-backup`: everything that a server stores, in a file."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tidegate_server.cli.options import confirm, local_reason_option, store_options, yes_option
from tidegate_server.cli.output import print_text
from tidegate_server.processes.settings import check_environment

FILE = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.command()
@FILE
@store_options
def backup(file: Path, data_dir: Path, store_url: str | None) -> None:
    """Write everything that a server stores to FILE, also while it runs.

    The copy is of one moment for each project. It has no secret key: keep secret.key, or
    TIDEGATE_SECRET_KEY, in another safe place; a restored store needs it.
    """
    from tidegate_server.processes.backup import back_up

    check_environment(os.environ)
    made = back_up(data_dir, store_url or None, file)
    print_text(f"Backed up {_contents(len(made.projects), made.keys)} to {file}.")


@click.command("restore-backup")
@FILE
@store_options
@local_reason_option
@yes_option
def restore_backup(
    file: Path, data_dir: Path, store_url: str | None, reason: str, yes: bool
) -> None:
    """Replace everything that a server stores by the backup FILE, also while it runs.

    What changed since the backup is lost. Applications get the restored flags within seconds. The
    audit log of each project says so.
    """
    from tidegate_server.domain.calendar import instant_text
    from tidegate_server.processes.backup import restore
    from tidegate_server.store.backups import read_backup

    check_environment(os.environ)
    found = read_backup(file)
    contents = _contents(len(found.projects), found.keys)
    made = instant_text(found.made_ms)
    confirm(
        f"{file} was made at {made} and has {contents}. Replace everything in the store by it?", yes
    )
    restore(data_dir, store_url or None, file, reason)
    print_text(f"Restored {contents} of {made}.")


def _contents(projects: int, keys: int) -> str:
    return f"{projects} project{'' if projects == 1 else 's'} ({keys} keys)"
