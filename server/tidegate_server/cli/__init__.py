"""The `tidegate` command, with one module for each group of commands.

This module imports nothing before the command runs: the web workers start from here too, and
must patch their sockets before anything else is imported.
"""


def main() -> None:
    """Run the `tidegate` command."""
    from tidegate_server.cli.program import run

    run()
