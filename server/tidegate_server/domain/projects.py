"""Projects and their environments: where flags live and run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Project:
    """A namespace of flags."""

    key: str
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Environment:
    """A place where a project's flags run."""

    key: str
    name: str = ""
    description: str = ""
