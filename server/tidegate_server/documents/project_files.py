"""How a project's configuration lies in files: one folder, one YAML file for each object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate_server.documents.yaml_text import yaml_text

PROJECT_FILE = "project.yaml"
SUFFIX = ".yaml"
SCHEMA_FOLDER = ".schemas"

SECTIONS: Mapping[str, str] = {
    "environments": "environment",
    "flags": "flag",
    "segments": "segment",
    "policies": "policy",
    "webhooks": "webhook",
    "hooks": "hook",
}
"""The folders, each with the kind of the objects in it; an export has members of the same names."""

KEY_FIELDS: Mapping[str, str] = {"hooks": "id"}
"""The field that names an object, where it is not ``key``."""

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What the key of an object may be, so that it names a file in its folder on every system."""

MODELINE = "# yaml-language-server: $schema="


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """Where an object is: the section of the configuration, and its key; no section: the project.

    ``path`` is relative to the folder, with slashes.
    """

    section: str
    key: str

    @property
    def path(self) -> str:
        """The file of the object."""
        return f"{self.section}/{self.key}{SUFFIX}" if self.section else PROJECT_FILE

    @property
    def kind(self) -> str:
        """The kind of the object."""
        return SECTIONS[self.section] if self.section else "project"


def key_of(section: str, item: Mapping[str, Any]) -> Any:
    """Return what names an object of a section."""
    return item.get(KEY_FIELDS.get(section, "key"))


def file_text(place: ObjectPlace, item: dict[str, Any], header: str = "") -> str:
    """Return the text of an object's file.

    Args:
        place: the object.
        item: the object in JSON.
        header: comments to put above it, as ``header_of`` returns them.
    """
    up = "../" if place.section else ""
    modeline = f"{MODELINE}{up}{SCHEMA_FOLDER}/{schema_file(place.kind)}\n"
    return modeline + header + yaml_text(item)


def schema_file(kind: str) -> str:
    """Return the name of the file with the JSON Schema of a kind of objects."""
    return f"{kind}.schema.json"


def header_of(text: str) -> str:
    """Return the comments at the beginning of a file, without the line that names the schema."""
    header: list[str] = []
    for line in text.splitlines():
        if line.startswith(MODELINE):
            continue
        if line.strip() and not line.startswith("#"):
            break
        header.append(line.rstrip())
    kept = "\n".join(header).strip("\n")
    return f"{kept}\n" if kept else ""
