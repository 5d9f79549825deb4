"""Projects and their environments: where flags live and run."""

from __future__ import annotations

import re
from dataclasses import dataclass

ANY_ORIGIN = "*"

ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@*A-Z]{1,253}")
"""Where a page comes from, as browsers write it: scheme, host, port; no path."""


@dataclass(frozen=True, slots=True)
class Project:
    """A namespace of flags."""

    key: str
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Environment:
    """A place where a project's flags run.

    ``allowed_origins`` are those of the pages whose browsers may ask for evaluations here;
    ``*`` stands for every page.
    """

    key: str
    name: str = ""
    description: str = ""
    allowed_origins: tuple[str, ...] = ()
