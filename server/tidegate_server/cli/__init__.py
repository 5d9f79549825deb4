"""The `tidegate` command: one module for each group of commands.

Nothing is imported until it is run: the web workers start from here too, and have to
patch their sockets before anything else is imported.
"""


def main() -> None:
    """Run the `tidegate` command."""
    from tidegate_server.cli.program import run

    run()
