"""Projects and their environments."""

from __future__ import annotations

import re
from dataclasses import dataclass

ANY_ORIGIN = "*"

ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@*A-Z]{1,253}")
"""An origin as browsers send it: scheme, host and port, without a path."""


@dataclass(frozen=True, slots=True)
class Project:
    """A namespace of flags."""

    key: str
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Environment:
    """A place where a project's flags run: ``production``, ``staging``.

    ``allowed_origins`` are the origins of the pages whose browsers may evaluate flags here;
    ``*`` allows every page.
    """

    key: str
    name: str = ""
    description: str = ""
    allowed_origins: tuple[str, ...] = ()
