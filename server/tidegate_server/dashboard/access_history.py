"""The latest changes to a person, a group, a role or a token."""

from __future__ import annotations

from tidegate_server.dashboard import api
from tidegate_server.dashboard.audit_sentences import AuditLine, audit_line

LATEST = 12
"""How many entries a page shows."""


def latest_changes(kind: str, key: str) -> list[AuditLine] | None:
    """Return what the audit log of the server says of something, the newest first.

    None: the reader may not read the audit log of the whole server.
    """
    page = api.get_if_allowed("audit", object=kind, key=key, limit=LATEST)
    return None if page is None else [audit_line(each) for each in page["items"]]
