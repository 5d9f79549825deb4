"""Where the API and the pages have a document that the audit log names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tidegate_server.dashboard import api
from tidegate_server.domain.permissions import Permission


@dataclass(frozen=True, slots=True)
class Document:
    """A document: its kind, its key, and where it is. ``project`` is empty for the server's."""

    kind: str
    key: str
    project: str
    environment: str

    @classmethod
    def of(cls, named: Mapping[str, Any], project: str) -> Document:
        """Return the document that an entry of the audit log of a project names."""
        return cls(named["kind"], named["key"], project, named["environment"])

    @property
    def kind_words(self) -> str:
        """Its kind in words."""
        return self.kind.replace("_", " ")


@dataclass(frozen=True, slots=True)
class DocumentAddress:
    """A document in the API, which has versions of it; ``editor`` may bring one back."""

    parts: tuple[str, ...]
    editor: Permission


OF_PROJECTS: Final = {
    "flag": ("flags", Permission.WRITE),
    "segment": ("segments", Permission.WRITE),
    "policy": ("policies", Permission.WRITE),
    "webhook": ("webhooks", Permission.WRITE),
    "hook": ("hooks", Permission.WRITE),
    "context": ("contexts", Permission.WRITE),
    "environment": ("environments", Permission.ADMINISTER),
}

OF_SERVER: Final = {
    "person": ("people", Permission.ADMINISTER),
    "group": ("groups", Permission.ADMINISTER),
    "role": ("roles", Permission.ADMINISTER),
}


def address_of(document: Document) -> DocumentAddress | None:
    """Return where the API has a document; None: it keeps no versions of this kind."""
    kind, project = document.kind, document.project
    if kind == "targeting":
        place = ("projects", project, "environments", document.environment)
        return DocumentAddress((*place, "flags", document.key), Permission.WRITE)
    if project and kind in OF_PROJECTS:
        plural, editor = OF_PROJECTS[kind]
        return DocumentAddress(("projects", project, plural, document.key), editor)
    if not project and kind in OF_SERVER:
        plural, editor = OF_SERVER[kind]
        return DocumentAddress((plural, document.key), editor)
    return None


def page_of(document: Document) -> str | None:
    """Return the page of a document; None: it has none."""
    base = f"/p/{document.project}"
    pages = {
        "targeting": f"{base}/e/{document.environment}/flags/{document.key}",
        "release": f"{base}/e/{document.environment}/releases/{document.key}",
        "segment": f"{base}/segments/{document.key}",
        "policy": f"{base}/policies/{document.key}",
        "webhook": f"{base}/settings/webhooks/{document.key}",
        "change_request": f"{base}/change-requests/{document.key}",
        "scheduled_change": f"{base}/schedules/{document.key}",
    }
    return pages.get(document.kind) if document.project else None


def present_page_of(document: Document) -> str | None:
    """Return the page of a document; None: it has none, or was deleted."""
    address = address_of(document)
    if address is not None and api.get_if_allowed(*address.parts) is None:
        return None
    return page_of(document)
