"""`tidegate drill`: cut the store, the server and the network of a demo, to see what happens."""

from __future__ import annotations

import os
import sys

import click

from tidegate_server.cli.exit_codes import INTERRUPTED, NOT_REACHED
from tidegate_server.cli.output import print_stderr, print_text
from tidegate_server.processes.settings import check_environment


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(1.0, 600.0), default=10.0, show_default=True,
    help="How long each failure lasts.",
)  # fmt: skip
@click.option(
    "--only", "only", multiple=True, metavar="FAILURE",
    help="Only this failure: store-killed, store-hung, server-killed, network-dropped or "
    "network-hung. Can be repeated.",
)  # fmt: skip
def drill(seconds: float, only: tuple[str, ...]) -> None:
    """Cut the store, the server and the network of a demo, and show what applications see.

    The drill starts a server, its store, its policy job and an application with two workers on
    this machine, in a temporary folder. It changes a flag all the time, makes one failure after
    another, and says for each what the application saw, how long changes did not arrive, whether
    a kill arrived afterwards, and whether anything acknowledged was lost. It uses no server of
    yours, and leaves nothing behind.

    Exit status: 0 if all held, otherwise 5.
    """
    from tidegate_server.drill.cuts import CUTS
    from tidegate_server.drill.demo import check_requirements
    from tidegate_server.drill.run import run

    check_environment(os.environ)
    known = {cut.key: cut for cut in CUTS}
    for key in only:
        if key not in known:
            raise click.UsageError(f"--only is {key!r}; it is one of {', '.join(known)}.")
    check_requirements()
    chosen = [cut for cut in CUTS if cut.key in only or not only]
    held = run(chosen, seconds, print_text, print_stderr)
    if held is None:
        sys.exit(INTERRUPTED)
    if not held:
        sys.exit(NOT_REACHED)
