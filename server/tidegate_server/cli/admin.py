"""`tidegate admin`: what needs the server's machine or store, not a token."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tidegate_server.cli.options import local_reason_option, store_options
from tidegate_server.cli.output import print_stderr, print_text
from tidegate_server.cli.secret_options import secret_option
from tidegate_server.processes.settings import check_environment


@click.group()
def admin() -> None:
    """Repair a server on its own machine."""


@admin.command()
@store_options
@secret_option(
    "--secret-key", "TIDEGATE_SECRET_KEY",
    "Secret key of the servers, if it is not in the data folder.",
)  # fmt: skip
@local_reason_option
def recover(data_dir: Path, store_url: str | None, secret_key: str | None, reason: str) -> None:
    """Create an admin token and print it, when all admin tokens are lost.

    Who may read the data folder, or knows the store's address and the secret key, may do this.
    The server may run meanwhile. The other tokens stay as they are, and the audit log says that a
    token was recovered. Revoke what you lost: tidegate token list, tidegate token revoke.
    """
    from tidegate_server.processes.recovery import recover_admin

    check_environment(os.environ)
    token = recover_admin(data_dir, store_url or None, secret_key or None, reason)
    print_stderr("Admin token of the whole server, shown this once:")
    print_text(token)
