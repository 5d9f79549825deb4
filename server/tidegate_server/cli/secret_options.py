"""Options whose value may also be in a file, as orchestrators hand over secrets.

A file is named by the variable with ``_FILE`` at its end: ``TIDEGATE_SECRET_KEY_FILE``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate_server.errors import StartupRefused
from tidegate_server.processes.settings import FILE_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    Decorator = Callable[[Callable[..., None]], Callable[..., None]]

MAX_BYTES = 64 * 1024
"""A larger file is none of these settings."""


class SecretOption(click.Option):
    """An option with a variable, and with another variable that names a file with the value."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the value from the variable or from the file.

        Raises:
            StartupRefused: both are set, or the file cannot be read or is empty.
        """
        value = super().resolve_envvar_value(ctx)
        name = f"{self.envvar}{FILE_SUFFIX}"
        path = os.environ.get(name)
        if not path:
            return value
        if value is not None:
            raise StartupRefused(f"{self.envvar} and {name} are both set: unset one of them.")
        return _read(name, Path(path))


def secret_option(
    name: str, variable: str, help: str, *, required: bool = False, default: str | None = None
) -> Decorator:
    """Return an option that is a secret, or contains one.

    Args:
        name: of the option: ``--secret-key``.
        variable: the environment variable with its value.
        help: what it is.
        required: whether it must be given.
        default: its value if it is not given.
    """
    return click.option(
        name,
        cls=SecretOption,
        envvar=variable,
        show_envvar=True,
        required=required,
        help=help,
        # For click, None is a default, too, with which nothing is missing.
        **({} if default is None else {"default": default}),
    )


def _read(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise StartupRefused(f"{name} names {path}, which cannot be read: {reason}.") from None
    if not text:
        raise StartupRefused(f"{name} names {path}, which is empty.")
    return text
