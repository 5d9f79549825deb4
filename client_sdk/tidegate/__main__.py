"""``python -m tidegate check``: test the connection to a flag server, step by step."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

EXIT_CODES = """exit codes:
  0  everything works
  1  a step failed
  2  the address or the token is missing or cannot be used
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, print each step, and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        token = _read_token(options.token_file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        print(f"cannot read the token file {options.token_file}: {reason}", file=sys.stderr)
        return 2
    # Imported late: the help needs none of it.
    from tidegate.connection_check import Outcome, check_connection

    code = 0
    for step in check_connection(options.url or os.environ.get("TIDEGATE_URL", ""), token):
        print(f"{step.name:<12} {step.outcome.value:<8} {step.text}", flush=True)
        if step.outcome is Outcome.FAILED:
            code = 2 if step.name in ("address", "token text") else 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tidegate", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="test the connection to the flag server",
        description="Test each step between this machine and the flag server. Nothing is counted, "
        "and the token is never printed.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("--url", help="address of the server; TIDEGATE_URL when not given")
    check.add_argument(
        "--token-file",
        metavar="FILE",
        help="file with the SDK token, - for standard input; TIDEGATE_TOKEN when not given",
    )
    return parser


def _read_token(file: str | None) -> str:
    if file is None:
        return os.environ.get("TIDEGATE_TOKEN", "")
    data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    return data.decode()


if __name__ == "__main__":
    sys.exit(main())
